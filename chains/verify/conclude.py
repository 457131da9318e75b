"""From judged evidence to one verdict: which evidence counts, and which finding decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from chains.statements.claims import run_uid
from chains.statements.statement import SCAI
from chains.text import count
from chains.verify.criteria import Criteria
from chains.verify.evidence import OF_PROVENANCE, Examined, examine
from chains.verify.hermetic import NAMESPACE_CHECK, prove_run
from chains.verify.key_window import KEY_WINDOW, judge_window
from chains.verify.reasons import REVOCATION, Reason, Result
from chains.verify.runs.run import MATCH_CHECK, REPORT_CHECK, SIDECAR_CHECK, UID_CHECK, RunWanted
from chains.verify.search import Search
from chains.verify.subject import DigestWanted, NothingWanted, Wanted
from chains.verify.verdict import NOT_VERIFIED, Attestation, Check, Left, Target, Verdict, Verification, worst
from storage.record import Evidence

if TYPE_CHECKING:
    from chains.revocation.revocations import Revocations

_STEPS = (
    "digest", "format", "verification-material", "certificate", "identity", "issuer", "signature",
    "timestamp", "transparency-log", "payload-type", "statement", "subject", UID_CHECK,
    SIDECAR_CHECK, MATCH_CHECK, REPORT_CHECK, "predicate-type", "builder", "build-type", "task-ref",
    "pipeline-ref", "source", "key-hint",
    KEY_WINDOW, REVOCATION,
)  # fmt: skip
"""The checks of one attestation in their order. If none passed, the one that got furthest is shown."""
_LEFT = frozenset(
    {Reason.UNREADABLE, Reason.DIGEST_MISMATCH, Reason.NOT_AN_ATTESTATION, Reason.KEYLESS_UNSUPPORTED}
)
"""Reasons for which something found is listed as skipped, and not as an attestation."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question with everything that its answer needs; ``is_alone`` if it is about one file.

    ``revocations`` are what no longer counts, None without any list.
    """

    target: Target
    wanted: Wanted
    criteria: Criteria
    stores: tuple[str, ...]
    now: datetime
    found: Search
    is_alone: bool = False
    revocations: Revocations | None = None


@dataclass(slots=True)
class _Weighed:
    """Evidence by its role.

    ``used`` are the attestations that passed every check. ``matched`` are the execution reports of the run's
    own snapshot, ``alone`` those of them that stand for a run without provenance. ``other_checks`` are about
    no single attestation.
    """

    attestations: list[Examined] = field(default_factory=list)
    reports: list[Examined] = field(default_factory=list)
    signatures: list[Examined] = field(default_factory=list)
    used: list[Examined] = field(default_factory=list)
    matched: list[Examined] = field(default_factory=list)
    alone: list[Examined] = field(default_factory=list)
    other_checks: list[Check] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many attestations of any kind were found, usable or not."""
        return len(self.attestations) + len(self.reports)


def undecided(
    target: Target, check: Check, criteria: Criteria, stores: tuple[str, ...], now: datetime
) -> Verification:
    """Return INDETERMINATE for a target for which no evidence could be searched, as ``check`` says."""
    return Verification(Verdict.INDETERMINATE, check.actual, now, target, criteria, stores, (check,))


