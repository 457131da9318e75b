"""JSON and text of a verification: one shape for success and failure, and everything in it documented."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from chains.columns import columns_of
from chains.verify.conclude import _STEPS
from chains.verify.reasons import Reason, Result
from chains.verify.render import many_to_text, to_text
from chains.verify.verdict import SCHEMA, SCHEMA_MANY, Verdict, many_to_json, worst
from tests.faults.verify.forge import (
    BUILDER,
    DIGEST,
    HEX,
    IMAGE,
    OTHER,
    Broken,
    ask,
    criteria,
    form_a,
    form_b,
    image_signature,
    provenance,
    public,
    signer,
    subject,
)

Json = Any
DOCS = Path(__file__).parents[4] / "docs" / "verify.md"
TOP = ["schema", "verdict", "exitCode", "summary", "verifiedAt", "subject", "criteria", "checks", "attestations", "skipped"]  # fmt: skip
ANSWERS = {
    Verdict.VERIFIED: lambda: ask(form_b(provenance()), image_signature()),
    Verdict.FAILED: lambda: ask(form_a(provenance(subject(OTHER))), form_a(provenance(), signer("stranger"))),
    Verdict.NOT_FOUND: ask,
    Verdict.INDETERMINATE: lambda: ask(Broken()),
}


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_the_same_keys(verdict: Verdict) -> None:
    found = orjson.loads(orjson.dumps(ANSWERS[verdict]().to_json()))
    assert list(found) == TOP
    assert found["schema"] == SCHEMA
    assert found["verdict"] == verdict.value
    assert found["exitCode"] == {"VERIFIED": 0, "FAILED": 1, "NOT_FOUND": 3, "INDETERMINATE": 4}[verdict]
    assert found["verifiedAt"] == "2026-10-05T09:00:00Z"
    assert found["subject"] == {"ref": IMAGE, "digest": {"sha256": HEX}}
    assert found["criteria"]["signer"] == {
        "key": [{"keyid": public().keyid, "algorithm": "ecdsa-p256-sha256"}]
    }
    for check in found["checks"]:
        assert set(check) - {"attestation"} == {"id", "result", "expected", "actual", "reason"}
        assert check["result"] in {"pass", "fail", "skip", "error"}
        assert (check["reason"] is None) == (check["result"] == "pass")
    for each in found["attestations"]:
        assert set(each) - {"verificationResult"} == {
            "source", "location", "digest", "format", "predicateType", "used", "signer", "runUid", "reason",
            "detail", "logEntries",
        }  # fmt: skip
        assert ("verificationResult" in each) == each["used"]


def test_a_verified_statement_comes_in_the_keys_of_sigstore_go() -> None:
    (used, _) = ANSWERS[Verdict.VERIFIED]().to_json()["attestations"]
    assert used["verificationResult"] == {
        "mediaType": "application/vnd.dev.sigstore.verificationresult+json;version=0.1",
        "signature": {"publicKeyId": public().keyid},
        "statement": provenance(),
        "verifiedTimestamps": [],
    }
    assert used["signer"] == {"keyid": public().keyid}
    assert used["runUid"] == "uid-1"


def test_the_text_has_the_verdict_first_and_then_what_matters() -> None:
    found = ask(form_b(provenance()), form_b(provenance(), signer("stranger")))
    assert to_text(found).splitlines() == [
        f"VERIFIED {IMAGE}",
        "  1 attestation of https://slsa.dev/provenance/v1, signed by",
        f"    {public().keyid}",
        f"  digest {DIGEST}",
        "  passed          evidence, signature, payload-type, statement, subject,",
        "                  predicate-type",
        "  looked in       shelf:",
        "  used            https://slsa.dev/provenance/v1",
        "  not used        1 more item was found; --verbose tells of each",
    ]


@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_longer_than_80_columns(*, verbose: bool) -> None:
    wide = "\u4e16\u754c" * 60
    for answer in (*(each() for each in ANSWERS.values()), ask(by=criteria(builder_id=wide), reference=wide)):
        lines = to_text(answer, verbose=verbose).splitlines()
        assert max(map(columns_of, lines)) <= 80
        assert [line for line in lines if line.startswith(tuple(Verdict))] == lines[:1]


def test_everything_is_told_when_it_is_asked_for() -> None:
    text = to_text(ask(form_b(provenance()), by=criteria(builder_id=BUILDER)), verbose=True, width=200)
    lines = text.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [head.split()[0] for head in heads] == ["VERIFIED", "criteria", "checks", "attestations"]
    assert f"  signed by       {public().keyid} (ecdsa-p256-sha256)" in lines
    assert f"  digest {DIGEST}" in lines
    assert "  looked in       shelf:" in lines
    assert lines[0] == f"VERIFIED {IMAGE}"
    assert lines[1] == f"  1 attestation of https://slsa.dev/provenance/v1, signed by {public().keyid}"


def test_a_failure_is_told_with_what_was_expected_and_what_was_found() -> None:
    text = to_text(ANSWERS[Verdict.FAILED](), width=200)
    assert "  fail    subject: subject_mismatch\n" in text
    assert f"expected {DIGEST}\n" in text
    assert f"actual   sha256:{OTHER}\n" in text
    assert text.startswith(f"FAILED {IMAGE}\n  subject_mismatch: ")


def test_several_answers_are_one_object_with_the_worst_verdict() -> None:
    every = [answer() for answer in ANSWERS.values()]
    assert many_to_json(every[:1]) == every[0].to_json()
    found = many_to_json(every)
    assert (found["schema"], found["verdict"], found["exitCode"]) == (SCHEMA_MANY, "FAILED", 1)
    assert found["results"] == [each.to_json() for each in every]
    first = many_to_text(every).splitlines()[0]
    assert first == "FAILED 4 targets: 1 FAILED, 1 INDETERMINATE, 1 NOT_FOUND, 1 VERIFIED"
    assert many_to_text(every[:1]) == to_text(every[0])
    assert worst([each.verdict for each in every[1:3]]) is Verdict.FAILED
    assert many_to_json([])["exitCode"] == 4
    assert many_to_text([]) == "INDETERMINATE 0 targets: none"


def documented(heading: str) -> set[str]:
    """The codes in the first column of the table below a heading."""
    section = DOCS.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([A-Za-z0-9_-]+)`", section, re.MULTILINE))


def test_every_code_is_documented_and_none_that_is_not_there() -> None:
    assert documented("Verdicts") == {verdict.value for verdict in Verdict}
    assert documented("Reasons") == {reason.value for reason in Reason}
    assert documented("Results") == {result.value for result in Result}
    others = {
        "evidence", "store", "target", "image-signature", "provenance", "transparency-log", "timestamp",
        "hermetic", "namespace", "revocation-list", "files",
    }  # fmt: skip
    assert documented("Checks") == set(_STEPS) | others
