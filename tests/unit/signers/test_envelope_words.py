"""Envelopes and bundles that are refused, in the very words; limits to the byte."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from signers.base import Signer
from signers.errors import FormatError, VerificationError
from signers.formats import bundle as bundles
from signers.formats import dsse
from signers.formats.bundle import MEDIA_TYPE, Bundle, build_bundle
from signers.formats.dsse import Envelope, Signature, sign_payload, verify_envelope
from signers.keys.public_key import PublicKey
from signers.strict_json import check_names, decode_base64, kind_of, member, objects, parse_object

Json = Any
IN_TOTO = "application/vnd.in-toto+json"
CHANGED = "its content, its payload type or the signature was changed, or another key made it"


def refused(envelope: Envelope, keys: list[PublicKey], words: str, reason: str) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_envelope(envelope, keys)
    assert (str(caught.value), caught.value.reason) == (words, reason)


def test_who_signed_is_told_by_four_names_of_at_most_sixty_four_characters(
    keys: dict[str, PublicKey],
) -> None:
    given = [keys["ed25519"], keys["ecdsa-p256"]]
    named = [Signature(name, b"x") for name in ("a" * 65, "b", "c", "d", "e")]
    refused(
        Envelope(b"{}", IN_TOTO, tuple(named)),
        given,
        f"signed by '{'a' * 64}', 'b', 'c', 'd', which none of the 2 given public keys is: add that key, if you trust it",
        "key_unknown",
    )
    refused(
        Envelope(b"{}", IN_TOTO, (Signature("", b"x"), named[0])),
        given,
        f"no given key made a signature of this envelope (keyids '', '{'a' * 64}'): {CHANGED}",
        "signature_invalid",
    )
    refused(
        Envelope(b"{}", IN_TOTO, (Signature(given[0].keyid, b"x"), Signature("b", b"x"))),
        given,
        f"no given key made a signature of this envelope (keyids '{given[0].keyid}', 'b'): {CHANGED}",
        "signature_invalid",
    )
    for signatures in ((Signature("a", b"x"),), ()):
        refused(
            Envelope(b"{}", IN_TOTO, signatures),
            [],
            "no public key was given: name the keys that are trusted",
            "key_unknown",
        )
    refused(
        Envelope(b"{}", IN_TOTO, ()),
        given,
        f"no given key made a signature of this envelope (keyids ): {CHANGED}",
        "signature_invalid",
    )


def test_the_key_that_is_named_is_tried_first(keys: dict[str, PublicKey]) -> None:
    """A stranger's envelope costs one operation for each key; an honest one costs one in all."""
    tried: list[str] = []

    class Noted:
        def __init__(self, key: PublicKey) -> None:
            self.keyid, self.cosign_hint, self._key = key.keyid, key.cosign_hint, key

        def verify(self, signature: bytes, data: bytes) -> None:
            tried.append(self.keyid)
            raise VerificationError("no", "signature_invalid")

    given: list[Any] = [Noted(keys[name]) for name in ("ed25519", "ecdsa-p256", "rsa-3072")]
    with pytest.raises(
        VerificationError, match=r"no given key made a signature of this envelope \(keyids 'SHA256:"
    ):
        verify_envelope(Envelope(b"", "", (Signature(given[1].keyid, b"x"),)), given)
    assert tried == [given[1].keyid, given[0].keyid, given[2].keyid]
    tried.clear()
    with pytest.raises(
        VerificationError, match=r"no given key made a signature of this envelope \(keyids ''"
    ):
        verify_envelope(Envelope(b"", "", (Signature("", b"x"),)), given)
    assert tried == [one.keyid for one in given]


@pytest.mark.parametrize("count", [1, 64])
def test_as_many_signatures_as_are_allowed_are_read(count: int) -> None:
    made = Envelope(b"", "", (Signature("a", b"x"),) * count)
    assert Envelope.from_bytes(made.to_bytes()) == made


def test_an_envelope_of_the_largest_size_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Envelope(b"{}", IN_TOTO, (Signature("", b"x"),)).to_bytes()
    monkeypatch.setattr(dsse, "MAX_ENVELOPE_BYTES", len(data))
    assert Envelope.from_bytes(data)
    monkeypatch.setattr(dsse, "MAX_ENVELOPE_BYTES", len(data) - 1)
    words = f"^envelope has {len(data)} bytes, at most {len(data) - 1} are read$"
    with pytest.raises(FormatError, match=words):
        Envelope.from_bytes(data)


def test_a_payload_is_signed_with_its_type_by_the_key_that_is_named(signers: dict[str, Signer]) -> None:
    signer = signers["ed25519"]
    made = sign_payload(signer, b"{}", "t")
    assert (made.payload, made.payload_type) == (b"{}", "t")
    assert made.signatures == (Signature(signer.keyid, signer.sign(b"DSSEv1 1 t 2 {}")),)


# bundles


