from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from signers.base import Signer
from signers.errors import FormatError, VerificationError
from signers.formats import dsse
from signers.formats.dsse import Envelope, Signature, pae, sign_payload, verify_envelope
from signers.keys.keyfile import KeyFileSigner
from signers.keys.public_key import PublicKey

BROKEN = Path(__file__).parent / "broken" / "envelopes"
IN_TOTO = "application/vnd.in-toto+json"
JSON = "envelope is not unambiguous JSON"
FAULTS = {
    "array": "envelope must be a JSON object, got an array",
    "byte-order-mark": JSON,
    "empty": JSON,
    "invalid-utf-8": JSON,
    "keyid-a-number": "envelope: signature 1: keyid must be a string, got a number",
    "lone-surrogate": JSON,
    "nan": JSON,
    "payload-an-object": "envelope: payload must be a string, got an object",
    "payload-in-capitals": "envelope: member 'Payload' must be spelled 'payload'",
    "payload-in-two-alphabets": "envelope: payload mixes standard and URL-safe base64",
    "payload-missing": "envelope: payload is missing",
    "payload-not-ascii": "envelope: payload is not base64",
    "payload-not-base64": "envelope: payload is not base64",
    "payload-null": "envelope: payload must be a string, got null",
    "payload-overpadded": "envelope: payload is not base64",
    "payload-twice": f"{JSON}: two members are named 'payload'",
    "payload-type-a-number": "envelope: payloadType must be a string, got a number",
    "payload-type-in-both-spellings": "envelope: member 'payload_type' must be spelled 'payloadType'",
    "payload-type-in-snake-case": "envelope: member 'payload_type' must be spelled 'payloadType'",
    "payload-type-missing": "envelope: payloadType is missing",
    "payload-unpadded": "envelope: payload is not base64",
    "payload-with-newline": "envelope: payload is not base64",
    "payload-with-stray-bits": "envelope: payload is not base64: its last group is not as RFC 4648 requires",
    "second-signature-broken": "envelope: signature 2: sig is missing",
    "sig-missing": "envelope: signature 1: sig is missing",
    "sig-not-base64": "envelope: signature 1: sig is not base64",
    "sig-true": "envelope: signature 1: sig must be a string, got true or false",
    "sig-twice": f"{JSON}: two members are named 'sig'",
    "sig-with-long-s": "envelope: signature 1: member '\u017fig' must be spelled 'sig'",
    "signature-a-string": "envelope: signature 1 must be an object, got a string",
    "signatures-an-object": "envelope: signatures must be an array, got an object",
    "signatures-empty": "envelope: expected 1 to 64 signatures, got 0",
    "signatures-missing": "envelope: signatures is missing",
    "text": JSON,
    "truncated": JSON,
    "two-documents": JSON,
    "unknown-member-twice": f"{JSON}: two members are named 'a'",
    "utf-16": JSON,
}

texts = st.text(st.characters(exclude_categories=["Cs"]))
envelopes = st.builds(
    Envelope,
    payload=st.binary(),
    payload_type=texts,
    signatures=st.lists(st.builds(Signature, keyid=texts, sig=st.binary()), min_size=1, max_size=3).map(
        tuple
    ),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def rfc8032_key(seed: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))


# protocol.md, "Test Vectors": ECDSA P-256 with SHA-256 and RFC 6979, r and s as 32 bytes each
VECTOR_KEY = 97358161215184420915383655311931858321456579547487070936769975997791359926199
VECTOR_SIG = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
VECTOR_PAE = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_the_vector_of_the_specification_signs_and_verifies() -> None:
    key = ec.derive_private_key(VECTOR_KEY, ec.SECP256R1())
    envelope = sign_payload(KeyFileSigner(key, "vector"), b"hello world", "http://example.com/HelloWorld")

    assert pae(envelope.payload_type, envelope.payload) == VECTOR_PAE
    r, s = utils.decode_dss_signature(envelope.signatures[0].sig)
    assert base64.b64encode(r.to_bytes(32) + s.to_bytes(32)).decode() == VECTOR_SIG
    public = PublicKey.from_key(key.public_key())
    assert verify_envelope(Envelope.from_bytes(envelope.to_bytes()), [public]) == public


@pytest.mark.parametrize(
    ("payload_type", "payload", "expected"),
    [
        ("application/é", b"x", b"DSSEv1 14 application/\xc3\xa9 1 x"),
        ("", b"", b"DSSEv1 0  0 "),
        ("日本", "日本".encode(), b"DSSEv1 6 \xe6\x97\xa5\xe6\x9c\xac 6 \xe6\x97\xa5\xe6\x9c\xac"),
        ("t", b"\x00\xff 1", b"DSSEv1 1 t 4 \x00\xff 1"),
    ],
)
def test_pae_counts_bytes_not_characters(payload_type: str, payload: bytes, expected: bytes) -> None:
    assert pae(payload_type, payload) == expected


