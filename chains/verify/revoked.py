"""Whether a revocation list takes evidence or an artifact away, and whether the list itself counts.

A list only takes away: it turns no other answer into VERIFIED. A list that cannot be used leaves nothing
VERIFIED.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from chains.revocation.entry import Entry, Kind
from chains.revocation.revocations import Revocations
from chains.statements.claims import builder_id, dependency_digests, verifier_id
from chains.statements.statement import Statement
from chains.verify.evidence import Examined
from chains.verify.reasons import REVOCATION, Reason, Result
from chains.verify.signed_by import SignedBy
from chains.verify.subject import DigestWanted, NothingWanted, Wanted
from chains.verify.verdict import NOT_VERIFIED, Check, Verdict, Verification

REVOCATION_LIST = "revocation-list"
_EXPECTED = "nothing that is revoked"
_USABLE = "a revocation list that counts"


def judge_revocation(each: Examined, revocations: Revocations, wanted: Wanted) -> Examined:
    """Add a failed check if the signer, or something that the statement says, is revoked.

    That is the key, the certificate's identity or its key; the builder, the verifier of a summary, a Task or
    Pipeline among the dependencies; and the image itself, where the statement has more of its digests than
    the target. Times are those that were verified for this signature.
    """
    if each.signed_by is None:
        return each
    times = [one.moment for one in each.signed_by.times]
    statement = each.authentic.statement if each.authentic else None
    found = _signer(each.signed_by, revocations, times)
    if found is None and statement is not None:
        found = _claimed(statement, revocations, times) or _image(statement, revocations, wanted)
    if found is None:
        return each
    return replace(each, checks=(*each.checks, _struck(found, times)))


def list_check(revocations: Revocations, now: datetime) -> Check:
    """Return whether the lists count now: ``pass`` or ``error``."""
    problem = revocations.problem(now)
    if problem:
        return Check(REVOCATION_LIST, Result.ERROR, _USABLE, problem, Reason.REVOCATION_LIST_UNUSABLE)
    return Check(REVOCATION_LIST, Result.PASS, _USABLE, str(revocations))


def with_list_check(found: Verification, check: Check) -> Verification:
    """Return a verification with the check of the lists. An error leaves nothing verified, nothing absent."""
    found = replace(found, checks=(check, *found.checks))
    if check.result is not Result.ERROR or found.verdict not in {Verdict.VERIFIED, Verdict.NOT_FOUND}:
        return found
    return replace(
        found,
        verdict=Verdict.INDETERMINATE,
        summary=f"{Reason.REVOCATION_LIST_UNUSABLE.value}: {check.actual}",
        attestations=tuple(
            replace(one, used=False, detail=NOT_VERIFIED) if one.used else one for one in found.attestations
        ),
    )


def target_checks(digests: Iterable[Mapping[str, str]], revocations: Revocations) -> list[Check]:
    """Return a failed check for the first artifact that is revoked, whatever its evidence says."""
    found = next(filter(None, map(revocations.image, digests)), None)
    return [] if found is None else [_struck(found, ())]


def _signer(signed_by: SignedBy, revocations: Revocations, times: Sequence[datetime]) -> Entry | None:
    found = revocations.key(signed_by.keyid or signed_by.certified_keyid, times)
    if found is None and not signed_by.keyid:
        found = revocations.identity(signed_by.identity, signed_by.issuer, times)
    return found


def _claimed(statement: Statement, revocations: Revocations, times: Sequence[datetime]) -> Entry | None:
    return (
        revocations.builder(builder_id(statement), times)
        or revocations.verifier(verifier_id(statement), times)
        or (revocations.task(dependency_digests(statement), times) if revocations.has(Kind.TASK) else None)
    )


def _image(statement: Statement, revocations: Revocations, wanted: Wanted) -> Entry | None:
    if not revocations.has(Kind.IMAGE):
        return None
    if isinstance(wanted, DigestWanted) and revocations.image(wanted.digest):
        return None  # the target itself is revoked, which is told once and for all evidence
    return next(filter(None, map(revocations.image, _subjects(statement, wanted))), None)


def _subjects(statement: Statement, wanted: Wanted) -> Iterator[Mapping[str, str]]:
    """Give the digests of the subjects that are the target. Without a target, all subjects are."""
    for subject in statement.subjects:
        digest = subject.digest or {}
        if isinstance(wanted, NothingWanted) or (isinstance(wanted, DigestWanted) and wanted.fits(digest)):
            yield digest


def _struck(entry: Entry, times: Sequence[datetime]) -> Check:
    told = str(entry)
    if entry.is_limited and times:
        told += f"; verified times: {', '.join(one.isoformat() for one in times)}"
    elif entry.is_limited:
        told += "; no verified time says that the signature is older"
    reason = Reason.KEY_REVOKED if entry.kind is Kind.KEY else Reason.REVOKED
    return Check(REVOCATION, Result.FAIL, _EXPECTED, told, reason)
