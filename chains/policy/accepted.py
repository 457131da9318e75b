"""Verification summaries of accepted verifiers, as evidence in place of provenance. Pure.

A summary shows what it states and nothing else: a SLSA build level and hermetic execution. Whatever else a
policy demands, it fails. It counts only if an accepted pair of signer and verifier says PASSED about this
image, at this place, by the accepted policy, and no newer summary of that verifier says FAILED.
Source: SLSA 1.2, Verification Summary Attestation, how to verify.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chains.errors import EvidenceError
from chains.policy.candidate import VerifiedStatement
from chains.policy.document.format import HermeticWanted
from chains.policy.document.policy import AcceptedVerifier, Policy
from chains.policy.guidance import GUIDANCE
from chains.policy.listing import one_line, some, span
from chains.policy.opened import OpenedPolicy
from chains.policy.reasons import PolicyReason, Requirement
from chains.policy.requirements import FUTURE, check_predicates
from chains.policy.verdict import PolicyCheck
from chains.statements.statement import Statement
from chains.statements.vsa import FAILED, HERMETIC, VSA, Claims, read_vsa, time_verified
from chains.tekton.raw import text_at
from chains.verify.reasons import Result
from chains.verify.verdict import Attestation, Verification
from storage.formats.reference import Image, spellings

_UNDECIDED = frozenset(
    {PolicyReason.STORE_UNAVAILABLE, PolicyReason.NO_VERIFIED_TIME, PolicyReason.EVIDENCE_UNDECIDED}
)
STATED = frozenset({Requirement.LEVEL, Requirement.HERMETIC, Requirement.PREDICATES})
"""What is compared with a summary: what it states, and which statements lie beside it."""


@dataclass(frozen=True, slots=True)
class SummaryCandidate:
    """A summary that the signer of an accepted verifier signed about the image.

    ``moments`` are the verified times of all copies of it. ``refusals`` say when a verifier last refused the
    image at a place, signed by any of the accepted signers; None is a time that is not known. ``is_whole``
    says that every store answered, ``is_read`` that nothing was found which could not be read.
    """

    opened: OpenedPolicy
    image: Image
    entry: AcceptedVerifier
    attestation: Attestation
    statement: Statement
    everything: Sequence[VerifiedStatement]
    refusals: Mapping[tuple[str, str], datetime | None]
    now: datetime
    is_whole: bool
    is_read: bool = True
    moments: tuple[datetime, ...] = ()
    basis = "vsa"

    @property
    def digest(self) -> str:
        """The digest of the summary's bytes."""
        return self.attestation.digest

    @property
    def name(self) -> str:
        """The name of the policy's entry."""
        return self.entry.name

    @property
    def claims(self) -> Claims | None:
        """What the summary says, None where it is none that can be read."""
        try:
            return read_vsa(self.statement)
        except EvidenceError:
            return None

    @property
    def level(self) -> int:
        """The SLSA build level that counts: the lower of what is stated and what is accepted."""
        return min(self.claims.build_level, self.entry.max_level) if self.claims else 0

    @property
    def hermetic(self) -> str:
        """The hermetic level that is stated, empty for none."""
        return HermeticWanted.ENFORCED.value if self.claims and self.claims.states(HERMETIC) else ""


def summary_candidates(
    opened: OpenedPolicy,
    image: Image,
    judged: Sequence[Verification],
    verified: Sequence[VerifiedStatement],
    *,
    now: datetime,
    is_whole: bool,
    is_read: bool = True,
) -> list[SummaryCandidate]:
    """Return a candidate for each summary by the signer of an accepted verifier, copies of one once.

    ``judged`` has a verification for each accepted verifier of the policy, in their order.
    """
    found: dict[tuple[str, bytes, str], SummaryCandidate] = {}
    refusals = _last_refusals(statement for one in judged for statement in _refusals(one, image))
    for entry, verification in zip(opened.policy.accept, judged, strict=True):
        for one in sorted(verification.attestations, key=lambda one: one.digest):
            if not one.used or one.statement is None or one.signed_by is None:
                continue
            key = (entry.name, one.payload, one.signed_by.name)
            known = found.get(key)
            moments = tuple(time.moment for time in one.signed_by.times)
            found[key] = SummaryCandidate(
                opened,
                image,
                entry,
                known.attestation if known else one,
                one.statement,
                verified,
                refusals,
                now,
                is_whole,
                is_read,
                (known.moments if known else ()) + moments,
            )
    return list(found.values())


