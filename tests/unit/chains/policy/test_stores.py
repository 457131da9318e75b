"""Stores that are away, refuse, or share a URL: what a policy can still say, and what it must not."""

from __future__ import annotations

from typing import Any

import pytest

from chains.policy.verdict import Decision
from chains.verify.verdict import Verdict
from signers.errors import VerificationError
from storage.errors import BadContent, StoreError, StoreRejected, StoreUnavailable, SubjectAbsent
from tests.faults.verify.forge import Broken, Shelf, form_a, form_b
from tests.unit.chains.policy.made import document, report, tekton, verdict, wrong
from tests.unit.chains.policy.summaries import trusted_root

Json = Any
EVERY = document(require={"everyStore": True})


def test_two_stores_with_one_url_are_two_stores() -> None:
    one, two = Shelf(form_b(tekton()), url="s:"), Shelf(url="s:")
    for order in ((one, two), (two, one)):
        assert wrong(verdict(EVERY, *order)) == {"everyStore": "store_without_evidence"}
    assert wrong(verdict(EVERY, one, Shelf(form_a(tekton()), url="s:"))) == {}


def test_a_store_that_answered_without_the_provenance_is_no_matter_of_another_that_is_away() -> None:
    one, away = Shelf(form_b(tekton()), url="a:"), Broken(url="b:")
    undecided = verdict(EVERY, one, away)
    assert (undecided.verdict, wrong(undecided)) == (
        Verdict.INDETERMINATE,
        {"everyStore": "store_unavailable"},
    )
    found = verdict(EVERY, one, away, Shelf(url="c:"))
    assert (found.verdict, wrong(found)) == (Verdict.FAILED, {"everyStore": "store_without_evidence"})
    (check,) = [check for check in found.checks if check.id == "everyStore"]
    assert check.actual == "not in c:"


@pytest.mark.parametrize(
    "error",
    [
        StoreRejected("401: no credentials"),
        BadContent("no JSON"),
        SubjectAbsent("no such image"),
        KeyError("x"),
    ],
)
def test_a_store_that_refuses_is_not_unavailable(error: Exception) -> None:
    lenient = document(unavailable="warn", require={"hermetic": "enforced"})
    for held in ((Broken(error),), (Shelf(form_b(tekton())), Broken(error))):
        found = verdict(lenient, *held)
        assert (found.verdict, found.decision, found.exit_code) == (Verdict.INDETERMINATE, Decision.DENY, 4)
        assert set(wrong(found).values()) == {"store_rejected"}


@pytest.mark.parametrize("error", [StoreUnavailable("503"), StoreUnavailable("no route to host")])
def test_a_store_that_is_away_is_unavailable(error: StoreError) -> None:
    lenient = document(unavailable="warn")
    found = verdict(lenient, Broken(error))
    assert (found.verdict, found.decision) == (Verdict.INDETERMINATE, Decision.WARN)
    assert wrong(found) == {"evidence": "store_unavailable"}
    both = verdict(lenient, Broken(error), Broken(StoreRejected("403"), url="other:"))
    assert (both.verdict, both.decision) == (Verdict.INDETERMINATE, Decision.DENY)


def test_a_store_that_refuses_hides_no_good_evidence() -> None:
    assert verdict(document(), Shelf(form_b(tekton())), Broken(StoreRejected("403"))).verdict is (
        Verdict.VERIFIED
    )


def test_evidence_that_cannot_be_judged_is_not_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Json:
        raise VerificationError("a bug")

    monkeypatch.setattr("chains.verify.examining.every.examine", broken)
    found = verdict(document(unavailable="warn"), form_b(tekton()))
    assert (found.verdict, found.decision) == (Verdict.INDETERMINATE, Decision.DENY)
    assert wrong(found) == {"evidence": "evidence_undecided"}


def test_a_statement_without_a_verified_time_is_not_unavailable() -> None:
    root = trusted_root()
    lenient = document(require={"maxAge": "30d"}, trustedRoot=root, unavailable="warn")
    found = verdict(lenient, form_b(tekton()))
    assert (found.verdict, found.decision) == (Verdict.INDETERMINATE, Decision.DENY)
    assert wrong(found) == {"maxAge": "no_verified_time"}
    away = verdict(lenient, form_b(tekton()), Broken())
    assert (away.verdict, away.decision) == (Verdict.INDETERMINATE, Decision.WARN)
    assert wrong(away) == {"maxAge": "store_unavailable"}


def test_a_report_that_is_withheld_hides_no_step_image() -> None:
    own = {"uri": "oci://registry.example.com/mirror/git", "digest": {"sha256": "a" * 64}}
    policy = document(require={"stepImages": {"repositories": ["registry.example.com/mirror/**"]}})
    loose = [{"attribute": "IMAGE_WITHOUT_DIGEST", "target": {"name": "step/x"}}]
    built = form_b(tekton(dependencies=[own]))
    assert wrong(verdict(policy, built, form_b(report()))) == {}
    told = verdict(policy, built, form_b(report(attributes=loose)))
    assert wrong(told) == {"stepImages": "step_image_not_allowed"}
    assert wrong(verdict(policy, built)) == {"stepImages": "no_execution_report"}
    assert wrong(verdict(policy, built, form_b(report(uid="uid-2")))) == {"stepImages": "no_execution_report"}