def conclude(case: Case) -> Verification:
    """Judge all evidence of a case and return one verdict (step 10 of the verification).

    Never raises because of evidence. The first rule that applies decides:

    a. FAILED: something names a given key that did not sign it, or a given key signed an execution report of
       this very run with another snapshot (of any run, if the provenance names none). This is tampering,
       whatever else was found.
    b. VERIFIED: one attestation passed every check. Foreign and unusable attestations are listed too.
       If hermetic execution is demanded, a report must prove it for the same run; otherwise FAILED.
    c. INDETERMINATE: a store did not answer, and may have the right evidence.
    d. NOT_FOUND: there is no attestation, and nothing unreadable that may be one.
    e. FAILED: every attestation is unusable.

    With revocation lists, a revoked artifact is FAILED, too, and revoked evidence is unusable. If a list
    cannot be used, what would be VERIFIED or NOT_FOUND is INDETERMINATE. No verdict gets better because of
    a list.
    """
    if case.revocations is None or not case.revocations.is_configured:
        return _conclude(replace(case, revocations=None) if case.revocations else case)
    from chains.verify.revoked import list_check, with_list_check  # noqa: PLC0415 - needed with a list alone

    check = list_check(case.revocations, case.now)
    plain = replace(case, revocations=None)
    if check.result is Result.ERROR:
        return with_list_check(_conclude(plain), check)
    found = _conclude(case)
    if any(one.is_revoked for one in found.attestations):
        # evidence that was taken away may have contradicted the rest
        before = _conclude(plain)
        found = found if worst((found.verdict, before.verdict)) is found.verdict else before
    return with_list_check(found, check)


def _conclude(case: Case) -> Verification:
    examined = _examine_all(case)
    if _learns(examined, case.wanted):
        examined = _examine_all(case)
    weighed = _weigh(examined, case)
    if case.criteria.require_hermetic or case.criteria.namespace is not None:
        _demand_run(weighed, examined, case)
    shown = weighed.used[0] if weighed.used else _furthest(weighed.attestations or weighed.reports)
    broken = [each for each in examined if _is_broken(each)]
    checks = [*case.found.errors, _evidence_check(weighed, case)]
    if shown is not None:
        checks += _own_checks(shown, weighed)
    for each in examined:
        if each is not shown and (each.is_tampered or _is_broken(each)):
            checks += [replace(check, attestation=each.digest) for check in each.checks]
    checks += weighed.other_checks
    # step 10: the verdict
    is_wrong = any(each.is_tampered for each in examined) or any(
        check.result is Result.FAIL for check in weighed.other_checks
    )
    if is_wrong:
        verdict = Verdict.FAILED
    elif weighed.used:
        verdict = Verdict.VERIFIED
    elif case.found.errors or broken:
        verdict = Verdict.INDETERMINATE
    else:
        verdict = Verdict.FAILED if weighed.count or _unreadable(case) else Verdict.NOT_FOUND
    attestations, skipped = _list(examined, weighed, is_verified=verdict is Verdict.VERIFIED)
    return Verification(
        verdict,
        _summary(verdict, checks, weighed, case),
        case.now,
        case.target,
        case.criteria,
        case.stores,
        tuple(dict.fromkeys(checks)),
        attestations,
        (*skipped, *case.found.skipped),
    )


def _examine_all(case: Case) -> list[Examined]:
    """Judge each piece of evidence once, even if several places have it, such as several images of a run."""
    known: dict[tuple[object, ...], Examined] = {}
    examined = []
    for evidence in case.found.evidence:
        annotations = frozenset(evidence.annotations.items())
        key = (evidence.data, evidence.digest, evidence.format, evidence.signature, annotations)
        found = known.get(key)
        if found is None:
            found = known[key] = _examine(evidence, case)
        examined.append(found if found.evidence is evidence else replace(found, evidence=evidence))
    return examined


def _examine(evidence: Evidence, case: Case) -> Examined:
    try:
        examined = examine(
            evidence,
            case.criteria,
            case.wanted,
            now=case.now,
            is_alone=case.is_alone,
            readings=case.found.readings,
        )
        examined = judge_window(examined, case.criteria, case.now)
        if case.revocations is not None:
            from chains.verify.revoked import judge_revocation  # noqa: PLC0415 - needed with a list alone

            examined = judge_revocation(examined, case.revocations, case.wanted)
        return examined  # noqa: TRY300
    except Exception as error:  # noqa: BLE001 - one piece of evidence must never hide the others
        actual = f"{evidence.location}: unexpected {type(error).__name__}; please report it"
        check = Check("evidence", Result.ERROR, "evidence that can be judged", actual, Reason.INTERNAL_ERROR)
        return Examined(evidence, evidence.digest, (check,))