@settings(deadline=None)
@given(texts, st.binary(), texts, st.binary())
def test_pae_is_injective(one_type: str, one: bytes, other_type: str, other: bytes) -> None:
    same = (one_type, one) == (other_type, other)
    assert (pae(one_type, one) == pae(other_type, other)) is same


# from the DSSE repository's testvectors; the keys are those of RFC 8032, section 7.1
SEED_A = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
SIG_MULTIBYTE = "xmSk/ug66ysT7ayhkCIjhAq42zgZXSsEWuzUaNL7w2eGAdF/NU6/fRXPtmfN+5DNSAs5/i2lUnHjbbjPsu0tAw=="
SIG_EMPTY = "gSggCAaTLTYyRH6FIDBem6meyIynsYy8RTHVzwx9tnTb7Bg/1jMWnuVgI/gffqmbsC2VX5/jHfkkDqsj7CDbDg=="
SIG_URL_SAFE = "P-_KHICeR7tI6S_YyejJTRtrXhcQyQ2LYPaL8h90KjC9qN8HU_svOQ6TuDOT1HIrsGW886DbWNWcCmX5twLrAw=="
STATEMENT = "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ=="


@pytest.mark.parametrize(
    ("payload", "payload_type", "sig"),
    [
        pytest.param(STATEMENT, "application/vnd.exämple+json", SIG_MULTIBYTE, id="type of several bytes"),
        pytest.param("", IN_TOTO, SIG_EMPTY, id="empty payload"),
        pytest.param("-_-_Pj8=", IN_TOTO, SIG_URL_SAFE, id="URL-safe base64"),
    ],
)
def test_foreign_envelopes_verify(payload: str, payload_type: str, sig: str) -> None:
    key = PublicKey.from_key(rfc8032_key(SEED_A).public_key())
    text = f'{{"payload": "{payload}", "payloadType": "{payload_type}", "signatures": [{{"sig": "{sig}"}}]}}'
    envelope = Envelope.from_bytes(text.encode())
    assert verify_envelope(envelope, [key]) is key
    with pytest.raises(VerificationError, match="no given key made a signature") as caught:
        verify_envelope(Envelope(envelope.payload, "application/other", envelope.signatures), [key])
    assert caught.value.reason == "signature_invalid"


def test_the_json_form_is_exact() -> None:
    envelope = Envelope(b"{}", IN_TOTO, (Signature("SHA256:x", b"\x00\x10\x83"), Signature("", b"")))
    assert envelope.to_bytes() == (
        b'{"payload":"e30=","payloadType":"application/vnd.in-toto+json",'
        b'"signatures":[{"keyid":"SHA256:x","sig":"ABCD"},{"keyid":"","sig":""}]}'
    )


@settings(deadline=None)
@given(envelopes)
def test_what_is_written_reads_back_equal(envelope: Envelope) -> None:
    data = envelope.to_bytes()
    assert Envelope.from_bytes(data) == envelope
    assert Envelope.from_bytes(data).to_bytes() == data


@settings(deadline=None)
@given(st.binary() | json_values.map(orjson.dumps))
def test_garbage_is_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"^envelope"):
        Envelope.from_bytes(data)


@settings(deadline=None)
@given(envelopes, st.data())
def test_damaged_envelopes_read_or_raise_a_format_error(envelope: Envelope, draw: st.DataObject) -> None:
    data = bytearray(envelope.to_bytes())
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with suppress(FormatError):
        Envelope.from_bytes(bytes(data))


@settings(deadline=None)
@given(st.sampled_from(["payload", "payloadType", "signatures", "keyid", "sig"]), json_values)
def test_one_member_of_a_wrong_type_is_a_format_error(name: str, value: object) -> None:
    signature: dict[str, object] = {"keyid": "", "sig": "eA=="}
    members: dict[str, object] = {"payload": "e30=", "payloadType": IN_TOTO, "signatures": [signature]}
    assert Envelope.from_object(members).payload == b"{}"
    assume(not isinstance(value, str) and not (name == "keyid" and value is None))
    assume(
        name != "signatures" or not isinstance(value, list) or not any(isinstance(one, dict) for one in value)
    )
    (signature if name in signature else members)[name] = value
    with pytest.raises(FormatError, match="envelope"):
        Envelope.from_object(members)


@pytest.mark.parametrize("name", ["payload", "payloadType", "signatures", "sig"])
def test_a_member_that_is_missing_is_a_format_error(name: str) -> None:
    signature: dict[str, object] = {"keyid": "", "sig": "eA=="}
    members: dict[str, object] = {"payload": "e30=", "payloadType": IN_TOTO, "signatures": [signature]}
    del (signature if name in signature else members)[name]
    with pytest.raises(FormatError, match=f"{name} is missing"):
        Envelope.from_object(members)


