"""From the checks of one answer to its verdict, its decision and the sentence that sums it up. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from chains.policy.accepted import SummaryCandidate
from chains.policy.candidate import Candidate
from chains.policy.document.format import Consequence, Mode
from chains.policy.document.policy import Policy
from chains.policy.reasons import PolicyReason, Requirement
from chains.policy.verdict import Decision, PolicyCheck
from chains.text import count
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Verdict

_AWAY = frozenset({PolicyReason.STORE_UNAVAILABLE, Reason.REVOCATION_LIST_UNUSABLE})
"""Reasons for which ``unavailable`` says what follows."""


def verdict_of(checks: Sequence[PolicyCheck]) -> Verdict:
    """Return the verdict. What is wrong counts more than what is undecided, and that more than an absence."""
    wrong = [check for check in checks if check.is_wrong]
    if not wrong:
        # an exemption lets an image pass without evidence; it never makes it a verified one
        return Verdict.NOT_FOUND if _is_exempt(checks) else Verdict.VERIFIED
    if any(check.result is Result.FAIL and check.reason is not PolicyReason.NO_EVIDENCE for check in wrong):
        return Verdict.FAILED
    if any(check.result is Result.ERROR for check in wrong):
        return Verdict.INDETERMINATE
    return Verdict.NOT_FOUND


def _is_exempt(checks: Sequence[PolicyCheck]) -> bool:
    return any(check.id == Requirement.EVIDENCE and check.exempted for check in checks) and not any(
        check.is_wrong for check in checks
    )


def decision_of(verdict: Verdict, checks: Sequence[PolicyCheck], policy: Policy) -> Decision:
    """Return what follows from a verdict with these checks."""
    if verdict is Verdict.VERIFIED or _is_exempt(checks):
        return Decision.ALLOW
    lenient = _AWAY | ({PolicyReason.NO_EVIDENCE} if policy.missing is Consequence.WARN else frozenset())
    is_away = all(check.reason in lenient for check in checks if check.is_wrong)
    return consequence_of(verdict, policy, is_away=is_away)


def consequence_of(verdict: Verdict, policy: Policy, *, is_away: bool = True) -> Decision:
    """Return what follows from a verdict that is not VERIFIED, for an image that is not exempt.

    ``is_away`` says that nothing but stores and lists that are away leaves it undecided. A store that refuses
    us, and a statement without a verified time, stay as they are however long one waits: ``unavailable`` is
    not about them.
    """
    if policy.mode is Mode.AUDIT:
        return Decision.ALLOW
    consequence = {
        Verdict.NOT_FOUND: policy.missing,
        Verdict.INDETERMINATE: policy.unavailable if is_away else Consequence.DENY,
    }.get(verdict)
    if policy.mode is Mode.WARN or consequence is Consequence.WARN:
        return Decision.WARN
    return Decision.DENY


def summary_of(
    verdict: Verdict, checks: Sequence[PolicyCheck], best: Candidate | SummaryCandidate | None
) -> str:
    """Return the sentence: what is met and by what, or the first that is not."""
    exempted = ", ".join(dict.fromkeys(check.id for check in checks if check.exempted))
    if _is_exempt(checks):
        return "no evidence was verified; the image is exempt from it"
    if verdict is Verdict.VERIFIED:
        met = count(sum(check.result is Result.PASS for check in checks), "requirement")
        kind = "trust entry" if isinstance(best, Candidate) else "summary accepted as"
        trust = f", {kind} {best.name}, level {best.level}" if best and best.name else ""
        return f"{met} met{trust}" + (f"; exempt: {exempted}" if exempted else "")
    first = next(check for check in checks if check.is_wrong)
    return f"{first.id}: expected {first.expected}, got {first.actual}"
