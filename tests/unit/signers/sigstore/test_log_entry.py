"""Entries of transparency logs, each refused with its own words; what is forged in a file is in ``forged_faults``."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signers.errors import VerificationError
from signers.formats.bundle import Bundle
from signers.formats.dsse import pae
from signers.keys.public_key import PublicKey
from signers.sigstore.certificate import read_certificate
from signers.sigstore.log_entry import (
    MAX_BODY_BYTES,
    Logged,
    check_body,
    parse_body,
    promised,
    verify_log_entry,
    verify_promise,
)
from signers.sigstore.signed import Signed
from signers.sigstore.trusted_root import TrustedRoot
from signers.sigstore.verification_material import VerificationMaterial, verify_entries
from tests.faults.verify.forged_cases import FOLDER, file
from tests.testbed.forged_evidence import Forger
from tests.testbed.forged_signature import Signature
from tests.testbed.forged_sigstore import NOW, V1, V2, Entry, body_v2, encoded

Json = Any
NO_HASHEDREKORD = "the log entry is not a valid hashedrekord 0.0.1"
ANOTHER = "the log entry is about another signature"
NO_PROOF = "the log entry has no inclusion proof"
NOT_SIGNED = "the log https://rekor-v1.example did not sign this"
NOT_LED = "the inclusion proof of entry 2 does not match the log's checkpoint"
FAULTS = {
    **dict.fromkeys(
        (
            "certificate-changed", "entry-of-another-signature", "entry-of-another-signature-v1",
            "entry-of-another-payload", "entry-of-another-payload-v1", "entry-of-another-payload-intoto",
            "entry-of-another-certificate", "entry-of-another-certificate-v1", "entry-of-the-key-alone",
            "entry-beside-one-of-another", "payload-changed", "payload-changed-key", "key-entry-of-another",
        ),
        ANOTHER,
    ),
    **dict.fromkeys(("proof-missing", "proof-missing-v1"), NO_PROOF),
    **dict.fromkeys(
        ("promise-of-another-entry", "promise-of-another-time", "promise-of-another-index", "promise-by-another-key"),
        NOT_SIGNED,
    ),
    **dict.fromkeys(
        ("proof-forged", "checkpoint-changed", "entry-body-changed", "proof-of-another-size", "proof-of-another-root"),
        NOT_LED,
    ),
    "proof-of-another-index": "the inclusion proof of entry 1 does not match the log's checkpoint",
    "proof-too-long": "the inclusion proof is too long",
    "proof-too-short": "the inclusion proof is too short",
    "entry-of-an-unknown-kind": "the log entry is of an unknown kind: rekord 0.0.2",
    "entry-with-a-member-twice": "the log entry's body is not unambiguous JSON: two members are named 'kind'",
    "entry-empty": "the log entry's canonicalizedBody is missing or not base64",
    "entry-index-of-another": "the log entry and its inclusion proof have different indexes",
    "entry-index-no-number": "the log entry's logIndex is not a number",
    "entry-of-another-kind-than-told": "the log entry's body is not of the kind that it states",
    "entries-too-many": "the signature has 17 log entries, at most 16 are read",
    "checkpoint-of-another-origin": "the checkpoint is of 'elsewhere.example', not of rekor.example",
    "checkpoint-signed-by-another-name":
        "the checkpoint is signed by elsewhere.example, not by rekor.example with the trusted root's key",
    "checkpoint-signed-by-another-key": "the log https://rekor.example did not sign this",
    "checkpoint-unsigned": "the log's checkpoint is not a signed note",
    "checkpoint-missing": "the log entry has no valid inclusion proof",
}  # fmt: skip


def root() -> TrustedRoot:
    return TrustedRoot.from_path(FOLDER / "trusted_root.json")


def signed_in(bundle: Bundle) -> Signed:
    held = bundle.envelope
    der = bundle.certificates[0] if bundle.certificates else b""
    key = PublicKey.from_pem((FOLDER / "key.pub").read_bytes())
    if der:
        key = PublicKey.from_key(read_certificate(der).public_key())
    return Signed(pae(held.payload_type, held.payload), held.signatures[0].sig, key, der, held)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_told_in_its_own_words(name: str) -> None:
    bundle = Bundle.from_bytes(file(name).read_bytes())
    with pytest.raises(VerificationError) as caught:
        verify_entries(VerificationMaterial.from_bundle(bundle), signed_in(bundle), root())
    assert (str(caught.value), caught.value.reason) == (FAULTS[name], "signature_invalid")


def test_a_log_that_is_not_trusted_is_no_false_signature() -> None:
    bundle = Bundle.from_bytes(file("entry-of-an-unknown-log").read_bytes())
    with pytest.raises(VerificationError) as caught:
        verify_entries(VerificationMaterial.from_bundle(bundle), signed_in(bundle), root())
    assert str(caught.value) == "log 0000000000000000… is not in the trusted root"
    assert caught.value.reason == "key_unknown"


@cache
def forger() -> Forger:
    return Forger()


def our_root() -> TrustedRoot:
    return TrustedRoot.from_bytes(json.dumps(forger().root).encode())


def a_signature() -> Signature:
    return Signature(forger().key)


def signed(one: Signature, **more: Json) -> Signed:
    key = PublicKey.from_key(one.key.public_key())
    held = Bundle.from_bytes(json.dumps(one.bundle([], [])).encode()).envelope
    return replace(Signed(one.data, one.signature, key, one.certificate, held), **more)


def fails(entry: Json, one: Signature, words: str, reason: str = "signature_invalid", **more: Json) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_log_entry(entry, signed(one), our_root(), **more)
    assert (str(caught.value), caught.value.reason) == (words, reason)


def test_an_honest_entry_is_told_with_index_place_and_time() -> None:
    one = a_signature()
    moment = datetime(2025, 6, 1, 12, 0, 7, tzinfo=UTC)
    for kind in ("dsse", "intoto"):
        entry = forger().us.entry(one.body(V1, kind), Entry(V1, moment=moment))
        found = verify_log_entry(entry, signed(one), our_root())
        log = our_root().logs[1]
        assert found == Logged(1002, f"https://{V1}", log.valid, moment), (
            "the index over all trees is promised"
        )
    found = verify_log_entry(forger().us.entry(one.body(V2)), signed(one), our_root())
    assert (found.index, found.url, found.time) == (2, f"https://{V2}", None)


def test_without_a_promise_nobody_vouches_for_time_or_index() -> None:
    one = a_signature()
    entry = forger().us.entry(one.body(V1), Entry(V1))
    del entry["inclusionPromise"]
    found = verify_log_entry(entry, signed(one), our_root())
    assert (found.index, found.time) == (2, None)


def test_a_promise_without_a_time_gives_none() -> None:
    one = a_signature()
    moment = datetime(1970, 1, 1, tzinfo=UTC)
    entry = forger().us.entry(one.body(V1), Entry(V1, moment=moment))
    assert entry["integratedTime"] == "0"
    assert verify_log_entry(entry, signed(one), our_root()).time is None


def test_a_promise_alone_is_enough_where_no_proof_is_needed_and_for_version_one_alone() -> None:
    one = a_signature()
    entry = forger().us.entry(one.body(V1), Entry(V1))
    del entry["inclusionProof"]
    found = verify_log_entry(entry, signed(one), our_root(), needs_proof=False)
    assert (found.index, found.time) == (1002, datetime(2025, 6, 1, 12, 1, tzinfo=UTC))
    fails(entry, one, NO_PROOF)
    del entry["inclusionPromise"]
    fails(entry, one, NO_PROOF, needs_proof=False)
    # a body of version two, to which a log of version one would have promised a time
    promised_v2 = forger().us.entry(one.body(V2), Entry(V1))
    del promised_v2["inclusionProof"]
    fails(promised_v2, one, NO_PROOF, needs_proof=False)


def test_an_entry_of_version_two_has_no_time_even_with_a_promise() -> None:
    one = a_signature()
    entry = forger().us.entry(one.body(V2), Entry(V1))
    entry["logIndex"] = "2"
    entry["inclusionPromise"] = {
        "signedEntryTimestamp": encoded(forger().us.logs[V1].sign(promised(entry), ec.ECDSA(hashes.SHA256())))
    }
    assert verify_log_entry(entry, signed(one), our_root()).time is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logId": None}, "the log entry names no log"),
        ({"logId": "AAAA"}, "the log entry names no log"),
        ({"logId": {}}, "the log entry's keyId is missing or not base64"),
        ({"kindVersion": "x"}, "the log entry's body is not of the kind that it states"),
        ({"kindVersion": {"kind": "dsse"}}, "the log entry's body is not of the kind that it states"),
        ({"kindVersion": {"version": "0.0.1"}}, "the log entry's body is not of the kind that it states"),
        ({"inclusionPromise": "x"}, "the log entry has no signed entry timestamp"),
        ({"inclusionPromise": {"a": 1}}, "the log entry's signedEntryTimestamp is missing or not base64"),
        ({"canonicalizedBody": 1}, "the log entry's canonicalizedBody is missing or not base64"),
        ({"canonicalizedBody": "-"}, "the log entry's canonicalizedBody is missing or not base64"),
    ],
)
def test_members_that_are_something_else_are_told(change: Json, words: str) -> None:
    one = a_signature()
    fails(forger().us.entry(one.body(V1), Entry(V1)) | change, one, words)


def test_a_kind_that_is_not_told_is_that_of_the_body() -> None:
    one = a_signature()
    entry = forger().us.entry(one.body(V2))
    del entry["kindVersion"]
    assert verify_log_entry(entry, signed(one), our_root()).index == 2


def test_a_time_that_no_calendar_has_is_told() -> None:
    one = a_signature()
    entry = forger().us.entry(one.body(V1), Entry(V1))
    entry["integratedTime"] = "9" * 18
    entry["inclusionPromise"] = {
        "signedEntryTimestamp": encoded(forger().us.logs[V1].sign(promised(entry), ec.ECDSA(hashes.SHA256())))
    }
    fails(entry, one, "the log entry's time is not valid")


def test_what_is_promised_is_canonical_json_without_the_proof() -> None:
    entry = forger().us.entry(a_signature().body(V1), Entry(V1))
    log_id = hashlib.sha256(
        forger().us.logs[V1].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()
    body, time = entry["canonicalizedBody"], int(NOW.timestamp()) + 60
    assert promised(entry) == (
        f'{{"body":"{body}","integratedTime":{time},"logID":"{log_id}","logIndex":1002}}'.encode()
    )
    verify_promise(entry, our_root())
    del entry["inclusionPromise"]
    with pytest.raises(VerificationError, match=r"^the log entry has no signed entry timestamp$") as caught:
        verify_promise(entry, our_root())
    assert caught.value.reason == "signature_invalid"


def test_a_body_over_the_limit_is_not_read() -> None:
    assert parse_body(b'{"a":1}' + b" " * (MAX_BODY_BYTES - 7)) == {"a": 1}
    with pytest.raises(VerificationError) as caught:
        parse_body(b'{"a":1}' + b" " * (MAX_BODY_BYTES - 6))
    assert str(caught.value) == "the log entry's body has 1048577 bytes, at most 1048576 are read"
    assert caught.value.reason == "signature_invalid"


# bodies, kind by kind


def hashedrekord(one: Signature, algorithm: str = "sha256", **change: Json) -> Json:
    digest = hashlib.new(algorithm, one.data).hexdigest()
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": algorithm, "value": digest}},
            "signature": {"content": encoded(one.signature), "publicKey": {"content": encoded(one.pem)}},
        }
        | change,
    }


def refused(body: Json, one: Signed, words: str) -> None:
    with pytest.raises(VerificationError) as caught:
        check_body(body, one)
    assert (str(caught.value), caught.value.reason) == (words, "signature_invalid")


@pytest.mark.parametrize("certified", [True, False])
@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_hashedrekord_of_version_one_is_compared_whole(algorithm: str, certified: bool) -> None:
    one = forger().signed() if certified else a_signature()
    about, body = signed(one), hashedrekord(one, algorithm)
    check_body(body, about)
    refused(body, replace(about, data=about.data + b"x"), ANOTHER)
    refused(body, replace(about, signature=about.signature + b"x"), ANOTHER)
    other = forger().signed()
    unlike = (
        ANOTHER if certified else NO_HASHEDREKORD
    )  # a key is no certificate, and cannot even be read as one
    refused(body, replace(about, certificate=other.certificate), unlike)
    unlike = NO_HASHEDREKORD if certified else ANOTHER
    key = PublicKey.from_key(other.key.public_key())
    refused(body, replace(about, certificate=b"", key=key), unlike)


def test_a_hash_is_of_an_algorithm_that_is_known() -> None:
    one = a_signature()
    for algorithm in ("sha1", "md5", "SHA256"):
        body = hashedrekord(one)
        body["spec"]["data"]["hash"]["algorithm"] = algorithm
        refused(body, signed(one), NO_HASHEDREKORD)


@pytest.mark.parametrize(
    ("algorithm", "name"), [("sha256", "SHA2_256"), ("sha384", "SHA2_384"), ("sha512", "SHA2_512")]
)
def test_a_hashedrekord_of_version_two_is_compared_whole(algorithm: str, name: str) -> None:
    one, other = a_signature(), forger().signed()
    body = body_v2(one.signature, one.data, one.verifier)
    inner = body["spec"]["hashedRekordV002"]
    inner["data"] = {"algorithm": name, "digest": encoded(hashlib.new(algorithm, one.data).digest())}
    about = signed(one)
    check_body(body, about)
    refused(body, replace(about, data=b"x"), ANOTHER)
    refused(body, replace(about, signature=b"x"), ANOTHER)
    refused(body, replace(about, key=PublicKey.from_key(other.key.public_key())), ANOTHER)
    refused(body, replace(about, certificate=other.certificate), ANOTHER)
    certified = body_v2(other.signature, other.data, other.verifier)
    check_body(certified, signed(other))
    refused(certified, replace(signed(other), certificate=b""), ANOTHER)
    refused(certified, replace(signed(other), certificate=forger().signed().certificate), ANOTHER)
    inner["data"]["algorithm"] = "SHA2_224"
    refused(body, about, "the log entry is not a valid hashedrekord 0.0.2")


@pytest.mark.parametrize(
    "verifier",
    [{}, {"keyDetails": "x"}, {"publicKey": {"rawBytes": "AAAA"}, "x509Certificate": {"rawBytes": "AAAA"}}, {"other": {"rawBytes": "AAAA"}}],
)  # fmt: skip
def test_a_verifier_is_one_key_or_one_certificate(verifier: Json) -> None:
    one = a_signature()
    body = body_v2(one.signature, one.data, {})
    body["spec"]["hashedRekordV002"]["signature"]["verifier"] = verifier
    refused(body, signed(one), "the log entry is not a valid hashedrekord 0.0.2")


def test_an_empty_certificate_is_nobodys() -> None:
    one = a_signature()
    body = body_v2(one.signature, one.data, {"x509Certificate": {"rawBytes": ""}})
    refused(body, signed(one), ANOTHER)


@pytest.mark.parametrize("kind", ["dsse", "intoto"])
def test_entries_about_envelopes_are_compared_whole(kind: str) -> None:
    one, other = a_signature(), Signature(ec.generate_private_key(ec.SECP256R1()))
    about, body = signed(one), one.body(V1, kind)
    check_body(body, about)
    envelope = about.envelope
    assert envelope is not None
    refused(body, replace(about, envelope=None), ANOTHER)
    refused(body, replace(about, envelope=replace(envelope, payload=b"{}")), ANOTHER)
    refused(body, replace(about, signature=b"x"), ANOTHER)
    refused(body, replace(about, key=PublicKey.from_key(other.key.public_key())), ANOTHER)
    listed = (
        body["spec"]["signatures"] if kind == "dsse" else body["spec"]["content"]["envelope"]["signatures"]
    )
    listed.insert(0, dict(listed[0], signature="AAAA", sig="AAAA"))
    check_body(body, about)
    del listed[1]
    refused(body, about, ANOTHER)


def test_an_intoto_entry_is_of_the_payload_type_that_was_signed() -> None:
    one = a_signature()
    body = one.body(V1, "intoto")
    body["spec"]["content"]["envelope"]["payloadType"] = "application/other"
    refused(body, signed(one), ANOTHER)


def test_the_signature_of_another_key_in_the_same_entry_is_not_ours() -> None:
    """Signature and verifier have to stand in one and the same place of a list."""
    one, other = a_signature(), Signature(ec.generate_private_key(ec.SECP256R1()))
    body = one.body(V1)
    mine, theirs = body["spec"]["signatures"][0], other.body(V1)["spec"]["signatures"][0]
    body["spec"]["signatures"] = [
        {"signature": mine["signature"], "verifier": theirs["verifier"]},
        {"signature": theirs["signature"], "verifier": mine["verifier"]},
    ]
    refused(body, signed(one), ANOTHER)


@pytest.mark.parametrize(
    "spec", [None, [], {}, {"payloadHash": {}}, {"payloadHash": {"algorithm": "sha256"}}, {"signatures": 1}]
)
def test_a_body_that_lacks_what_it_is_about_is_none_of_its_kind(spec: Json) -> None:
    body = {"kind": "dsse", "apiVersion": "0.0.1", "spec": spec}
    refused(body, signed(a_signature()), "the log entry is not a valid dsse 0.0.1")
    del body["spec"]
    refused(body, signed(a_signature()), "the log entry is not a valid dsse 0.0.1")


@pytest.mark.parametrize(
    "body", [{}, {"kind": "dsse"}, {"kind": "dsse", "apiVersion": "0.0.2"}, {"kind": ["x" * 99]}]
)
def test_other_kinds_are_told_and_not_interpreted(body: Json) -> None:
    name = " ".join(str(part)[:32] for part in (body.get("kind"), body.get("apiVersion")))
    refused(body, signed(a_signature()), f"the log entry is of an unknown kind: {name}")


def test_keys_of_other_kinds_are_not_ours() -> None:
    one = a_signature()
    key = rsa.generate_private_key(65537, 2048).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = hashedrekord(one)
    body["spec"]["signature"]["publicKey"]["content"] = b64encode(pem).decode()
    refused(body, signed(one), ANOTHER)
    for text in ("", "AAAA", "-"):
        body["spec"]["signature"]["publicKey"]["content"] = text
        refused(body, signed(one), NO_HASHEDREKORD)
