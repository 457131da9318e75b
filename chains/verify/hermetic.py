"""Whether verified provenance is of the wanted run, and whether that run had no network. Pure.

The proof is an execution report about the run of the provenance, by the same signer. Two statements about one
artifact may be of two runs, so an equal subject does not connect them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chains.isolation.finding import Level
from chains.statements.claims import hermetic_level, run_namespace
from chains.statements.statement import SCAI
from chains.verify.criteria import Criteria
from chains.verify.evidence import OF_PROVENANCE, Examined
from chains.verify.reasons import WRONG, Reason, Result
from chains.verify.verdict import Check

HERMETIC_CHECK, NAMESPACE_CHECK = "hermetic", "namespace"
_ENDED: dict[Reason | None, str] = {
    **dict.fromkeys((Reason.KEY_REVOKED, Reason.KEY_OUTSIDE_WINDOW), "by a key that does not count"),
    Reason.REVOKED: "that does not count",
}
_NO_REPORT = "no execution report by a given key"
_EXPECTED = f"an execution report of the same run with level {Level.ENFORCED}"


@dataclass(frozen=True, slots=True)
class RunProof:
    """The checks, the attestations that remain, and the reports that prove them."""

    checks: list[Check]
    used: list[Examined]
    reports: list[Examined]


def prove_run(
    used: Sequence[Examined],
    examined: Sequence[Examined],
    matched: Sequence[Examined],
    criteria: Criteria,
    *,
    is_whole: bool,
) -> RunProof:
    """Return the ``used`` attestations for which an execution report proves what is demanded of the run.

    That is its namespace, hermetic execution, or both. One report has to prove all of it: of the run that the
    provenance names, about the same artifact, by the same signer. ``matched`` are reports that were compared
    with the wanted run itself, so they need no UID. ``is_whole`` says that every store answered: otherwise
    the proof may be in a store that did not.
    """
    if not used:
        skipped = "nothing was verified that a report could speak for"
        names = [(NAMESPACE_CHECK, criteria.namespace), (HERMETIC_CHECK, criteria.require_hermetic)]
        checks = [
            Check(name, Result.SKIP, _expected(name, criteria), skipped, Reason.NOT_COMPARED)
            for name, asked in names
            if asked
        ]
        return RunProof(checks, [], [])
    reports = [each for each in examined if _is_report(each)]
    pairs = [(one, [each for each in reports if _speaks_for(each, one, matched)]) for one in used]
    checks = []
    if criteria.namespace is not None:
        why = _why_none(used, reports, examined)
        check, pairs = _in_namespace(pairs, why, criteria, is_whole=is_whole)
        checks.append(check)
    if not criteria.require_hermetic:
        return RunProof(checks, [one for one, _ in pairs], [each for _, own in pairs for each in own])
    if not pairs:
        actual = "no report of the namespace asked for"
        checks.append(Check(HERMETIC_CHECK, Result.SKIP, _EXPECTED, actual, Reason.NOT_COMPARED))
        return RunProof(checks, [], [])
    proven = [(one, [each for each in own if _level(each) == Level.ENFORCED]) for one, own in pairs]
    proofs = [each for _, own in proven for each in own]
    if proofs:
        actual = f"level {Level.ENFORCED}"
        checks.append(Check(HERMETIC_CHECK, Result.PASS, _EXPECTED, actual, attestation=proofs[0].digest))
        return RunProof(checks, [one for one, own in proven if own], proofs)
    found = [f"level {_level(each) or 'missing'}" for _, own in pairs for each in own]
    actual = " and ".join(dict.fromkeys(found)) or _why_none(used, reports, examined)
    checks.append(_missing(HERMETIC_CHECK, _EXPECTED, actual, Reason.HERMETIC_NOT_PROVEN, is_whole=is_whole))
    return RunProof(checks, [], [])


_Pairs = list[tuple[Examined, list[Examined]]]


def _in_namespace(
    pairs: _Pairs, why_none: str, criteria: Criteria, *, is_whole: bool
) -> tuple[Check, _Pairs]:
    """Keep the attestations whose reports are of the namespace.

    Provenance without a run (SLSA v0.2) has no report. It is kept, with a skipped check, unless hermetic
    execution is demanded too.
    """
    wanted = _expected(NAMESPACE_CHECK, criteria)
    kept = [(one, [each for each in own if _namespace(each) == criteria.namespace]) for one, own in pairs]
    kept = [(one, own) for one, own in kept if own]
    if kept:
        digest = kept[0][1][0].digest
        return Check(NAMESPACE_CHECK, Result.PASS, wanted, wanted, attestation=digest), kept
    told = [_namespace(each) or "no namespace" for _, own in pairs for each in own]
    untold = [(one, own) for one, own in pairs if not own and not one.run_uid]
    if untold and not told and not criteria.require_hermetic:
        actual = "the provenance tells no run (SLSA v0.2), so no report can be tied to it"
        return Check(NAMESPACE_CHECK, Result.SKIP, wanted, actual, Reason.NOT_COMPARED), untold
    actual = " and ".join(dict.fromkeys(told)) or why_none
    return _missing(NAMESPACE_CHECK, wanted, actual, Reason.NAMESPACE_MISMATCH, is_whole=is_whole), []


def _missing(name: str, expected: str, actual: str, reason: Reason, *, is_whole: bool) -> Check:
    if is_whole:
        return Check(name, Result.FAIL, expected, actual, reason)
    actual = "no such report, and not every store answered"
    return Check(name, Result.ERROR, expected, actual, Reason.STORE_UNAVAILABLE)


def _expected(name: str, criteria: Criteria) -> str:
    return f"a run in namespace {criteria.namespace}" if name == NAMESPACE_CHECK else _EXPECTED


def _is_report(each: Examined) -> bool:
    """Whether this is a report by somebody trusted, about what is wanted."""
    if each.authentic is None or each.authentic.statement.predicate_type != SCAI:
        return False
    failed = {check.id for check in each.checks if check.result in WRONG}
    return not failed - OF_PROVENANCE


def _speaks_for(report: Examined, attestation: Examined, matched: Sequence[Examined]) -> bool:
    """Whether a report is of the run of an attestation, and by the same signer."""
    if report is attestation:
        return True
    if report.signed_by is None or attestation.signed_by is None:
        return False
    if report.signed_by.name != attestation.signed_by.name:
        return False
    if any(report is one for one in matched):
        return True
    uid = report.run_uid
    return uid != "" and uid == attestation.run_uid


def _namespace(each: Examined) -> str:
    return run_namespace(each.authentic.statement) if each.authentic else ""


def _level(each: Examined) -> str:
    return hermetic_level(each.authentic.statement) if each.authentic else ""


def _why_none(used: Sequence[Examined], reports: Sequence[Examined], examined: Sequence[Examined]) -> str:
    if reports and not any(each.run_uid for each in used):
        return "the provenance tells no run (SLSA v0.2), so no report can be tied to it"
    if any(each.run_uid == one.run_uid != "" for each in reports for one in used):
        return "a report by another signer than the provenance's"
    if reports:
        return f"{len(reports)} of other runs"
    ended = (
        check
        for each in examined
        if each.authentic is not None and each.authentic.statement.predicate_type == SCAI
        for check in each.checks
        if check.reason in _ENDED
    )
    return next((f"a report {_ENDED[check.reason]}: {check.actual}" for check in ended), _NO_REPORT)