def _learns(examined: Sequence[Examined], wanted: Wanted) -> bool:
    """Whether reports of the run name replaced sidecars, so that all evidence has to be judged again."""
    reports = [each for each in examined if _type(each) == SCAI and not _failures(each) - OF_PROVENANCE]
    if not isinstance(wanted, RunWanted):
        return False
    news = [wanted.learn(each.authentic.statement) for each in reports if each.authentic]
    return any(news)


def _is_broken(each: Examined) -> bool:
    """Whether evidence could not be judged, because of a bug of ours or of clocks that disagree."""
    return any(check.result is Result.ERROR for check in each.checks)


def _weigh(examined: Sequence[Examined], case: Case) -> _Weighed:
    weighed = _Weighed()
    other_type = SCAI if SCAI not in case.criteria.wanted_types else ""
    for each in examined:
        if each.is_image_signature:
            weighed.signatures.append(each)
        elif isinstance(case.wanted, RunWanted) and _type(each) == other_type:
            weighed.reports.append(each)
        else:
            weighed.attestations.append(each)
    weighed.used = [
        each for each in weighed.attestations if each.is_usable and (each.authentic or each.is_message)
    ]
    if isinstance(case.wanted, RunWanted) and other_type:
        _weigh_reports(weighed, case.wanted, case.criteria)
    if weighed.signatures:
        weighed.other_checks.append(_image_signature_check(weighed.signatures))
    if case.revocations is not None:
        from chains.verify.revoked import target_checks  # noqa: PLC0415 - needed with a list alone

        weighed.other_checks += target_checks(_artifacts(case), case.revocations)
    return weighed


def _artifacts(case: Case) -> list[Mapping[str, str]]:
    """Return the digests of what is asked about: an artifact's, or those of the artifacts of a run."""
    if isinstance(case.wanted, RunWanted):
        return [subject.digest or {} for subject in case.wanted.subjects]
    return [case.wanted.digest] if isinstance(case.wanted, DigestWanted) else []


def _type(each: Examined) -> str:
    if each.is_message:
        return "a signature over the file"
    return each.authentic.statement.predicate_type if each.authentic else "(unverified)"


def _weigh_reports(weighed: _Weighed, wanted: RunWanted, criteria: Criteria) -> None:
    """Compare the run's snapshot with its reports. A report can stand alone for a run without artifacts."""
    matched = weighed.matched = [each for each in weighed.reports if not _failures(each) - OF_PROVENANCE]
    # a statement without a run also fits a copy of the run under another name; only a report shows which
    is_identified = not weighed.used or any(_passed(each, UID_CHECK) for each in weighed.used)
    contradicting = [
        each
        for each in weighed.reports
        if REPORT_CHECK in _failures(each) and (wanted.is_uid(_uid(each)) or not is_identified)
    ]
    told = (matched or contradicting)[:1]
    if told:
        check = next(check for check in told[0].checks if check.id == REPORT_CHECK)
        weighed.other_checks.append(replace(check, attestation=told[0].digest))
    else:
        actual = f"{count(len(weighed.reports), 'report')} of other runs" if weighed.reports else "none found"
        expected = f"an execution report of snapshot sha256:{wanted.run.digest}"
        weighed.other_checks.append(
            Check(REPORT_CHECK, Result.SKIP, expected, actual, Reason.NO_EXECUTION_REPORT)
        )
    asks_for_provenance = any((
        criteria.predicate_types, criteria.builder_id, criteria.build_type,
        criteria.task_ref, criteria.pipeline_ref, criteria.source,
    ))  # fmt: skip
    contradicted = any(MATCH_CHECK in _failures(each) for each in weighed.attestations)
    if matched and not (weighed.used or wanted.subjects or asks_for_provenance or contradicted):
        actual = (
            "no provenance found; the execution report alone vouches for this run, which made no artifacts"
        )
        weighed.used = weighed.alone = matched
        weighed.other_checks.append(
            Check("provenance", Result.SKIP, "provenance of the run", actual, Reason.NO_PROVENANCE)
        )


