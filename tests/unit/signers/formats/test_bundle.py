from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signers.base import Signer
from signers.errors import FormatError, VerificationError
from signers.formats import bundle as bundles
from signers.formats.bundle import MEDIA_TYPE, Bundle, MessageSignature, build_bundle
from signers.formats.dsse import Envelope, Signature, sign_payload, verify_envelope
from signers.keys.public_key import PublicKey, load_public_keys
from tests.testbed.commands import Command

BROKEN = Path(__file__).parent / "broken" / "bundles"
IN_TOTO = "application/vnd.in-toto+json"
JSON = "bundle is not unambiguous JSON"
MATERIAL = "bundle: verificationMaterial"
ONE_CONTENT = "bundle: expected exactly one of dsseEnvelope, messageSignature, got"
ONE_KEY = f"{MATERIAL}: expected exactly one of certificate, publicKey, x509CertificateChain, got"
FAULTS = {
    "a-bare-envelope": "bundle: mediaType is missing",
    "certificate-as-pem": f"{MATERIAL}: certificate: rawBytes is not base64",
    "certificate-empty": f"{MATERIAL}: certificate: rawBytes is empty: expected a DER certificate",
    "certificate-without-bytes": f"{MATERIAL}: certificate: rawBytes is missing",
    "chain-empty": f"{MATERIAL}: x509CertificateChain is empty: expected the signer's certificate",
    "chain-of-strings": f"{MATERIAL}: x509CertificateChain: certificates 1 must be an object, got a string",
    "content-missing": f"{ONE_CONTENT} none",
    "content-null": f"{ONE_CONTENT} none",
    "empty": JSON,
    "envelope-a-string": "bundle: dsseEnvelope must be an object, got a string",
    "envelope-payload-not-base64": "envelope: payload is not base64",
    "envelope-with-two-signatures": "bundle: expected exactly one signature, got 2",
    "envelope-without-signature": "envelope: expected 1 to 64 signatures, got 0",
    "hint-a-number": f"{MATERIAL}: publicKey: hint must be a string, got a number",
    "key-a-string": f"{MATERIAL}: publicKey must be an object, got a string",
    "key-and-certificate": f"{ONE_KEY} certificate, publicKey",
    "key-in-snake-case": f"{MATERIAL}: member 'public_key' must be spelled 'publicKey'",
    "key-missing": f"{ONE_KEY} none",
    "log-entries-an-object": f"{MATERIAL}: tlogEntries must be an array, got an object",
    "log-entry-a-string": f"{MATERIAL}: tlogEntries 1 must be an object, got a string",
    "material-an-array": f"{MATERIAL} must be an object, got an array",
    "material-missing": f"{MATERIAL} is missing",
    "media-type-a-number": "bundle: mediaType must be a string, got a number",
    "media-type-in-snake-case": "bundle: member 'media_type' must be spelled 'mediaType'",
    "media-type-missing": "bundle: mediaType is missing",
    "media-type-of-a-layer": "bundle: unknown mediaType 'application/vnd.dsse.envelope.v1+json'",
    "media-type-twice": f"{JSON}: two members are named 'mediaType'",
    "media-type-v0.4": "bundle: unknown mediaType 'application/vnd.dev.sigstore.bundle.v0.4+json'",
    "message-digest-a-string": "bundle: messageSignature: messageDigest must be an object, got a string",
    "message-digest-algorithm-a-number": "bundle: messageSignature: algorithm must be a string, got a number",
    "message-signature-missing": "bundle: messageSignature: signature is missing",
    "timestamp-a-string": f"{MATERIAL}: timestampVerificationData: rfc3161Timestamps 1 must be an object",
    "timestamps-an-array": f"{MATERIAL}: timestampVerificationData must be an object, got an array",
    "two-contents": f"{ONE_CONTENT} dsseEnvelope, messageSignature",
}

texts = st.text(st.characters(exclude_categories=["Cs"]))
json_objects = st.dictionaries(texts, st.none() | st.booleans() | texts | st.integers(0, 2**53), max_size=3)
ENTRY = {"logIndex": "1", "logId": {"keyId": "AAAA"}, "canonicalizedBody": "e30="}


def an_envelope(keyid: str = "SHA256:x") -> Envelope:
    return Envelope(b"{}", IN_TOTO, (Signature(keyid, b"\x00\x10\x83"),))


def raw(**members: object) -> bytes:
    """A bundle as JSON, of a certificate without log entries, with ``members`` put in."""
    whole: dict[str, object] = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"certificate": {"rawBytes": "AAAA"}},
        "dsseEnvelope": {"payload": "", "payloadType": "", "signatures": [{"sig": "AAAA"}]},
    }
    return orjson.dumps({name: value for name, value in (whole | members).items() if value is not ...})


def test_the_minimal_form_is_exact() -> None:
    assert build_bundle(an_envelope(), "SHA256:x") == (
        b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",'
        b'"verificationMaterial":{"publicKey":{"hint":"SHA256:x"},"tlogEntries":[]},'
        b'"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json",'
        b'"signatures":[{"keyid":"SHA256:x","sig":"ABCD"}]}}'
    )