def test_every_broken_file_has_its_fault_and_every_fault_its_file() -> None:
    assert {file.stem for file in BROKEN.iterdir()} == set(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_envelope_is_refused_with_its_fault(name: str) -> None:
    with pytest.raises(FormatError) as caught:
        Envelope.from_bytes((BROKEN / f"{name}.json").read_bytes())
    assert str(caught.value).startswith(FAULTS[name])


def test_deep_and_large_envelopes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Envelope(b"{}", IN_TOTO, (Signature("", b"x"),)).to_bytes()
    for depth in (900, 1000, 1100, 100_000):  # around the limits of both parsers
        data = good[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"
        with suppress(FormatError):  # and no RecursionError
            Envelope.from_bytes(data)
    with pytest.raises(FormatError, match=r"depth|nested"):
        Envelope.from_bytes(data)
    many = Envelope(b"", "", (Signature("", b"x"),) * (dsse.MAX_SIGNATURES + 1))
    with pytest.raises(FormatError, match="expected 1 to 64 signatures, got 65"):
        Envelope.from_bytes(many.to_bytes())
    monkeypatch.setattr(dsse, "MAX_ENVELOPE_BYTES", len(good) - 1)
    with pytest.raises(FormatError, match="at most"):
        Envelope.from_bytes(good)


def test_a_payload_that_could_not_be_read_back_is_not_signed(
    signers: dict[str, Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dsse.MAX_PAYLOAD_BYTES * 4 // 3 + 1_000_000 < dsse.MAX_ENVELOPE_BYTES
    monkeypatch.setattr(dsse, "MAX_PAYLOAD_BYTES", 3)
    assert sign_payload(signers["ed25519"], b"123", IN_TOTO)
    with pytest.raises(FormatError, match="payload has 4 bytes, at most 3 are signed"):
        sign_payload(signers["ed25519"], b"1234", IN_TOTO)


def test_unknown_members_are_ignored_and_keyid_may_be_unset() -> None:
    for keyid in ("", '"keyid": null, ', '"keyid": "", '):
        text = f'{{"payload":"","payloadType":"","signatures":[{{{keyid}"sig":"AAAA","cert":"x"}}],"n":[1]}}'
        assert Envelope.from_bytes(text.encode()).signatures == (Signature("", b"\0\0\0"),)


def test_the_keyid_is_only_a_hint(signers: dict[str, Signer], keys: dict[str, PublicKey]) -> None:
    signer, key = signers["ecdsa-p256"], keys["ecdsa-p256"]
    sig = sign_payload(signer, b"{}", IN_TOTO).signatures[0].sig
    for keyid in ("", signer.keyid, keys["ed25519"].keyid, key.cosign_hint, "anything"):
        envelope = Envelope(b"{}", IN_TOTO, (Signature(keyid, sig),))
        assert verify_envelope(envelope, list(keys.values())) is key


def test_one_good_signature_among_several_is_enough(
    signers: dict[str, Signer], keys: dict[str, PublicKey]
) -> None:
    one, other = (
        sign_payload(signers[name], b"{}", IN_TOTO).signatures[0] for name in ("ed25519", "rsa-3072")
    )
    envelope = Envelope(b"{}", IN_TOTO, (Signature("", b"junk"), one, other))
    assert verify_envelope(envelope, [keys["rsa-3072"]]) == keys["rsa-3072"]
    assert verify_envelope(envelope, [keys["ed25519"]]) == keys["ed25519"]


def test_the_reason_tells_an_unknown_key_from_a_changed_envelope(
    signers: dict[str, Signer], keys: dict[str, PublicKey]
) -> None:
    envelope = sign_payload(signers["ecdsa-p256"], b"{}", IN_TOTO)
    changed = Envelope(b"[]", IN_TOTO, envelope.signatures)
    unnamed = Envelope(b"{}", IN_TOTO, (Signature("", envelope.signatures[0].sig),))
    cases: list[tuple[Envelope, list[PublicKey], str]] = [
        (envelope, [keys["ed25519"], keys["ecdsa-p384"]], "key_unknown"),
        (envelope, [], "key_unknown"),
        (unnamed, [], "key_unknown"),
        (changed, [keys["ed25519"]], "key_unknown"),
        (changed, [keys["ecdsa-p256"]], "signature_invalid"),
        (changed, list(keys.values()), "signature_invalid"),
        (unnamed, [keys["ed25519"]], "signature_invalid"),
        (Envelope(b"{}", IN_TOTO, ()), [keys["ed25519"]], "signature_invalid"),
    ]
    for case, trusted, reason in cases:
        with pytest.raises(VerificationError) as caught:
            verify_envelope(case, trusted)
        assert caught.value.reason == reason, (case, trusted)