def _demand_run(weighed: _Weighed, examined: Sequence[Examined], case: Case) -> None:
    proof = prove_run(weighed.used, examined, weighed.matched, case.criteria, is_whole=not case.found.errors)
    weighed.used = proof.used
    weighed.matched += proof.reports
    weighed.other_checks += proof.checks


def _uid(each: Examined) -> str:
    return run_uid(each.authentic.statement) if each.authentic else ""


def _passed(each: Examined, check_id: str) -> bool:
    return any(check.id == check_id and check.result is Result.PASS for check in each.checks)


def _failures(each: Examined) -> set[str]:
    return {check.id for check in each.checks if check.result in {Result.FAIL, Result.ERROR}}


def _image_signature_check(signatures: Sequence[Examined]) -> Check:
    """Return whether a trusted key signed the image. It is information, never a reason for VERIFIED."""
    expected = "an image signature by a given key"
    good = [each for each in signatures if each.is_usable]
    if good:
        actual = f"{len(good)} of {len(signatures)} verified"
        return Check("image-signature", Result.PASS, expected, actual, attestation=good[0].digest)
    best = _furthest(signatures)
    failed = best.failed if best else None
    actual = f"none of {len(signatures)} counts: {failed.actual if failed else ''}"
    return Check("image-signature", Result.SKIP, expected, actual, failed.reason if failed else None)


def _furthest(examined: Sequence[Examined]) -> Examined | None:
    return max(examined, key=_progress, default=None)


def _progress(each: Examined) -> int:
    failed = each.failed
    if failed is None:
        return len(_STEPS)
    return _STEPS.index(failed.id) if failed.id in _STEPS else -1


def _own_checks(shown: Examined, weighed: _Weighed) -> list[Check]:
    """Return the checks of the attestation that is shown. A report that stands alone has fewer."""
    left_out = OF_PROVENANCE | {REPORT_CHECK} if shown in weighed.alone else ()
    return [replace(check, attestation=shown.digest) for check in shown.checks if check.id not in left_out]


def _evidence_check(weighed: _Weighed, case: Case) -> Check:
    expected = f"an attestation about {case.target.ref}"
    actual = (
        f"{count(weighed.count, 'attestation')}, {count(len(weighed.signatures), 'image signature')}, "
        f"{count(len(case.found.skipped), 'other item')}"
    )
    if weighed.count:
        return Check("evidence", Result.PASS, expected, actual)
    if case.found.errors:
        actual += ", and not every store answered"
        return Check("evidence", Result.ERROR, expected, actual, Reason.STORE_UNAVAILABLE)
    broken = _unreadable(case)
    if broken:
        actual += f", of which {len(broken)} cannot be read: {broken[0].detail}"
        return Check("evidence", Result.FAIL, expected, actual, Reason.UNREADABLE)
    return Check("evidence", Result.FAIL, expected, actual, Reason.NO_ATTESTATION)


def _unreadable(case: Case) -> list[Left]:
    """Return what a store found and could not read: it may be evidence."""
    return [item for item in case.found.skipped if item.reason is Reason.UNREADABLE]


