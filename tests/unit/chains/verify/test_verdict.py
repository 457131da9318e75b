"""What a verification answers: exit codes, the worst of many, and every member of its JSON."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import pytest

from chains.statements.statement import SLSA_V1, STATEMENT_V1, Statement
from chains.text import excerpt, rfc3339
from chains.verify.reasons import Reason, Result
from chains.verify.signed_by import SignedBy
from chains.verify.verdict import (
    Attestation,
    Check,
    Left,
    Target,
    Verdict,
    Verification,
    from_worst,
    many_to_json,
    worst,
)
from tests.faults.verify.forge import criteria

Json = Any
VERIFIED, FAILED, NOT_FOUND, INDETERMINATE = (
    Verdict.VERIFIED, Verdict.FAILED, Verdict.NOT_FOUND, Verdict.INDETERMINATE,
)  # fmt: skip
LONG = "x" * 601
CUT = "x" * 600 + "… (601 characters)"
BY = criteria()
MOMENT = datetime(2026, 1, 2, 4, 4, 5, 999_999, tzinfo=timezone(timedelta(hours=1)))


def test_each_verdict_has_its_exit_code() -> None:
    assert {verdict: verdict.exit_code for verdict in Verdict} == {
        VERIFIED: 0,
        FAILED: 1,
        NOT_FOUND: 3,
        INDETERMINATE: 4,
    }


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], INDETERMINATE),
        ([VERIFIED], VERIFIED),
        ([VERIFIED, VERIFIED, NOT_FOUND], NOT_FOUND),
        ([VERIFIED, NOT_FOUND, INDETERMINATE], INDETERMINATE),
        ([VERIFIED, NOT_FOUND, INDETERMINATE, FAILED], FAILED),
        ([VERIFIED, FAILED], FAILED),
    ],
)
def test_the_worst_verdict_stands_for_all_in_whatever_order(
    verdicts: list[Verdict], expected: Verdict
) -> None:
    for order in permutations(verdicts):
        assert worst(order) is expected
        assert from_worst(iter(order)) == [
            one for one in (FAILED, INDETERMINATE, NOT_FOUND, VERIFIED) if one in verdicts
        ]


def verification(verdict: Verdict = VERIFIED, **more: Json) -> Verification:
    whole: Json = {
        "summary": "s",
        "verified_at": MOMENT,
        "target": Target("image"),
        "criteria": BY,
        "stores": ("oci:a", "oci:b"),
        "checks": (),
    }
    return Verification(verdict, **whole | more)


def test_one_verification_is_told_whole_and_several_under_the_worst() -> None:
    one, other = verification(), verification(NOT_FOUND)
    assert many_to_json([one]) == one.to_json()
    assert many_to_json([one, other]) == {
        "schema": "https://provenance.chains/verify-results/v1",
        "verdict": "NOT_FOUND",
        "exitCode": 3,
        "results": [one.to_json(), other.to_json()],
    }
    assert many_to_json([]) == {
        "schema": "https://provenance.chains/verify-results/v1",
        "verdict": "INDETERMINATE",
        "exitCode": 4,
        "results": [],
    }


def test_a_verification_has_the_same_members_for_every_verdict() -> None:
    check = Check("signature", Result.PASS)
    left = Left("at", "sha256:1", Reason.MATERIAL_INVALID, LONG)
    item = Attestation("store", "at", "sha256:1", "dsse")
    found = verification(
        FAILED, summary=LONG, target=Target("image", {"sha256": "1"}, "uid"), checks=(check,),
        attestations=(item,), skipped=(left,),
    )  # fmt: skip
    written = found.to_json()
    assert found.exit_code == 1
    assert written == {
        "schema": "https://provenance.chains/verify-result/v1",
        "verdict": "FAILED",
        "exitCode": 1,
        "summary": CUT,
        "verifiedAt": "2026-01-02T03:04:05Z",
        "subject": {"ref": "image", "digest": {"sha256": "1"}, "runUid": "uid"},
        "criteria": {**BY.to_json(), "stores": ["oci:a", "oci:b"]},
        "checks": [check.to_json()],
        "attestations": [item.to_json()],
        "skipped": [
            {
                "location": "at",
                "digest": {"sha256": "1"},
                "reason": Reason.MATERIAL_INVALID.value,
                "detail": CUT,
            },
        ],
    }
    assert json.loads(json.dumps(written)) == written
    for verdict in Verdict:
        assert replace(found, verdict=verdict).to_json().keys() == written.keys()


def test_a_target_without_a_run_has_no_uid() -> None:
    assert Target("image").to_json() == {"ref": "image", "digest": {}}
    assert Target("run", uid="u").to_json() == {"ref": "run", "digest": {}, "runUid": "u"}


def test_a_check_tells_what_it_is_about_only_where_it_is_about_something() -> None:
    plain = {"id": "signature", "result": "pass", "expected": "", "actual": "", "reason": None}
    assert Check("signature", Result.PASS).to_json() == plain
    long = Check("signature", Result.FAIL, LONG, "y" + LONG, Reason.KEY_UNKNOWN, "sha256:1")
    assert long.to_json() == {
        "id": "signature",
        "result": "fail",
        "expected": CUT,
        "actual": "y" + "x" * 599 + "… (602 characters)",
        "reason": "key_unknown",
        "attestation": {"sha256": "1"},
    }


STATEMENT = Statement(STATEMENT_V1, (), SLSA_V1, {})


class Signer(SignedBy):
    """Somebody whose rendering is known here."""

    def to_json(self) -> Json:
        return {"signer": "x"}

    def entries_to_json(self) -> Json:
        return [{"entry": 1}]

    def signature_to_json(self) -> Json:
        return {"certificate": "c"}

    def times_to_json(self) -> Json:
        return [{"type": "Tlog"}]


def test_what_nobody_of_the_criteria_signed_is_told_as_no_more_than_found() -> None:
    found = Attestation("store", "at", "sha256:1", "dsse", reason=Reason.KEY_UNKNOWN, detail=LONG)
    assert found.keyid == ""
    assert found.to_json() == {
        "source": "store",
        "location": "at",
        "digest": {"sha256": "1"},
        "format": "dsse",
        "predicateType": None,
        "used": False,
        "signer": None,
        "logEntries": [],
        "runUid": None,
        "reason": "key_unknown",
        "detail": CUT,
    }
    assert Attestation("store", "at", "odd", "dsse").to_json()["digest"] == {}
    assert Attestation("store", "at", "a:b:c", "dsse").to_json()["digest"] == {"a": "b:c"}


def test_the_statement_itself_is_told_only_of_what_is_used() -> None:
    signer = Signer(keyid="SHA256:x")
    unused = Attestation(
        "store", "at", "sha256:1", "dsse", signed_by=signer, statement=STATEMENT, payload=b'{"a":1}', run_uid="u"
    )  # fmt: skip
    assert unused.keyid == "SHA256:x"
    written = unused.to_json()
    assert "verificationResult" not in written
    assert {name: written[name] for name in ("used", "signer", "logEntries", "predicateType", "runUid")} == {
        "used": False,
        "signer": {"signer": "x"},
        "logEntries": [{"entry": 1}],
        "predicateType": SLSA_V1,
        "runUid": "u",
    }
    assert replace(unused, used=True).to_json() == {
        **written,
        "used": True,
        "verificationResult": {
            "mediaType": "application/vnd.dev.sigstore.verificationresult+json;version=0.1",
            "signature": {"certificate": "c"},
            "statement": {"a": 1},
            "verifiedTimestamps": [{"type": "Tlog"}],
        },
    }
    assert "verificationResult" not in Attestation("store", "at", "", "dsse", used=True).to_json()


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc… (4 characters)"),
        ("", 3, ""),
    ],
)
def test_a_long_text_is_cut_and_says_how_long_it_was(text: str, limit: int, cut: str) -> None:
    assert excerpt(text, limit) == cut
    assert excerpt("x" * 600) == "x" * 600
    assert excerpt(LONG) == CUT


def test_a_moment_is_told_in_utc_to_the_second_wherever_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert rfc3339(MOMENT) == "2026-01-02T03:04:05Z"
    time.tzset()
    assert rfc3339(MOMENT) == "2026-01-02T03:04:05Z"
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05Z"