def refuses(words: str, **members: Json) -> None:
    whole: Json = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"certificate": {"rawBytes": "AAAA"}},
        "dsseEnvelope": {"payload": "", "payloadType": "", "signatures": [{"sig": "AAAA"}]},
    }
    data = json.dumps({name: value for name, value in (whole | members).items() if value is not ...}).encode()
    with pytest.raises(FormatError, match=f"^{re.escape(words)}$"):
        Bundle.from_bytes(data)


MATERIAL = "bundle: verificationMaterial"
STAMPS = "timestampVerificationData"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"mediaType": "x" * 97}, f"bundle: unknown mediaType '{'x' * 96}': expected such as {MEDIA_TYPE}"),
        ({"MediaType": 1}, "bundle: member 'MediaType' must be spelled 'mediaType'"),
        ({"verificationMaterial": {"Certificate": 1}}, f"{MATERIAL}: member 'Certificate' must be spelled 'certificate'"),
        ({"verificationMaterial": {"publicKey": {"Hint": 1}}}, f"{MATERIAL}: publicKey: member 'Hint' must be spelled 'hint'"),
        ({"verificationMaterial": {"publicKey": 1}}, f"{MATERIAL}: publicKey must be an object, got a number"),
        ({"verificationMaterial": {"certificate": {"RawBytes": 1}}}, f"{MATERIAL}: certificate: member 'RawBytes' must be spelled 'rawBytes'"),
        ({"verificationMaterial": {"certificate": {"rawBytes": 1}}}, f"{MATERIAL}: certificate: rawBytes must be a string, got a number"),
        ({"verificationMaterial": {"x509CertificateChain": {"Certificates": []}}}, f"{MATERIAL}: x509CertificateChain: member 'Certificates' must be spelled 'certificates'"),
        ({"verificationMaterial": {"x509CertificateChain": {}}}, f"{MATERIAL}: x509CertificateChain is empty: expected the signer's certificate"),
        ({"verificationMaterial": {"x509CertificateChain": {"certificates": [{}]}}}, f"{MATERIAL}: x509CertificateChain: rawBytes is missing"),
        ({"verificationMaterial": {"publicKey": {}, "tlogEntries": 1}}, f"{MATERIAL}: tlogEntries must be an array, got a number"),
        ({"verificationMaterial": {"publicKey": {}, STAMPS: 1}}, f"{MATERIAL}: {STAMPS} must be an object, got a number"),
        ({"verificationMaterial": {"publicKey": {}, STAMPS: {"Rfc3161Timestamps": 1}}}, f"{MATERIAL}: {STAMPS}: member 'Rfc3161Timestamps' must be spelled 'rfc3161Timestamps'"),
        ({"verificationMaterial": {"publicKey": {}, STAMPS: {"rfc3161Timestamps": 1}}}, f"{MATERIAL}: {STAMPS}: rfc3161Timestamps must be an array, got a number"),
        ({"verificationMaterial": {"publicKey": {}, STAMPS: {"rfc3161Timestamps": [1]}}}, f"{MATERIAL}: {STAMPS}: rfc3161Timestamps 1 must be an object, got a number"),
        ({"dsseEnvelope": {"payload": "", "payloadType": "", "signatures": [{"sig": ""}] * 2}}, "bundle: expected exactly one signature, got 2"),
        ({"dsseEnvelope": ..., "messageSignature": 1}, "bundle: messageSignature must be an object, got a number"),
        ({"dsseEnvelope": ..., "messageSignature": {"Signature": 1}}, "bundle: messageSignature: member 'Signature' must be spelled 'signature'"),
        ({"dsseEnvelope": ..., "messageSignature": {"signature": 1}}, "bundle: messageSignature: signature must be a string, got a number"),
        ({"dsseEnvelope": ..., "messageSignature": {"signature": "!"}}, "bundle: messageSignature: signature is not base64: Only base64 data is allowed"),
        ({"dsseEnvelope": ..., "messageSignature": {"signature": "AAAA", "messageDigest": {"Digest": 1}}}, "bundle: messageSignature: member 'Digest' must be spelled 'digest'"),
        ({"dsseEnvelope": ..., "messageSignature": {"signature": "AAAA", "messageDigest": {"digest": "AAAA"}}}, "bundle: messageSignature: algorithm is missing"),
        ({"dsseEnvelope": ..., "messageSignature": {"signature": "AAAA", "messageDigest": {"algorithm": "x"}}}, "bundle: messageSignature: digest is missing"),
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_told_by_its_member(members: Json, words: str) -> None:
    refuses(words, **members)


def test_a_bundle_of_the_largest_size_is_read_and_no_byte_more(monkeypatch: pytest.MonkeyPatch) -> None:
    data = build_bundle(Envelope(b"{}", IN_TOTO, (Signature("a", b"x"),)), "a")
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", len(data))
    assert Bundle.from_bytes(data)
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", len(data) - 1)
    with pytest.raises(
        FormatError, match=f"^bundle has {len(data)} bytes, at most {len(data) - 1} are read$"
    ):
        Bundle.from_bytes(data)