def test_the_whole_form_is_exact_and_reads_back() -> None:
    stamp = {"signedTimestamp": "AAAA"}
    data = build_bundle(
        an_envelope(""), "", certificate=b"\0\0\0", log_entries=[ENTRY], timestamps=[stamp, stamp]
    )
    assert data.startswith(
        b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",'
        b'"verificationMaterial":{"certificate":{"rawBytes":"AAAA"},'
        b'"tlogEntries":[{"logIndex":"1","logId":{"keyId":"AAAA"},"canonicalizedBody":"e30="}],'
        b'"timestampVerificationData":{"rfc3161Timestamps":[{"signedTimestamp":"AAAA"},'
        b'{"signedTimestamp":"AAAA"}]}},"dsseEnvelope":{"payload":'
    )
    read = Bundle.from_bytes(data)
    assert (read.key_hint, read.certificates) == (None, (b"\0\0\0",))
    assert (read.log_entries, read.timestamps) == ((ENTRY,), (stamp, stamp))


@settings(deadline=None)
@given(
    st.binary(),
    texts,
    texts,
    st.binary(),
    st.none() | st.binary(min_size=1),
    st.lists(json_objects, max_size=2),
    st.lists(json_objects, max_size=2),
)
def test_the_envelope_comes_back_byte_for_byte(
    payload: bytes,
    payload_type: str,
    keyid: str,
    sig: bytes,
    certificate: bytes | None,
    log_entries: list[Mapping[str, object]],
    timestamps: list[Mapping[str, object]],
) -> None:
    envelope = Envelope(payload, payload_type, (Signature(keyid, sig),))
    data = build_bundle(
        envelope, keyid, certificate=certificate, log_entries=log_entries, timestamps=timestamps
    )
    read = Bundle.from_bytes(data)
    assert read.envelope.to_bytes() == envelope.to_bytes()
    assert envelope.to_bytes() in data
    assert read.key_hint == (keyid if certificate is None else None)
    assert (read.log_entries, read.timestamps) == (tuple(log_entries), tuple(timestamps))
    assert orjson.dumps(orjson.loads(data)) == data, "compact, and nothing spelled in an unusual way"


def test_an_envelope_that_no_bundle_may_carry_is_refused() -> None:
    two = Envelope(b"", "", (Signature("a", b""), Signature("a", b"")))
    for envelope, count in ((two, 2), (Envelope(b"", "", ()), 0)):
        with pytest.raises(FormatError, match=f"exactly one signature, the envelope has {count}"):
            build_bundle(envelope, "a")
    with pytest.raises(FormatError, match="the bundle's key 'b' is not the envelope's 'SHA256:x'"):
        build_bundle(an_envelope(), "b")


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_both_spellings_of_the_media_types_are_read(version: str) -> None:
    for media_type in (
        f"application/vnd.dev.sigstore.bundle.v{version}+json",
        f"application/vnd.dev.sigstore.bundle+json;version={version}",
    ):
        assert Bundle.from_bytes(raw(mediaType=media_type)).media_type == media_type


