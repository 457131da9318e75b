"""A rule that is true because something is not there is undecided while something could not be asked."""

from __future__ import annotations

from typing import Any

import pytest

from chains.policy.rule_checks import may_change
from chains.policy.verdict import Decision
from chains.verify.verdict import Verdict
from storage.errors import StoreRejected, StoreUnavailable
from storage.record import SkipKind, Skipped
from tests.faults.verify.forge import Broken, Shelf, form_b
from tests.unit.chains.policy.made import document, report, tekton, verdict, wrong

Json = Any
ANSWERED = "attestations.exists(a, a.predicateType == 'https://slsa.dev/provenance/v1')"
STAYS_TRUE = [
    "provenance.subject.size() > 0",
    "image.repository != 'attestations'" + " && " + ANSWERED,
    ANSWERED,
    f"({ANSWERED})",
    f"{ANSWERED} && {ANSWERED}",
    f"({ANSWERED} || now > now) && (signer.keyid != '' && ({ANSWERED}))",
    "attestations . exists ( a , !(a.runUid == '') ) // attestations.all(a, false)",
    "signer.keyid != '' ? true : false",
]
COULD_CHANGE = [
    "attestations.all(a, a.signer.keyid != '')",
    "attestations.size() == 1",
    "size(attestations) < 3",
    "attestations.exists_one(a, a.runUid == 'uid-1')",
    "!attestations.exists(a, a.runUid == 'uid-2')",
    "attestations.exists(a, a.runUid == 'uid-2') == false",
    "attestations.exists(a, a.runUid == 'uid-2') ? false : true",
    f"{ANSWERED} && true ? true : false",
    "attestations.exists(a, attestations.all(b, b.runUid == a.runUid))",
    "attestations.filter(a, a.runUid != 'uid-1').size() == 0",
    "[attestations.exists(a, a.runUid == 'uid-2')] == [false]",
    "{'a': attestations}.a.size() == 1",
    "attestations[0].runUid == 'uid-1'",
    "cel.bind(all, attestations, all.all(a, a.runUid != ''))",
    f"r'\\d' != '' && {ANSWERED}",  # what looks like a raw text is not taken apart
    f"{ANSWERED} && attestations.all(a, a.runUid != '')",
    f"({ANSWERED}) == true",
]


@pytest.mark.parametrize("cel", STAYS_TRUE)
def test_a_rule_that_asks_for_a_statement_stays_true(cel: str) -> None:
    assert not may_change(cel, has_report=True)
    policy = document(rules=[{"name": "r", "cel": cel, "message": "no"}])
    assert wrong(verdict(policy, form_b(tekton()), Broken())) == {}


@pytest.mark.parametrize("cel", COULD_CHANGE)
def test_a_rule_that_more_statements_could_change_is_undecided_while_a_store_is_away(cel: str) -> None:
    assert may_change(cel, has_report=True)
    rules = [{"name": "r", "cel": cel, "message": "no"}]
    built = form_b(tekton())
    assert wrong(verdict(document(rules=rules), built)) == {}
    for unavailable, decision in (("deny", Decision.DENY), ("warn", Decision.WARN)):
        found = verdict(document(rules=rules, unavailable=unavailable), built, Broken())
        assert (found.verdict, found.decision) == (Verdict.INDETERMINATE, decision)
        assert wrong(found) == {"r": "store_unavailable"}
    refused = verdict(document(rules=rules, unavailable="warn"), built, Broken(StoreRejected("403")))
    assert (refused.decision, wrong(refused)) == (Decision.DENY, {"r": "store_rejected"})


def test_what_could_not_be_read_leaves_such_a_rule_undecided_whatever_unavailable_says() -> None:
    left = Skipped("oci:x", "", "more than 64 bytes of evidence", SkipKind.UNREADABLE)
    store = Shelf(form_b(tekton()), skipped=(left,))
    for cel, expected in ((COULD_CHANGE[0], {"r": "evidence_undecided"}), (ANSWERED, {})):
        rules = [{"name": "r", "cel": cel, "message": "no"}]
        found = verdict(document(rules=rules, unavailable="warn"), store)
        assert wrong(found) == expected
        assert found.decision is (Decision.DENY if expected else Decision.ALLOW)


def test_a_rule_about_a_report_that_is_not_there_is_undecided_while_a_store_is_away() -> None:
    rules = [{"name": "r", "cel": "!report.exists || report.hermetic == 'enforced'", "message": "no"}]
    policy, built = document(rules=rules), form_b(tekton())
    assert wrong(verdict(policy, built)) == {}
    assert wrong(verdict(policy, built, Broken())) == {"r": "store_unavailable"}
    # the report's store may come first or last
    for stores in ((Shelf(built), Broken()), (Broken(), Shelf(built))):
        assert wrong(verdict(policy, *stores)) == {"r": "store_unavailable"}
    assert wrong(verdict(policy, built, form_b(report()), Broken())) == {}
    assert wrong(verdict(policy, built, form_b(report(level="open")))) == {"r": "rule_failed"}


def test_a_rule_that_is_false_or_in_error_fails_whatever_is_away() -> None:
    for cel, reason in (
        ("attestations.all(a, a.runUid == '')", "rule_failed"),
        ("attestations[7].runUid == ''", "rule_error"),
    ):
        policy = document(rules=[{"name": "r", "cel": cel, "message": "no"}], unavailable="warn")
        found = verdict(policy, form_b(tekton()), Broken(StoreUnavailable("503")))
        assert (found.verdict, found.decision) == (Verdict.FAILED, Decision.DENY)
        assert wrong(found) == {"r": reason}