def _refusals(verification: Verification, image: Image) -> Iterator[Statement]:
    """Give each FAILED summary about the image that the verifier signed, in whatever state its key is.

    A key that ended or was revoked since can only deny: what it refused once stays refused.
    """
    algorithm, _, value = image.digest.partition(":")
    for one in verification.attestations:
        statement = one.statement
        if statement is None or one.signed_by is None or statement.predicate_type != VSA:
            continue
        if not any((subject.digest or {}).get(algorithm) == value for subject in statement.subjects):
            continue
        levels = statement.predicate.get("verifiedLevels")
        if text_at(statement.predicate, "verificationResult") == FAILED or (
            isinstance(levels, list) and FAILED in levels
        ):
            yield statement


def check_summary(candidate: SummaryCandidate) -> list[PolicyCheck]:
    """Return a check of the summary itself, and one for each requirement and rule of the policy."""
    return [
        check for part in (_counts, _age, check_predicates, _stated, _unstated) for check in part(candidate)
    ]


def _counts(candidate: SummaryCandidate) -> Iterator[PolicyCheck]:
    entry = candidate.entry
    digest = f" with {entry.policy_digest}" if entry.policy_digest else ""
    expected = f"a passed summary of verifier {entry.verifier_id} by policy {entry.policy_uri}{digest}"
    problem = next(_problems(candidate), None)
    if problem is None:
        signer = candidate.attestation.signed_by
        actual = f"{entry.name}, signed by {signer.name if signer else ''}"
        yield PolicyCheck(Requirement.VSA, Result.PASS, expected, actual, attestation=candidate.digest)
        return
    reason, actual = problem
    is_undecided = reason in _UNDECIDED
    result = Result.ERROR if is_undecided else Result.FAIL
    yield PolicyCheck(Requirement.VSA, result, expected, actual, reason, GUIDANCE[reason], candidate.digest)


def _problems(candidate: SummaryCandidate) -> Iterator[tuple[PolicyReason, str]]:
    """Give why a summary does not count. The first reason that holds is the one to tell."""
    entry = candidate.entry
    try:
        claims = read_vsa(candidate.statement)
    except EvidenceError as error:
        yield PolicyReason.SUMMARY_INVALID, str(error)
        return
    if claims.verifier_id != entry.verifier_id:
        yield PolicyReason.VERIFIER_NOT_ACCEPTED, f"verifier {claims.verifier_id}"
    if claims.resource_uri not in _places(candidate.image):
        yield PolicyReason.RESOURCE_MISMATCH, f"a summary for {claims.resource_uri}"
    if claims.policy_uri != entry.policy_uri:
        yield PolicyReason.SUMMARY_POLICY_NOT_ACCEPTED, f"policy {claims.policy_uri}"
    if entry.policy_digest not in {"", claims.policy_digest}:
        told = f"policy {claims.policy_uri} with {claims.policy_digest or 'no digest'}"
        yield PolicyReason.SUMMARY_POLICY_NOT_ACCEPTED, told
    if not claims.is_passed:
        yield PolicyReason.VERIFICATION_FAILED, FAILED
    if _is_refused_since(claims, candidate):
        yield PolicyReason.VERIFICATION_FAILED, "a newer summary of this verifier says FAILED"
    missing = [level for level in entry.verified_levels if not claims.states(level)]
    if missing:
        told = f"it states {some(claims.levels) or 'nothing'}, and not {some(missing)}"
        yield PolicyReason.SUMMARY_LEVEL_MISSING, told
    if claims.verified_at is not None and claims.verified_at - candidate.now > FUTURE:
        yield PolicyReason.NO_VERIFIED_TIME, "its time lies ahead of this machine's clock"
    if not candidate.is_read:
        # whoever may add to a repository can list so much that the rest is not read
        told = (
            "not everything about the image could be read, and a newer summary that says FAILED may be there"
        )
        yield PolicyReason.EVIDENCE_UNDECIDED, told
    if not candidate.is_whole:
        told = "not every store answered, and a newer summary that says FAILED may be there"
        yield PolicyReason.STORE_UNAVAILABLE, told