def test_every_kind_of_key_material_is_read() -> None:
    cases: list[tuple[dict[str, object], str | None, tuple[bytes, ...]]] = [
        ({"publicKey": {"hint": "x"}}, "x", ()),
        ({"publicKey": {}}, "", ()),
        ({"publicKey": {"hint": None}, "certificate": None}, "", ()),
        ({"publicKey": {"another": "member"}}, "", ()),
        ({"certificate": {"rawBytes": "AAAA"}, "tlogEntries": None}, None, (b"\0\0\0",)),
        (
            {"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}, {"rawBytes": "ABCD"}]}},
            None,
            (b"\0\0\0", b"\x00\x10\x83"),
        ),
    ]
    for material, hint, certificates in cases:
        read = Bundle.from_bytes(raw(verificationMaterial=material))
        assert (read.key_hint, read.certificates) == (hint, certificates)


def test_timestamps_may_be_left_out_at_each_level() -> None:
    cases: list[object] = [None, {}, {"rfc3161Timestamps": None}, {"rfc3161Timestamps": []}]
    for data in cases:
        material = {"publicKey": {}, "timestampVerificationData": data}
        assert Bundle.from_bytes(raw(verificationMaterial=material)).timestamps == ()


def test_a_message_signature_is_read_but_is_no_envelope() -> None:
    digest = {"algorithm": "SHA2_256", "digest": "ABCD"}
    for message, expected in (
        ({"signature": "AAAA"}, MessageSignature(b"\0\0\0", "", b"")),
        (
            {"signature": "AAAA", "messageDigest": {}},
            MessageSignature(b"\0\0\0", "", b""),
        ),
        (
            {"signature": "AAAA", "messageDigest": digest},
            MessageSignature(b"\0\0\0", "SHA2_256", b"\x00\x10\x83"),
        ),
    ):
        read = Bundle.from_bytes(raw(dsseEnvelope=..., messageSignature=message))
        assert read.content == expected
        with pytest.raises(FormatError, match="holds a message signature: expected a DSSE envelope"):
            _ = read.envelope


@pytest.mark.parametrize("name", ["messageDigest", "signature", "algorithm", "digest"])
def test_a_member_of_a_message_signature_that_others_read_is_not_passed_over(name: str) -> None:
    digest = {"algorithm": "SHA2_256", "digest": "ABCD"}
    message: dict[str, object] = {"signature": "AAAA", "messageDigest": digest}
    written = orjson.dumps(message).replace(b'"%b"' % name.encode(), b'"%b"' % name.upper().encode())
    with pytest.raises(FormatError, match=f"member '{name.upper()}' must be spelled '{name}'"):
        Bundle.from_bytes(raw(dsseEnvelope=..., messageSignature=orjson.loads(written)))


def test_every_broken_file_has_its_fault_and_every_fault_its_file() -> None:
    assert {file.stem for file in BROKEN.iterdir()} == set(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_bundle_is_refused_with_its_fault(name: str) -> None:
    with pytest.raises(FormatError) as caught:
        Bundle.from_bytes((BROKEN / f"{name}.json").read_bytes())
    assert str(caught.value).startswith(FAULTS[name])


def test_a_bundle_above_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = raw()
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", len(data))
    assert Bundle.from_bytes(data)
    with pytest.raises(FormatError, match="at most"):
        Bundle.from_bytes(data + b" ")


@settings(deadline=None)
@given(st.binary() | json_objects.map(orjson.dumps))
def test_garbage_is_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"^bundle"):
        Bundle.from_bytes(data)


@settings(deadline=None)
@given(st.data())
def test_damaged_bundles_read_or_raise_a_format_error(draw: st.DataObject) -> None:
    whole = build_bundle(an_envelope(), "SHA256:x", log_entries=[ENTRY], timestamps=[{"signedTimestamp": ""}])
    data = bytearray(whole)
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with suppress(FormatError):
        Bundle.from_bytes(bytes(data))


@settings(deadline=None)
@given(json_objects)
def test_wrong_types_are_format_errors(value: dict[str, object]) -> None:
    for name in ("publicKey", "certificate", "x509CertificateChain"):
        for wrong in ([value], "x", 1, True):
            with pytest.raises(FormatError, match=name):
                Bundle.from_bytes(raw(verificationMaterial={name: wrong}))
    for entries in (value, "x", 1, True, ["x"], [value, 1]):
        with pytest.raises(FormatError, match="tlogEntries"):
            Bundle.from_bytes(raw(verificationMaterial={"publicKey": {"hint": ""}, "tlogEntries": entries}))


def test_equal_runs_have_equal_bundles(signers: dict[str, Signer], keys: dict[str, PublicKey]) -> None:
    for name, signer in signers.items():
        once, again = (build_bundle(sign_payload(signer, b"{}", IN_TOTO), signer.keyid) for _ in range(2))
        assert once == again
        assert verify_envelope(Bundle.from_bytes(once).envelope, [keys[name]]) == keys[name]


@pytest.mark.server
def test_bundles_made_by_cosign_are_read_and_verified_as_cosign_does(
    cosign: Command, tmp_path: Path, pems: dict[str, bytes], keys: dict[str, PublicKey]
) -> None:
    environment = {**os.environ, "COSIGN_PASSWORD": "pw", "HOME": str(tmp_path)}
    offline = ("--yes", "--tlog-upload=false", "--use-signing-config=false")

    def run(*arguments: str) -> None:
        subprocess.run(
            [str(cosign.program), *arguments],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            timeout=60,
        )

    (tmp_path / "blob").write_bytes(b"content")
    (tmp_path / "predicate.json").write_bytes(b"{}")
    for name, pem in pems.items():
        (tmp_path / f"{name}.pem").write_bytes(pem)
        run("import-key-pair", "--key", f"{name}.pem", "--output-key-prefix", name, "--yes")
        signing = ("--key", f"{name}.key", *offline, "blob")
        run("attest-blob", "--predicate", "predicate.json", "--bundle", f"{name}.att", *signing)
        run("sign-blob", "--bundle", f"{name}.sig", *signing)

        (key,) = load_public_keys(tmp_path / f"{name}.pub")
        attestation = Bundle.from_bytes((tmp_path / f"{name}.att").read_bytes())
        assert attestation.key_hint == key.cosign_hint == keys[name].cosign_hint
        assert hashlib.sha256(b"content").hexdigest().encode() in attestation.envelope.payload
        signature = Bundle.from_bytes((tmp_path / f"{name}.sig").read_bytes()).content
        assert isinstance(signature, MessageSignature)
        if name in {"ecdsa-p384", "ed25519"}:  # refused by cosign 3.1.3 --key as well: see public_key.py
            with pytest.raises(VerificationError):
                verify_envelope(attestation.envelope, [key])
        else:
            assert verify_envelope(attestation.envelope, list(keys.values())) == key
            assert signature.digest == hashlib.sha256(b"content").digest()
            key.verify(signature.signature, b"content")
