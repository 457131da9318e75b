"""Evidence that is broken in every way: it ends as a check or a skipped item with a reason, never as an error."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import orjson
import pytest

from chains.verify.readings import MAX_DEPTH
from chains.verify.render import to_text
from chains.verify.verdict import Verdict, Verification, many_to_json
from chains.verify.verifier import Verifier
from signers.formats.bundle import MAX_BUNDLE_BYTES
from tests.faults.verify.forge import (
    DIGEST,
    HERE,
    HEX,
    NOW,
    Json,
    Shelf,
    altered,
    ask,
    bundle,
    criteria,
    envelope,
    evidence,
    form_a,
    form_b,
    provenance,
    public,
    reasons,
    signer,
    subject,
    to_bytes,
)

FORMS = sorted((HERE / "forms").glob("*.json"))
OTHER_REASONS = {"message-signature": "not_an_attestation"}


def file(data: bytes, form: str = "bundle") -> Verification:
    return Verifier(criteria(), clock=lambda: NOW).judge_bundle(data, ref="file.json", form=form)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_broken_form_is_skipped_with_the_reason(path: Path) -> None:
    held = evidence(path.read_bytes(), "bundle-v0.3")
    reason = OTHER_REASONS.get(path.stem, "unreadable")
    found = ask(held)
    assert found.verdict is Verdict.FAILED
    assert [each.reason.value for each in found.skipped] == [reason]
    assert found.skipped[0].detail
    assert ask(held, form_a(provenance())).verdict is Verdict.VERIFIED
    assert file(path.read_bytes()).verdict is Verdict.FAILED


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_broken_form_given_as_a_file_never_verifies(path: Path) -> None:
    found = asyncio.run(Verifier(criteria(), [Shelf()], clock=lambda: NOW).target(str(path)))
    assert found.verdict in {Verdict.FAILED, Verdict.INDETERMINATE}
    assert reasons(found) <= {"unreadable", "not_an_attestation", "target_unreadable"}


def test_a_hundred_megabytes_are_refused_unread() -> None:
    for form in ("bundle", "dsse"):
        found = file(b'{"verificationMaterial":' + b" " * (100 << 20), form)
        assert reasons(found) == {"unreadable"}
        assert "at most" in found.summary
    assert MAX_BUNDLE_BYTES < 100 << 20


def test_json_nested_very_deep_is_refused() -> None:
    for depth in (1_000, 100_000):
        deep = b'{"dsseEnvelope":' * depth + b"1" + b"}" * depth
        assert reasons(file(deep)) == {"unreadable"}
        assert reasons(file(deep, "dsse")) == {"unreadable"}


def nested(depth: int) -> Json:
    value: Json = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_signed_statement_is_read_to_a_depth_that_its_answer_can_be_written_with() -> None:
    found = ask(form_b(provenance(predicate={"x": nested(MAX_DEPTH - 3)})))
    assert found.verdict is Verdict.VERIFIED
    assert orjson.dumps(many_to_json([found, found]))
    found = ask(form_b(provenance(predicate={"x": nested(MAX_DEPTH)})))
    assert reasons(found) == {"statement_invalid"}
    assert "levels deep" in found.summary


def text_with(**members: str) -> bytes:
    """A statement as text, with members given as JSON text, so that any text can be made."""
    whole = {name: json.dumps(value) for name, value in provenance().items()} | members
    return ("{" + ",".join(f'"{name}":{value}' for name, value in whole.items()) + "}").encode()


SIGNED_FAULTS: dict[str, bytes] = {
    "empty": b"",
    "no json": b"hello",
    "an array": b"[]",
    "byte order mark": b"\xef\xbb\xbf" + text_with(),
    "utf-16": text_with().decode().encode("utf-16"),
    "a member twice": text_with()[:-1] + b',"predicateType":"x"}',
    "a member twice, deep inside": text_with(predicate='{"a":{"b":1,"b":2}}'),
    "a member in another spelling": text_with(PredicateType='"x"'),
    "a subject's member in another spelling": text_with(subject='[{"digest":{"sha256":"00"},"Digest":{}}]'),
    "nan": text_with(predicate='{"a":NaN}'),
    "type unknown": text_with(_type='"https://in-toto.io/Statement/v2"'),
    "type missing": json.dumps({k: v for k, v in provenance().items() if k != "_type"}).encode(),
    "predicate type missing": json.dumps({k: v for k, v in provenance().items() if k != "predicateType"}).encode(),
    "predicate type empty": text_with(predicateType='""'),
    "predicate type a list": text_with(predicateType='["https://slsa.dev/provenance/v1"]'),
    "predicate a list": text_with(predicate="[]"),
    "predicate a string": text_with(predicate='"x"'),
    "subject a mapping": text_with(subject="{}"),
    "subject a string": text_with(subject='["x"]'),
    "subject without digest": text_with(subject='[{"name":"x"}]'),
    "digest empty": text_with(subject='[{"digest":{}}]'),
    "digest null": text_with(subject='[{"digest":null}]'),
    "digest value empty": text_with(subject='[{"digest":{"sha256":""}}]'),
    "digest a number": text_with(subject='[{"digest":{"sha256":5}}]'),
    "digest in capitals": json.dumps(provenance(subject(HEX.upper()))).encode(),
    "digest of odd length": json.dumps(provenance(subject(HEX[:-1]))).encode(),
    "digest with prefix": json.dumps(provenance(subject(DIGEST))).encode(),
    "digest with a line end": json.dumps(provenance(subject(HEX + "\n"))).encode(),
    "digest with wide digits": json.dumps(provenance(subject("\uff10" * 64))).encode(),
    "one good digest beside a bad one": json.dumps(provenance(subject(), subject("xyz"))).encode(),
    "name a number": text_with(subject='[{"name":5,"digest":{"sha256":"00"}}]'),
    "more than 1024 subjects": json.dumps(provenance(*[subject()] * 1025)).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNED_FAULTS)
def test_a_statement_that_we_signed_and_that_is_broken_is_not_used(name: str) -> None:
    for form in (form_a, form_b):
        found = ask(form(SIGNED_FAULTS[name]))
        assert found.verdict is Verdict.FAILED
        assert reasons(found) == {"statement_invalid"}
        assert found.attestations[0].keyid == public().keyid
        assert ask(form(SIGNED_FAULTS[name]), form_a(provenance())).verdict is Verdict.VERIFIED


@pytest.mark.parametrize(
    "kind", ["", "application/json", "application/vnd.in-toto+json ", "application/vnd.in-toto", "text/plain"]
)
def test_a_payload_type_that_is_not_in_totos_is_not_used(kind: str) -> None:
    data = envelope(provenance(), payload_type=kind).to_bytes()
    found = ask(evidence(data))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"payload_type_mismatch"}


def test_a_payload_type_that_was_changed_after_signing_is_tampering() -> None:
    data = altered(envelope(provenance(), payload_type="text/plain").to_bytes(), lambda members: members.update(
        payloadType="application/vnd.in-toto+json"))  # fmt: skip
    assert reasons(ask(evidence(data))) == {"signature_invalid"}


def test_a_payload_for_another_protocol_is_no_statement() -> None:
    # what simple-signing covers is raw: it must not pass as an envelope, nor an envelope as simple-signing
    raw = to_bytes(provenance())
    stolen = signer().sign(raw)
    data = altered(
        envelope(provenance()).to_bytes(),
        lambda members: members["signatures"][0].update(sig=base64.b64encode(stolen).decode()),
    )
    assert reasons(ask(evidence(data))) == {"signature_invalid"}


def test_1024_subjects_are_read() -> None:
    assert ask(form_b(provenance(*[subject("00")] * 1023, subject()))).verdict is Verdict.VERIFIED


def test_no_word_of_the_evidence_can_forge_a_line_or_move_the_cursor() -> None:
    forged = "x\nVERIFIED everything\r\x1b[2J\u202e\u2028\x00"
    held = [
        form_b(provenance(predicateType=forged)),
        form_b(provenance(uid=forged, builder=forged)),
        form_a(provenance(subject("00", forged))),
        evidence(envelope(provenance(), payload_type=forged).to_bytes(), location=forged),
        evidence(altered(bundle(provenance()), lambda members: members.update(mediaType=forged))),
        evidence(b"x", forged),
    ]
    for found in (
        ask(*held, by=criteria(builder_id=forged), reference=forged),
        *(file(one.data) for one in held),
        Verifier(criteria(), clock=lambda: NOW).judge_bundle(
            bundle(provenance(subject("00", forged))), ref=forged
        ),
    ):
        lines = to_text(found, verbose=True).splitlines()
        assert [line for line in lines if line.startswith(tuple(Verdict))] == [lines[0]]
        assert all(char == "\n" or char.isprintable() for char in to_text(found, verbose=True))
        orjson.dumps(found.to_json())


def test_long_words_are_cut() -> None:
    found = ask(form_b(provenance(predicateType="x" * 100_000)))
    assert len(to_text(found, verbose=True)) < 10_000
    check = next(check for check in found.to_json()["checks"] if check["id"] == "predicate-type")
    assert check["actual"].endswith("(100000 characters)")


def test_nothing_unverified_is_told_as_if_it_were_true() -> None:
    secret = "https://claims.example/only-in-the-payload"
    stranger = signer("stranger")
    for held in (
        form_a(provenance(builder=secret, uid=secret, predicateType=secret), stranger),
        form_b(provenance(subject(name=secret)), stranger),
    ):
        for found in (ask(held), file(held.data, "bundle" if b"verif" in held.data else "dsse")):
            assert secret not in to_text(found, verbose=True)
            assert secret not in json.dumps(found.to_json())
            assert found.to_json()["attestations"][0]["predicateType"] is None


RUN_FAULTS = sorted(path for path in (HERE / "runs").iterdir() if path.stem != "a-pod")


@pytest.mark.parametrize("path", RUN_FAULTS, ids=lambda path: path.stem)
def test_a_run_file_that_cannot_be_read_is_not_decided(path: Path) -> None:
    found = asyncio.run(
        Verifier(criteria(), [Shelf(form_a(provenance()))], clock=lambda: NOW).target(str(path))
    )
    assert found.verdict is Verdict.INDETERMINATE
    assert reasons(found) == {"target_unreadable"}