def _places(image: Image) -> set[str]:
    """Return how a summary may spell where the image is fetched from."""
    return {f"{name}@{image.digest}" for name in spellings(image.repository)}


def _last_refusals(refusals: Iterable[Statement]) -> dict[tuple[str, str], datetime | None]:
    """Return when each verifier last refused each place; None where one of the times is not known."""
    found: dict[tuple[str, str], datetime | None] = {}
    for one in refusals:
        key = (text_at(one.predicate, "verifier", "id"), text_at(one.predicate, "resourceUri"))
        try:
            moment = time_verified(one)
        except EvidenceError:
            found[key] = None
        else:
            last = found.get(key, moment)
            found[key] = None if last is None else max(last, moment)
    return found


def _is_refused_since(claims: Claims, candidate: SummaryCandidate) -> bool:
    """Whether a FAILED summary of the same verifier and place is not older; without a time, it is not."""
    for place in _places(candidate.image):
        key = (claims.verifier_id, place)
        if key in candidate.refusals:
            refused_at = candidate.refusals[key]
            if refused_at is None or claims.verified_at is None or refused_at >= claims.verified_at:
                return True
    return False


def _age(candidate: SummaryCandidate) -> Iterator[PolicyCheck]:
    """Give the check of the age, by the earlier of the verified time and the time that the summary states.

    Whoever may write to a repository can have a signature timestamped again; the stated time stays.
    """
    longest = candidate.entry.max_age
    if longest is None:
        return
    name, expected, own = Requirement.VSA_MAX_AGE, f"verified in the last {span(longest)}", candidate.digest
    stated = candidate.claims.verified_at if candidate.claims else None
    moments = [*candidate.moments, *([stated] if stated else [])]
    age = candidate.now - min(moments, default=candidate.now)
    told = f"verified {span(max(age, timedelta()))} ago"
    if age > longest:
        reason = PolicyReason.SUMMARY_TOO_OLD
        yield PolicyCheck(name, Result.FAIL, expected, told, reason, GUIDANCE[reason], own)
    elif not candidate.moments or age < -FUTURE:
        reason = PolicyReason.NO_VERIFIED_TIME
        told = "its verified time lies ahead of this machine's clock"
        if not candidate.moments:
            told = "no timestamp or log entry says when it was signed"
        yield PolicyCheck(name, Result.ERROR, expected, told, reason, GUIDANCE[reason], own)
    else:
        yield PolicyCheck(name, Result.PASS, expected, told, attestation=own)


def _stated(candidate: SummaryCandidate) -> Iterator[PolicyCheck]:
    require, own = candidate.opened.policy.require, candidate.digest
    asked = (
        (
            Requirement.LEVEL,
            bool(require.level),
            f"SLSA build level {require.level}",
            f"level {candidate.level} of {candidate.name}",
            candidate.level >= require.level,
            PolicyReason.LEVEL_TOO_LOW,
        ),
        (
            Requirement.HERMETIC,
            require.hermetic is not None,
            f"a summary that states {HERMETIC}",
            HERMETIC if candidate.hermetic else "it does not",
            bool(candidate.hermetic),
            PolicyReason.HERMETIC_NOT_PROVEN,
        ),
    )
    for name, is_asked, expected, actual, is_met, reason in asked:
        if is_asked and is_met:
            yield PolicyCheck(name, Result.PASS, expected, actual, attestation=own)
        elif is_asked:
            yield PolicyCheck(name, Result.FAIL, expected, actual, reason, GUIDANCE[reason], own)


def unstated_by_summaries(policy: Policy) -> list[str]:
    """Return the requirements and rules of a policy that no summary meets, since none can state them."""
    demanded = (name for name in policy.require.demanded if name not in STATED)
    return [*demanded, *(rule.name for rule in policy.rules)]


def _unstated(candidate: SummaryCandidate) -> Iterator[PolicyCheck]:
    """Give a failed check for everything that a summary cannot show, whatever it is."""
    policy, reason = candidate.opened.policy, PolicyReason.NOT_IN_SUMMARY
    rules = {rule.name: one_line(rule.cel) for rule in policy.rules}
    for name in unstated_by_summaries(policy):
        expected = rules.get(name, "provenance that shows it")
        actual = "a verification summary, which does not state it"
        yield PolicyCheck(name, Result.FAIL, expected, actual, reason, GUIDANCE[reason], candidate.digest)
