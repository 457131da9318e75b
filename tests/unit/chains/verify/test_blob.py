"""Bundles about a file: a signature over its bytes, or a statement that has it as a subject."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as run_command
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from signers.formats.bundle import MEDIA_TYPE
from tests.faults.verify.forge import (
    NOW,
    bundle,
    criteria,
    provenance,
    public,
    reasons,
    results,
    signer,
    subject,
)

BLOB = b"#!/bin/sh\necho a release\n"
SHA256 = hashlib.sha256(BLOB).hexdigest()


def message(
    data: bytes = BLOB, *, by: str = "ours", algorithm: str = "ecdsa-p256", digest: Any = ..., hint: str = ""
) -> bytes:
    """Return a bundle with a signature over ``data``; ``digest`` is the hint that it carries."""
    if digest is ...:
        digest = {"algorithm": "SHA2_256", "digest": b64encode(hashlib.sha256(data).digest()).decode()}
    content = {"signature": b64encode(signer(by, algorithm).sign(data)).decode()}
    if digest is not None:
        content["messageDigest"] = digest
    written = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "messageSignature": content,
    }
    return json.dumps(written).encode()


def ask(data: bytes, *, blob: bytes | None = BLOB, **more: Any) -> Verification:
    return Verifier(criteria(**more), clock=lambda: NOW).judge_bundle(
        data, ref="release.sigstore.json", blob=blob
    )


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519"])
@pytest.mark.parametrize("digest", [..., None])
def test_a_signature_over_the_file_is_verified(algorithm: str, digest: Any) -> None:
    key = public("kinds", algorithm)
    found = ask(message(by="kinds", algorithm=algorithm, digest=digest), keys=[key])
    assert found.verdict is Verdict.VERIFIED
    assert results(found) == {"evidence": "pass", "signature": "pass", "subject": "pass"}
    (one,) = found.attestations
    assert (one.used, one.statement, one.keyid) == (True, None, key.keyid)
    assert found.summary == (
        f"the signature over the file was verified, signed by {key.keyid}; it says nothing else"
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message(BLOB + b" "), {"key_unknown", "subject_mismatch"}),
        (message(by="stranger"), {"key_unknown"}),
        (message(BLOB + b" ", hint=public().keyid), {"signature_invalid", "subject_mismatch"}),
        (message(BLOB + b" ", digest=None), {"key_unknown"}),
        (
            message(digest={"algorithm": "SHA2_256", "digest": b64encode(bytes(32)).decode()}),
            {"subject_mismatch"},
        ),
        (
            message(digest={"algorithm": "SHA2_512", "digest": b64encode(bytes(32)).decode()}),
            {"subject_mismatch"},
        ),
        (message(digest={"algorithm": "SHA1", "digest": "AAAA"}), {"subject_mismatch"}),
    ],
)
def test_what_is_not_a_signature_over_the_file_by_a_given_key_is_failed(
    data: bytes, expected: set[str]
) -> None:
    found = ask(data)
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == expected
    assert not found.attestations[0].used


@pytest.mark.parametrize(
    "asked",
    [
        {"predicate_types": ["https://slsa.dev/provenance/v1"]},
        {"builder_id": "https://builder.example.com"},
        {"build_type": "https://type.example.com"},
        {"require_hermetic": True},
    ],
)
def test_a_bare_signature_satisfies_nothing_that_a_statement_would_have_to_say(asked: dict[str, Any]) -> None:
    found = ask(message(), **asked)
    assert found.verdict is not Verdict.VERIFIED
    assert "not_an_attestation" in {each.reason for each in found.skipped}


def test_a_message_signature_without_the_file_is_no_evidence() -> None:
    found = ask(message(), blob=None)
    assert found.verdict is Verdict.FAILED
    assert {each.reason for each in found.skipped} == {"not_an_attestation"}


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_statement_about_the_file_is_verified_by_any_digest_that_names_it(algorithm: str) -> None:
    named = {"name": "release.sh", "digest": {algorithm: hashlib.new(algorithm, BLOB).hexdigest()}}
    found = ask(bundle({**provenance(), "subject": [named]}))
    assert found.verdict is Verdict.VERIFIED
    assert results(found)["subject"] == "pass"


def test_a_statement_about_another_file_is_failed() -> None:
    found = ask(bundle({**provenance(), "subject": [subject("0" * 64)]}))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"subject_mismatch"}


def test_the_command_reads_the_file_and_refuses_what_cannot_be_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key, evidence, file = tmp_path / "k.pub", tmp_path / "release.sigstore.json", tmp_path / "release.sh"
    key.write_bytes(public().pem)
    evidence.write_bytes(message())
    file.write_bytes(BLOB)
    run = tmp_path / "run.json"
    run.write_text('{"kind":"TaskRun","apiVersion":"tekton.dev/v1","metadata":{"name":"a"}}')

    def verify(target: Path, *options: str) -> tuple[int, str]:
        code = run_command(["verify", str(target), "--key", str(key), *options])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    code, told = verify(evidence, "--blob", str(file))
    assert code == 0, told
    assert f"sha256:{SHA256}" in told
    file.write_bytes(BLOB + b"evil")
    assert verify(evidence, "--blob", str(file))[0] == 1
    for target, options, words in (
        (evidence, ("--blob", "missing"), "missing"),
        (evidence, ("--blob", str(file), "--digest", f"sha256:{SHA256}"), "pass --digest or --blob"),
        (
            run,
            ("--blob", str(file), "--store", "file:evidence"),
            "--blob names the file that a bundle is about",
        ),
    ):
        code, told = verify(target, *options)
        assert code == 2, told
        assert words in told
