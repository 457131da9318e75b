"""From checks to the verdict, what follows from it, and the sentence that sums it up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chains.policy.consequence import consequence_of, decision_of, summary_of
from chains.policy.document.load import parse_policies
from chains.policy.document.patterns import ImagePattern
from chains.policy.document.policy import Exemption, Policy
from chains.policy.reasons import PolicyReason, Requirement
from chains.policy.verdict import Decision, PolicyCheck
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import NOW, form_b
from tests.unit.chains.policy.made import decided, document, report, tekton, trust

Json = Any
NOTHING = PolicyCheck("evidence", Result.ERROR, reason=PolicyReason.NO_EVIDENCE)
AWAY = PolicyCheck("evidence", Result.ERROR, reason=PolicyReason.STORE_UNAVAILABLE)
REFUSED = PolicyCheck("evidence", Result.ERROR, reason=Reason.UNREADABLE)


def policy(**spec: Json) -> Policy:
    (read,) = parse_policies(json.dumps(document(**spec)).encode(), "policy.json").policies
    return read


@pytest.mark.parametrize("missing", ["deny", "warn"])
@pytest.mark.parametrize("unavailable", ["deny", "warn"])
def test_what_is_away_and_what_is_missing_are_decided_apart(missing: str, unavailable: str) -> None:
    read = policy(missing=missing, unavailable=unavailable, mode="enforce")
    said = {"deny": Decision.DENY, "warn": Decision.WARN}

    def of(*checks: PolicyCheck) -> Decision:
        return decision_of(Verdict.INDETERMINATE, checks, read)

    assert of(AWAY) is said[unavailable]
    # while a store is away, nothing found is as lenient as the stricter of the two
    both = "warn" if missing == unavailable == "warn" else "deny"
    assert of(AWAY, NOTHING) is said[both]
    assert of(AWAY, REFUSED) is Decision.DENY
    assert decision_of(Verdict.NOT_FOUND, [NOTHING], read) is said[missing]


def test_a_verdict_of_which_nothing_else_is_known_is_undecided_because_something_is_away() -> None:
    read = policy(unavailable="warn", mode="enforce")
    assert consequence_of(Verdict.INDETERMINATE, read) is Decision.WARN
    assert consequence_of(Verdict.INDETERMINATE, read, is_away=False) is Decision.DENY


def test_the_sentence_of_a_verified_image_says_what_is_met_and_by_what() -> None:
    written = document(trust=[trust("tekton", level=2)], require={"outcome": "succeeded"})
    found = decided(written, form_b(tekton()), form_b(report()))
    assert found is not None
    met = sum(check.result is Result.PASS for check in found.strictest.checks)
    assert met > 1
    assert found.strictest.summary == f"{met} requirements met, trust entry tekton, level 2"


def test_the_sentence_says_each_requirement_once_from_which_an_image_is_exempt() -> None:
    exempt = Exemption(ImagePattern("*"), ("source", "level"), NOW, "legacy", "T-1")
    checks = [
        PolicyCheck("evidence", Result.PASS),
        PolicyCheck("level", Result.SKIP, exempted=exempt),
        PolicyCheck("source", Result.SKIP, exempted=exempt),
        PolicyCheck("level", Result.SKIP, exempted=exempt),
    ]
    assert summary_of(Verdict.VERIFIED, checks[:1], None) == "1 requirement met"
    assert summary_of(Verdict.VERIFIED, checks, None) == "1 requirement met; exempt: level, source"
    alone = [PolicyCheck(Requirement.EVIDENCE, Result.SKIP, exempted=exempt)]
    assert (
        summary_of(Verdict.NOT_FOUND, alone, None) == "no evidence was verified; the image is exempt from it"
    )