def _list(
    examined: Sequence[Examined], weighed: _Weighed, *, is_verified: bool
) -> tuple[tuple[Attestation, ...], tuple[Left, ...]]:
    """Return the attestations, and what is none, each with the reason why it was not used."""
    attestations: list[Attestation] = []
    skipped: list[Left] = []
    for each in examined:
        failed = each.failed
        if failed and failed.reason in _LEFT:
            skipped.append(Left(each.evidence.location, each.digest, failed.reason, failed.actual))
            continue
        is_matched = any(each is other for other in weighed.matched)
        is_used = is_verified and (is_matched or any(each is other for other in weighed.used))
        failed = None if is_matched else _telling(each, weighed)
        authentic = each.authentic
        attestations.append(
            Attestation(
                source=each.evidence.source,
                location=each.evidence.location,
                digest=each.digest,
                format=each.evidence.format,
                used=is_used,
                reason=failed.reason if failed else None,
                detail="" if is_used else _why_not(each, failed),
                signed_by=each.signed_by,
                run_uid=_uid(each),
                is_image_signature=each.is_image_signature,
                is_tampered=each.is_tampered,
                is_revoked=any(check.id == REVOCATION for check in each.checks),
                statement=authentic.statement if authentic else None,
                payload=authentic.payload if authentic else b"",
            )
        )
    return tuple(attestations), tuple(skipped)


def _telling(each: Examined, weighed: _Weighed) -> Check | None:
    """Return the failed check that explains most. For a report, that it is no provenance explains nothing."""
    if all(each is not one for one in weighed.reports):
        return each.failed
    wrong = (check for check in each.checks if check.result in {Result.FAIL, Result.ERROR})
    return next((check for check in wrong if check.id not in OF_PROVENANCE), each.failed)


def _why_not(each: Examined, failed: Check | None) -> str:
    kind = "image signature: " if each.is_image_signature else ""
    if failed:
        return f"{kind}{failed.id}: expected {failed.expected}, got {failed.actual}"
    if kind:
        return f"{kind}verified, and told by its own check; it says nothing about how the image was made"
    return NOT_VERIFIED


def _whose_run(checks: Sequence[Check], criteria: Criteria) -> str:
    """Return what was not compared of the run, if hermetic execution or a namespace was demanded."""
    text = ""
    if any(check.id == NAMESPACE_CHECK and check.result is Result.SKIP for check in checks):
        text = "; namespace: not compared, the provenance tells no run"
    if criteria.require_hermetic:
        asked = {
            "namespace": criteria.namespace,
            "task or pipeline reference": criteria.task_ref or criteria.pipeline_ref,
            "builder": criteria.builder_id,
            "source": criteria.source,
        }
        left = [name for name, value in asked.items() if value is None]
        text += f"; of the run not compared: {', '.join(left)}" if left else ""
        if criteria.namespace is None and not (criteria.task_ref or criteria.pipeline_ref):
            text += " (artifact and source are the word of the task that ran)"
    return text


def _summary(verdict: Verdict, checks: Sequence[Check], weighed: _Weighed, case: Case) -> str:
    """Return the sentence after the verdict."""
    if verdict is Verdict.VERIFIED:
        types = ", ".join(dict.fromkeys(_type(each) for each in weighed.used))
        signers = "; ".join(dict.fromkeys(str(each.signed_by) for each in weighed.used))
        if all(each.is_message for each in weighed.used):
            return f"the signature over the file was verified, signed by {signers}; it says nothing else"
        text = f"{count(len(weighed.used), 'attestation')} of {types}, signed by {signers}"
        if isinstance(case.wanted, NothingWanted):
            text += "; the signature and the statement were verified, subject: not compared with any artifact"
        if not isinstance(case.wanted, RunWanted):
            text += _whose_run(checks, case.criteria)
        return text
    if verdict is Verdict.NOT_FOUND:
        others = len(weighed.signatures) + len(case.found.skipped)
        return "no attestation found" + (f"; {count(others, 'other item')} listed" if others else "")
    wrong = Result.ERROR if verdict is Verdict.INDETERMINATE else Result.FAIL
    first = next((check for check in checks if check.result is wrong), None)
    if first is None:
        return "not every check passed"
    told = first.actual if wrong is Result.ERROR else f"expected {first.expected}, got {first.actual}"
    return f"{first.reason.value if first.reason else first.id}: {told}"
