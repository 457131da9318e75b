"""One image's evidence and one policy in, one verdict out.

VERIFIED is said only when one provenance statement that a trust entry vouches for, or one verification
summary that the policy accepts, meets every requirement and rule that no exemption takes away. Zero verified
evidence fails before any rule is evaluated. Order of statements, policies and stores never changes an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from chains.policy.accepted import SummaryCandidate, check_summary, summary_candidates
from chains.policy.candidate import Candidate, Facts, VerifiedStatement, candidates
from chains.policy.consequence import decision_of, summary_of, verdict_of
from chains.policy.document.policy import Exemption
from chains.policy.guidance import GUIDANCE
from chains.policy.opened import OpenedPolicy, OpenedSigner
from chains.policy.reasons import PolicyReason, Requirement
from chains.policy.requirements import check_all
from chains.policy.revoked import REVOCATION_GUIDANCE, revocation_check
from chains.policy.rule_checks import rule_checks
from chains.policy.verdict import PolicyCheck, PolicyVerdict, strictest_first
from chains.revocation.revocations import Revocations
from chains.text import count
from chains.verify.conclude import conclude
from chains.verify.examining.case import Case
from chains.verify.reasons import Reason, Result
from chains.verify.search import Search
from chains.verify.subject import DigestWanted
from chains.verify.verdict import Attestation, Left, Target, Verdict, Verification
from storage.formats.reference import Image

_PROVENANCE = "provenance by a signer of the policy"
_SUMMARY = "a verification summary of an accepted verifier"


def decide(
    opened: OpenedPolicy,
    image: Image,
    search: Search,
    *,
    stores: Sequence[str],
    now: datetime,
) -> PolicyVerdict:
    """Return what a policy says about an image with a digest. Never raises for what the evidence holds.

    ``search`` has what the stores of these URLs answered about the image. A revocation list never makes an
    answer better: where it takes evidence away, the stricter answer of those with and without it counts.
    """
    algorithm, _, value = image.digest.partition(":")
    check = revocation_check(opened.revocations, {algorithm: value}, now)

    def decided(revocations: Revocations | None) -> tuple[PolicyVerdict, bool]:
        return _decide(opened, image, search, check, revocations, stores=stores, now=now)

    if check is None or check.result is Result.ERROR:
        return decided(None)[0]
    found, is_less = decided(opened.revocations)
    return strictest_first((found, decided(None)[0])).strictest if is_less else found


def _decide(
    opened: OpenedPolicy,
    image: Image,
    search: Search,
    revoked: PolicyCheck | None,
    revocations: Revocations | None,
    *,
    stores: Sequence[str],
    now: datetime,
) -> tuple[PolicyVerdict, bool]:
    """Return the answer with these revocations, and whether they took evidence away."""
    ref = f"{image.repository}@{image.digest}"
    algorithm, _, value = image.digest.partition(":")
    wanted, target = DigestWanted({algorithm: value}), Target(ref, {algorithm: value})

    def judge(signers: Sequence[OpenedSigner]) -> list[_Judged]:
        asked = partial(Case, target, wanted, stores=tuple(stores), now=now, found=search)
        return [
            (signer, conclude(asked(criteria=signer.criteria, revocations=revocations))) for signer in signers
        ]

    judged, accepted = judge(opened.signers), judge(opened.accept)
    verified = _verified(judged)
    is_read = all(left.reason is not Reason.UNREADABLE for left in search.skipped)
    places = _places(search, verified) if opened.policy.require.every_store else None
    found_candidates = candidates(
        opened,
        image,
        verified,
        now=now,
        is_whole=not search.errors,
        stores=tuple(stores),
        places=places,
        away=search.away,
        is_read=is_read,
    )
    answers = [verification for _, verification in accepted]
    summaries = summary_candidates(
        opened, image, answers, verified, now=now, is_whole=not search.errors, is_read=is_read
    )
    evidence = _evidence_check(judged, accepted, search, (*found_candidates, *summaries))
    if accepted:
        expected = f"{_PROVENANCE}, or {_SUMMARY}" if opened.trust else _SUMMARY
        evidence = replace(evidence, expected=expected)
    exempt = _Exemptions(opened.policy.exemptions, image, now)
    best: _Basis | None = None
    checks = [exempt.apply(evidence)]
    # what was changed is never exempt, and without evidence there is nothing to ask
    if evidence.reason is PolicyReason.EVIDENCE_INVALID:
        checks = [evidence]
    elif (found_candidates or summaries) and not evidence.is_wrong:
        best, asked = _best(opened, found_candidates, summaries, verified, exempt)
        checks += asked
    if revoked is not None:
        checks.insert(0, revoked)
    if search.is_refused:
        checks = [_refused(check) for check in checks]
    verdict = verdict_of(checks)
    # a summary that decided nothing is not shown as used
    shown = judged if isinstance(best, Candidate) else [*judged, *accepted]
    found = PolicyVerdict(
        image=ref,
        digest=image.digest,
        policy=opened.policy.name,
        policy_digest=opened.policy.digest,
        mode=opened.policy.mode,
        verdict=verdict,
        decision=decision_of(verdict, checks, opened.policy),
        summary=summary_of(verdict, checks, best),
        verified_at=now,
        checks=tuple(checks),
        attestations=_attestations(shown),
        skipped=_skipped(shown),
        stores=tuple(stores),
        level=best.level if best else 0,
        trust=best.name if best else "",
        hermetic=best.hermetic if best else "",
        basis=best.basis if best else "",
        cache_seconds=opened.policy.cache_seconds,
    )
    seen = (one for _, verification in (*judged, *accepted) for one in verification.attestations)
    return found, any(one.is_revoked for one in seen)


_Judged = tuple[OpenedSigner, Verification]
_Basis = Candidate | SummaryCandidate


def _verified(judged: Sequence[_Judged]) -> list[VerifiedStatement]:
    """Return each statement that at least one signer of the policy signed, with all signers it counts for."""
    found: dict[tuple[str, str], VerifiedStatement] = {}
    for signer, verification in judged:
        if verification.verdict is not Verdict.VERIFIED:
            continue
        for one in verification.attestations:
            if not one.used or one.statement is None or one.signed_by is None:
                continue
            key = (one.digest, one.signed_by.name)
            known = found.get(key)
            if known is None:
                found[key] = VerifiedStatement(one, one.statement, one.signed_by, (signer,))
            elif all(signer is not other for other in known.signers):
                found[key] = replace(known, signers=(*known.signers, signer))
    return sorted(found.values(), key=lambda one: (one.statement.predicate_type, one.digest))


def _places(search: Search, verified: Sequence[VerifiedStatement]) -> dict[bytes, frozenset[int]]:
    """Return by payload which stores hold it: a store keeps the same statement in forms of its own."""
    places: dict[bytes, frozenset[int]] = {}
    for one in verified:
        own = {place for place, digests in enumerate(search.held) if one.digest in digests}
        payload = one.attestation.payload
        places[payload] = places.get(payload, frozenset()) | own
    return places


def _evidence_check(
    judged: Sequence[_Judged], accepted: Sequence[_Judged], search: Search, found: Sequence[_Basis]
) -> PolicyCheck:
    for _, verification in (*judged, *accepted):
        for one in verification.attestations:
            if one.is_tampered:
                actual = f"{one.location}: {one.detail}"
                return _evidence(Result.FAIL, actual, PolicyReason.EVIDENCE_INVALID)
    if found:
        summaries = sum(isinstance(one, SummaryCandidate) for one in found)
        told = [count(len(found) - summaries, "provenance statement")] if len(found) > summaries else []
        told += [count(summaries, "verification summary", "verification summaries")] if summaries else []
        return PolicyCheck(Requirement.EVIDENCE, Result.PASS, _PROVENANCE, " and ".join(told))
    # verifiers that are accepted beside signers say nothing about why these signed nothing
    return _no_evidence(judged or accepted, search)


def _no_evidence(judged: Sequence[_Judged], search: Search) -> PolicyCheck:
    """Say why there is no provenance: the first that holds of away, undecided, unusable, absent."""
    if search.errors:
        return _evidence(Result.ERROR, search.errors[0].actual, PolicyReason.STORE_UNAVAILABLE)
    by_verdict = {one.verdict: one for _, one in reversed(judged)}
    undecided = by_verdict.get(Verdict.INDETERMINATE)
    if undecided is not None:
        return _evidence(Result.ERROR, undecided.summary, PolicyReason.EVIDENCE_UNDECIDED)
    failed = by_verdict.get(Verdict.FAILED)
    if failed is not None:
        wrong = next((check.reason for check in failed.checks if check.result is Result.FAIL), None)
        return _evidence(Result.FAIL, f"nothing usable: {failed.summary}", wrong or Reason.NO_PROVENANCE)
    if Verdict.VERIFIED in by_verdict:
        taken = [one for _, found in judged for one in found.attestations if one.is_revoked and one.reason]
        if taken:
            # other statements still verify; what is missing was taken away
            first = min(taken, key=lambda one: (one.digest, one.location))
            return _evidence(Result.FAIL, f"{first.location}: {first.detail}", first.reason or Reason.REVOKED)
        return _evidence(Result.FAIL, "verified statements of other types alone", Reason.NO_PROVENANCE)
    return _evidence(Result.FAIL, "none found", PolicyReason.NO_EVIDENCE)


def _evidence(result: Result, actual: str, reason: PolicyReason | Reason) -> PolicyCheck:
    if isinstance(reason, PolicyReason):
        guidance = GUIDANCE[reason]
    else:
        guidance = REVOCATION_GUIDANCE.get(reason, GUIDANCE[PolicyReason.NO_EVIDENCE])
    return PolicyCheck(Requirement.EVIDENCE, result, _PROVENANCE, actual, reason, guidance)


def _refused(check: PolicyCheck) -> PolicyCheck:
    """Return a check that a store left open as one that stays open until somebody changes something."""
    if check.reason is not PolicyReason.STORE_UNAVAILABLE:
        return check
    reason = PolicyReason.STORE_REJECTED
    return replace(check, reason=reason, guidance=GUIDANCE[reason])


class _Exemptions:
    """The exemptions of a policy that are about one image, applied to one check after the other."""

    def __init__(self, exemptions: Sequence[Exemption], image: Image, now: datetime) -> None:
        self._exemptions, self._image, self._now = exemptions, image, now

    def apply(self, check: PolicyCheck) -> PolicyCheck:
        """Return the check as it counts: a failure that is exempt is skipped, an error is not.

        An error is no answer to what was asked; it is exempt where the exemption names the requirement, too.
        """
        if not self._exemptions or not check.is_wrong:
            return check
        covering = [one for one in self._exemptions if one.covers(self._image, check.id)]
        valid = [one for one in covering if not one.is_over(self._now)]
        if valid:
            latest = max(valid, key=lambda one: (one.until, one.reference))
            return replace(check, result=Result.SKIP, exempted=latest)
        return replace(check, expired=tuple(covering))


def _best(
    opened: OpenedPolicy,
    found: Sequence[Candidate],
    summaries: Sequence[SummaryCandidate],
    verified: Sequence[VerifiedStatement],
    exempt: _Exemptions,
) -> tuple[_Basis, list[PolicyCheck]]:
    """Return what meets most, with its checks: provenance before a summary that meets as much."""
    told: list[_Asked] = [
        (one, [_exempted(one, check, exempt) for check in check_summary(one)]) for one in summaries
    ]
    if found:
        told.append(_best_provenance(opened, found, verified, exempt))
    return min(told, key=_place)


def _best_provenance(
    opened: OpenedPolicy,
    found: Sequence[Candidate],
    verified: Sequence[VerifiedStatement],
    exempt: _Exemptions,
) -> tuple[Candidate, list[PolicyCheck]]:
    """Return the candidate that meets most, with its checks; one that meets everything wins.

    Rules cost most. They are asked of the candidates in the order of what else they meet, until one meets
    everything; of the first alone if their answer is the same for all.
    """
    judged = [(one, [_exempted(one, check, exempt) for check in check_all(one)]) for one in _distinct(found)]
    judged.sort(key=_place)
    if not opened.rules.rules:
        return judged[0]
    if not opened.rules.tell_candidates_apart:
        judged = judged[:1]
    facts = Facts(opened, verified)
    results = opened.rules.evaluate_each(facts.of(candidate) for candidate, _ in judged)
    asked: list[tuple[Candidate, list[PolicyCheck]]] = []
    for (candidate, checks), found_rules in zip(judged, results, strict=False):
        rules = rule_checks(found_rules, candidate)
        asked.append((candidate, checks + [exempt.apply(check) for check in rules]))
        if _place(asked[-1])[0] == 0:
            break
    return min(asked, key=_place)


def _exempted(candidate: _Basis, check: PolicyCheck, exempt: _Exemptions) -> PolicyCheck:
    """Return a check as it counts.

    No exemption lets the signers of other types sign provenance, or a summary count that is none to accept.
    """
    if not check.is_wrong:
        return check
    is_ours = isinstance(candidate, Candidate) and candidate.is_by_trust
    if check.id == Requirement.VSA or (check.id == Requirement.TRUST and not is_ours):
        return check
    return exempt.apply(check)


_Asked = tuple[_Basis, list[PolicyCheck]]


def _place(one: tuple[_Basis, Sequence[PolicyCheck]]) -> tuple[int, bool, int, str]:
    candidate, checks = one
    failed = sum(check.is_wrong for check in checks)
    return failed, isinstance(candidate, SummaryCandidate), -candidate.level, candidate.digest


def _distinct(found: Sequence[Candidate]) -> list[Candidate]:
    """Return each candidate once. Whoever may write to a repository can store any number of its copies."""
    known: dict[tuple[object, ...], Candidate] = {}
    for one in sorted(found, key=lambda one: one.provenance.digest):
        provenance = one.provenance
        signers = frozenset(id(signer) for signer in provenance.signers)
        known.setdefault((provenance.attestation.payload, provenance.signed_by, signers), one)
    return list(known.values())


def _attestations(judged: Sequence[_Judged]) -> tuple[Attestation, ...]:
    """Return what was looked at, once each: verified by any signer before not verified."""
    found: dict[tuple[str, str], Attestation] = {}
    for _, verification in judged:
        for one in verification.attestations:
            known = found.get((one.digest, one.location))
            if known is None or (one.used and not known.used):
                found[one.digest, one.location] = one
    return tuple(found.values())


def _skipped(judged: Sequence[_Judged]) -> tuple[Left, ...]:
    return tuple({item: None for _, one in judged for item in one.skipped})
