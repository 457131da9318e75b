"""From judged evidence to one verdict: which evidence counts, and which finding decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from chains.statements.statement import SCAI
from chains.text import count
from chains.verify.criteria import Criteria
from chains.verify.evidence import OF_PROVENANCE, Examined
from chains.verify.examining.case import Case
from chains.verify.examining.every import examine_all, is_broken
from chains.verify.examining.weighed import Weighed, listed
from chains.verify.hermetic import NAMESPACE_CHECK, prove_run
from chains.verify.key_window import KEY_WINDOW
from chains.verify.reasons import REVOCATION, WRONG, Reason, Result
from chains.verify.runs.question import MATCH_CHECK, REPORT_CHECK, SIDECAR_CHECK, UID_CHECK, RunQuestion
from chains.verify.subject import DigestWanted, NothingWanted, Wanted
from chains.verify.verdict import Check, Left, Target, Verdict, Verification, worst

_STEPS = (
    "digest", "format", "verification-material", "certificate", "identity", "issuer", "signature",
    "timestamp", "transparency-log", "payload-type", "statement", "subject", UID_CHECK,
    SIDECAR_CHECK, MATCH_CHECK, REPORT_CHECK, "predicate-type", "builder", "build-type", "task-ref",
    "pipeline-ref", "source", "key-hint",
    KEY_WINDOW, REVOCATION,
)  # fmt: skip
"""The checks of one attestation in their order. If none passed, the one that got furthest is shown."""


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
    examined = examine_all(case)
    if _learns(examined, case.wanted):
        examined = examine_all(case)
    weighed = _weigh(examined, case)
    if case.criteria.require_hermetic or case.criteria.namespace is not None:
        _demand_run(weighed, examined, case)
    shown = weighed.used[0] if weighed.used else _furthest(weighed.attestations or weighed.reports)
    broken = [each for each in examined if is_broken(each)]
    checks = [*case.found.errors, _evidence_check(weighed, case)]
    if shown is not None:
        checks += _own_checks(shown, weighed)
    for each in examined:
        if each is not shown and (each.is_tampered or is_broken(each)):
            checks += [check.of(each.digest) for check in each.checks]
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
    attestations, skipped = listed(
        examined, weighed, is_verified=verdict is Verdict.VERIFIED, is_revocable=case.revocations is not None
    )
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


def _learns(examined: Sequence[Examined], wanted: Wanted) -> bool:
    """Whether reports of the run name replaced sidecars, so that all evidence has to be judged again."""
    if not isinstance(wanted, RunQuestion):
        return False
    reports = [each for each in examined if _type(each) == SCAI and not _failures(each) - OF_PROVENANCE]
    news = [wanted.learn(each.authentic.statement) for each in reports if each.authentic]
    return any(news)


def _weigh(examined: Sequence[Examined], case: Case) -> Weighed:
    weighed = Weighed()
    other_type = SCAI if SCAI not in case.criteria.wanted_types else ""
    for each in examined:
        if each.is_image_signature:
            weighed.signatures.append(each)
        elif isinstance(case.wanted, RunQuestion) and _type(each) == other_type:
            weighed.reports.append(each)
        else:
            weighed.attestations.append(each)
    weighed.used = [
        each for each in weighed.attestations if each.is_usable and (each.authentic or each.is_message)
    ]
    if isinstance(case.wanted, RunQuestion) and other_type:
        _weigh_reports(weighed, case.wanted, case.criteria)
    if weighed.signatures:
        weighed.other_checks.append(_image_signature_check(weighed.signatures))
    if case.revocations is not None:
        from chains.verify.revoked import target_checks  # noqa: PLC0415 - needed with a list alone

        weighed.other_checks += target_checks(_artifacts(case), case.revocations)
    return weighed


def _artifacts(case: Case) -> list[Mapping[str, str]]:
    """Return the digests of what is asked about: an artifact's, or those of the artifacts of a run."""
    if isinstance(case.wanted, RunQuestion):
        return [subject.digest or {} for subject in case.wanted.subjects]
    return [case.wanted.digest] if isinstance(case.wanted, DigestWanted) else []


def _type(each: Examined) -> str:
    if each.is_message:
        return "a signature over the file"
    return each.authentic.statement.predicate_type if each.authentic else "(unverified)"


def _weigh_reports(weighed: Weighed, wanted: RunQuestion, criteria: Criteria) -> None:
    """Compare the run's snapshot with its reports. A report can stand alone for a run without artifacts."""
    matched = weighed.matched = [each for each in weighed.reports if not _failures(each) - OF_PROVENANCE]
    # a statement without a run also fits a copy of the run under another name; only a report shows which
    is_identified = not weighed.used or any(_passed(each, UID_CHECK) for each in weighed.used)
    contradicting = [
        each
        for each in weighed.reports
        if REPORT_CHECK in _failures(each) and (wanted.is_uid(each.run_uid) or not is_identified)
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


def _demand_run(weighed: Weighed, examined: Sequence[Examined], case: Case) -> None:
    proof = prove_run(weighed.used, examined, weighed.matched, case.criteria, is_whole=not case.found.errors)
    weighed.used = proof.used
    weighed.matched += proof.reports
    weighed.other_checks += proof.checks


def _passed(each: Examined, check_id: str) -> bool:
    return any(check.id == check_id and check.result is Result.PASS for check in each.checks)


def _failures(each: Examined) -> set[str]:
    return {check.id for check in each.checks if check.result in WRONG}


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


def _own_checks(shown: Examined, weighed: Weighed) -> list[Check]:
    """Return the checks of the attestation that is shown. A report that stands alone has fewer."""
    left_out = OF_PROVENANCE | {REPORT_CHECK} if shown in weighed.alone else ()
    return [check.of(shown.digest) for check in shown.checks if check.id not in left_out]


def _evidence_check(weighed: Weighed, case: Case) -> Check:
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


def _summary(verdict: Verdict, checks: Sequence[Check], weighed: Weighed, case: Case) -> str:
    """Return the sentence after the verdict."""
    if verdict is Verdict.VERIFIED:
        types = ", ".join(dict.fromkeys(_type(each) for each in weighed.used))
        signers = "; ".join(dict.fromkeys(str(each.signed_by) for each in weighed.used))
        if all(each.is_message for each in weighed.used):
            return f"the signature over the file was verified, signed by {signers}; it says nothing else"
        text = f"{count(len(weighed.used), 'attestation')} of {types}, signed by {signers}"
        if isinstance(case.wanted, NothingWanted):
            text += "; the signature and the statement were verified, subject: not compared with any artifact"
        if not isinstance(case.wanted, RunQuestion):
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
