"""Whether verified provenance is of a run that is proven to have had no network: pure, from judged evidence.

What says so is the level of an execution report that a given key signed, about the run of the provenance. Two
statements about one artifact may be of two runs, so the same subject alone ties nothing together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chains.hermetic import ENFORCED
from chains.predicates.scai_execution import SCAI
from chains.reasons import Reason, Result
from chains.verdict import Check
from chains.verify_claims import hermetic_level, run_uid
from chains.verify_evidence import Examined

HERMETIC_CHECK = "hermetic"
_OF_PROVENANCE = frozenset({"predicate-type", "builder", "build-type"})
"""Checks that an execution report beside provenance is not asked to pass."""
_KEY_ENDED = frozenset({Reason.KEY_REVOKED, Reason.KEY_OUTSIDE_WINDOW})
_NO_REPORT = "no execution report by a given key"
_EXPECTED = f"an execution report of the same run with level {ENFORCED}"


@dataclass(frozen=True, slots=True)
class HermeticProof:
    """The check, the attestations that it leaves standing, and the reports that prove it."""

    check: Check
    used: list[Examined]
    reports: list[Examined]


def prove_hermetic(
    used: Sequence[Examined], examined: Sequence[Examined], matched: Sequence[Examined], *, is_whole: bool
) -> HermeticProof:
    """Return which of the ``used`` attestations an execution report proves to be of a hermetic run.

    ``matched`` are reports that were compared with the very run that was asked for, so that they need no UID
    to speak for it. ``is_whole`` is that every store answered: if not, the proof may lie where nobody looked.
    """
    if not used:
        actual = "nothing was verified that a report could speak for"
        return _proof(Result.SKIP, actual, Reason.NOT_COMPARED)
    reports = [each for each in examined if _is_report(each)]
    standing: list[Examined] = []
    proofs: list[Examined] = []
    found: list[str] = []
    for attestation in used:
        own = [each for each in reports if _is_of_same_run(each, attestation, matched)]
        enforced = [each for each in own if _level(each) == ENFORCED]
        if enforced:
            standing.append(attestation)
            proofs += enforced
        found += [f"level {_level(each) or 'missing'}" for each in own]
    if standing:
        check = Check(
            HERMETIC_CHECK, Result.PASS, _EXPECTED, f"level {ENFORCED}", attestation=proofs[0].digest
        )
        return HermeticProof(check, standing, proofs)
    if not is_whole:
        return _proof(Result.ERROR, "no such report, and not every store answered", Reason.STORE_UNAVAILABLE)
    actual = " and ".join(dict.fromkeys(found)) or _why_none(used, reports, examined)
    return _proof(Result.FAIL, actual, Reason.HERMETIC_NOT_PROVEN)


def _proof(result: Result, actual: str, reason: Reason) -> HermeticProof:
    return HermeticProof(Check(HERMETIC_CHECK, result, _EXPECTED, actual, reason), [], [])


def _is_report(each: Examined) -> bool:
    """Whether this is a report by a given key, about what was asked for."""
    if each.authentic is None or each.authentic.statement.predicate_type != SCAI:
        return False
    failed = {check.id for check in each.checks if check.result in {Result.FAIL, Result.ERROR}}
    return not failed - _OF_PROVENANCE


def _is_of_same_run(report: Examined, attestation: Examined, matched: Sequence[Examined]) -> bool:
    if report is attestation or any(report is one for one in matched):
        return True
    uid = _uid(report)
    return uid != "" and uid == _uid(attestation)


def _uid(each: Examined) -> str:
    return run_uid(each.authentic.statement) if each.authentic else ""


def _level(each: Examined) -> str:
    return hermetic_level(each.authentic.statement) if each.authentic else ""


def _why_none(used: Sequence[Examined], reports: Sequence[Examined], examined: Sequence[Examined]) -> str:
    if reports and not any(map(_uid, used)):
        return "the provenance tells no run (SLSA v0.2), so no report can be tied to it"
    if reports:
        return f"{len(reports)} of other runs"
    ended = (
        check.actual
        for each in examined
        if each.authentic is not None and each.authentic.statement.predicate_type == SCAI
        for check in each.checks
        if check.reason in _KEY_ENDED
    )
    return next((f"a report by a key that does not count: {why}" for why in ended), _NO_REPORT)