def test_a_bundle_is_made_of_one_signature_by_the_key_that_it_names() -> None:
    two = Envelope(b"", "", (Signature("a", b""), Signature("a", b"")))
    with pytest.raises(FormatError) as caught:
        build_bundle(two, "a")
    assert str(caught.value) == "a bundle carries exactly one signature, the envelope has 2"
    with pytest.raises(FormatError) as caught:
        build_bundle(Envelope(b"", "", (Signature("a", b""),)), "b")
    assert (
        str(caught.value) == "the bundle's key 'b' is not the envelope's 'a': sign the envelope with that key"
    )
    message = Bundle.from_bytes(
        json.dumps(
            {
                "mediaType": MEDIA_TYPE,
                "verificationMaterial": {"publicKey": {"hint": "x"}},
                "messageSignature": {"signature": "AAAA"},
            }
        ).encode()
    )
    with pytest.raises(FormatError) as caught:
        _ = message.envelope
    assert str(caught.value) == "bundle holds a message signature: expected a DSSE envelope"


# unambiguous JSON


def test_json_is_refused_by_the_name_of_what_it_is() -> None:
    for data, words in (
        (b"[]", "x must be a JSON object, got an array"),
        (b"null", "x must be a JSON object, got null"),
        (b"1.5", "x must be a JSON object, got a number"),
        (
            b'{"%b":1,"%b":2}' % (b"a" * 65, b"a" * 65),
            f"x is not unambiguous JSON: two members are named '{'a' * 64}'",
        ),
        (b'{"a":{"b":1,"b":2}}', "x is not unambiguous JSON: two members are named 'b'"),
        (b"{} ", "x has 3 bytes, at most 2 are read"),
    ):
        limit = 2 if data == b"{} " else 1000
        with pytest.raises(FormatError) as caught:
            parse_object(data, "x", limit)
        assert str(caught.value) == words
    assert parse_object(b"{}", "x", 2) == {}
    with pytest.raises(FormatError, match=r"^x is (nested too deeply|not unambiguous JSON: )"):
        parse_object(b'{"a":' * 1010 + b"1" + b"}" * 1010, "x", 10_000)


def test_members_are_asked_for_by_name_and_kind() -> None:
    assert member({"a": [1]}, "a", list, "x") == [1]
    for members, words in (
        ({}, "x: a is missing"),
        ({"a": None}, "x: a must be an array, got null"),
        ({"a": {}}, "x: a must be an array, got an object"),
        ({"a": True}, "x: a must be an array, got true or false"),
    ):
        with pytest.raises(FormatError) as caught:
            member(members, "a", list, "x")
        assert str(caught.value) == words
    assert objects([{"a": 1}, {}], "x") == ({"a": 1}, {})
    with pytest.raises(FormatError) as caught:
        objects([{}, "a"], "x")
    assert str(caught.value) == "x 2 must be an object, got a string"
    assert kind_of(set()) == "set"


def test_names_are_compared_as_other_readers_do() -> None:
    check_names({"known": 1, "other": 2}, {"known"}, "x")
    for name in ("Known", "k_nown", "KNOWN_"):
        with pytest.raises(FormatError) as caught:
            check_names({name: 1}, {"known"}, "x")
        assert str(caught.value) == f"x: member {name!r} must be spelled 'known'"
    long = "_" * 60 + "known"
    with pytest.raises(FormatError) as caught:
        check_names({long: 1}, {"known"}, "x")
    assert str(caught.value) == f"x: member {long[:64]!r} must be spelled 'known'"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AAAA!!!!", "x is not base64: Only base64 data is allowed"),
        ("AA\nAA", "x is not base64: Only base64 data is allowed"),
        ("AAA", "x is not base64: Incorrect padding"),
        ("AAAA=", "x is not base64: Excess data after padding"),
        ("AB==", "x is not base64: its last group is not as RFC 4648 requires"),
        ("AAB=", "x is not base64: its last group is not as RFC 4648 requires"),
        ("-A+A", "x mixes standard and URL-safe base64"),
        ("_A/A", "x mixes standard and URL-safe base64"),
        ("-A/A", "x mixes standard and URL-safe base64"),
        ("_A+A", "x mixes standard and URL-safe base64"),
    ],
)
def test_one_value_has_one_spelling(text: str, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        decode_base64(text, "x")
    assert str(caught.value).startswith(words.partition(": Inc")[0].partition(": Exc")[0])


def test_both_alphabets_are_read() -> None:
    assert decode_base64("", "x") == b""
    assert decode_base64("-_-_", "x") == decode_base64("+/+/", "x") == b"\xfb\xff\xbf"
    assert decode_base64("AA==", "x") == b"\0"
    assert decode_base64("AAE=", "x") == b"\0\1"
