"""Asks a verifier, and keeps what it confirmed. Where nobody is trusted, keeps what the evidence claims.

Nothing is verified here: the answers are those of :class:`chains.verify.verifier.Verifier`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec

from chains.errors import EvidenceError
from chains.inspection.facts import Place
from chains.inspection.named_run import RunName, RunNamed, reported_name, uid_of, unsearchable
from chains.inspection.report import is_report
from chains.statements.simple_signing import COSIGN_SIGN
from chains.statements.statement import SCAI, Statement
from chains.tekton.snapshot import RunSnapshot
from chains.verify.criteria import Criteria
from chains.verify.examining.case import Case
from chains.verify.readings import Unreadable
from chains.verify.reasons import Reason, Result
from chains.verify.runs.question import REPORT_CHECK
from chains.verify.runs.run import RunWanted
from chains.verify.search import Search, searched
from chains.verify.signed_by import SignedBy
from chains.verify.subject import Authentic
from chains.verify.verdict import NOT_VERIFIED, Attestation, Check, Target, Verdict, Verification
from chains.verify.verifier import Verifier
from signers.errors import FormatError
from signers.keys.public_key import PublicKey
from storage.errors import StoreError
from storage.record import IN_TOTO_PAYLOAD_TYPE, SIMPLE_SIGNING_FORMAT, Evidence


@dataclass(frozen=True, slots=True)
class Said:
    """One statement, by whoever signed it; ``signed_by`` is None for a claim that nobody confirmed."""

    statement: Statement
    payload: bytes = field(repr=False)
    signed_by: SignedBy | None
    copies: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """What was found about one target.

    ``record`` is the run itself, if a report among ``said`` has the digest of its snapshot.
    ``used`` are the digests of the evidence that ``said`` is from.
    """

    said: tuple[Said, ...] = ()
    record: RunSnapshot | None = None
    is_verified: bool = True

    @property
    def used(self) -> frozenset[str]:
        """The digests of the evidence that the statements are from."""
        return frozenset(copy.digest for one in self.said for copy in one.copies)


class Inspector(Verifier[Verification]):
    """A verifier that keeps what the evidence says.

    With ``criteria`` None nobody is trusted: nothing is verified, and what is kept are claims.
    """

    def __init__(self, criteria: Criteria | None, **more: object) -> None:
        super().__init__(criteria or _nobody(), **more)  # type: ignore[call-overload]
        self._is_trusting = criteria is not None
        self._contents: dict[int, tuple[Target, Contents]] = {}

    def judge(self, case: Case) -> Verification:
        """Return the verifier's answer, and keep the contents of the evidence."""
        found = super().judge(case)
        if not self._is_trusting:
            contents = Contents(_claims(case), _record(case), is_verified=False)
        else:
            found = _of_that_name(case.wanted, self._of_its_own_type(case, found))
            said = _confirmed((*found.attestations, *self._others(case, found)))
            contents = Contents(said, _record(case, found))
        # the target is kept, so that no other one can have its number
        self._contents[id(case.target)] = case.target, contents
        return found

    async def named_run(self, name: RunName) -> Verification:
        """Verify what was signed about a run that is known by its UID or its name alone.

        Raises :class:`UsageError` if several runs have the name.
        """
        try:
            uid = await uid_of(self.stores, name)
        except StoreError as error:
            check = Check("target", Result.ERROR, "the UID of the run", str(error), Reason.STORE_UNAVAILABLE)
            return self._undecided(Target(name.ref), check)
        target, wanted = Target(name.ref, {}, uid), RunNamed(uid, "" if name.uid else name.ref)
        if not uid:
            return self._conclude(target, wanted, Search())
        async with searched(self.stores, (), uid) as search:
            errors = (*search.errors, *map(_unasked, unsearchable(self.stores)))
            return self._conclude(target, wanted, replace(search, errors=errors))

    def contents(self, found: Verification) -> Contents:
        """Return what was found about the target of a verification; nothing if it could not be searched."""
        return self._contents.get(id(found.target), (found.target, Contents(is_verified=self._is_trusting)))[
            1
        ]

    def _of_its_own_type(self, case: Case, found: Verification) -> Verification:
        """Return the answer about a file, or a run by name, with any statement unless a type was demanded."""
        is_any = case.is_alone or isinstance(case.wanted, RunNamed)
        if not is_any or found.verdict is Verdict.VERIFIED or case.criteria.predicate_types:
            return found
        types = {one.statement.predicate_type for one in found.attestations if one.statement is not None}
        if not types - set(case.criteria.wanted_types):
            return found
        return super().judge(replace(case, criteria=replace(case.criteria, predicate_types=tuple(types))))

    def _others(self, case: Case, found: Verification) -> Sequence[Attestation]:
        """Return what trusted signers said about the same artifact in statements of other types."""
        if found.verdict is not Verdict.VERIFIED:
            return ()
        types = {
            one.statement.predicate_type
            for one in found.attestations
            if not one.used and not one.is_image_signature and one.statement is not None
        } - set(case.criteria.wanted_types)
        if not types:
            return ()
        criteria = replace(
            case.criteria,
            predicate_types=tuple(sorted(types)),
            builder_id=None,
            build_type=None,
            require_hermetic=False,
            namespace=None,
            task_ref=None,
            pipeline_ref=None,
            source=None,
        )
        return super().judge(replace(case, criteria=criteria)).attestations


def _unasked(url: str) -> Check:
    actual = f"{url} cannot search by run: name the image or its digest"
    return Check("store", Result.ERROR, "every store answers", actual, Reason.STORE_UNAVAILABLE)


def _of_that_name(wanted: object, found: Verification) -> Verification:
    """Return the answer about a run that was asked for by its name: somebody trusted must have signed it.

    The store says which UID a name has, and nobody signed that. Only a report has the name.
    """
    if not isinstance(wanted, RunNamed) or not wanted.label or found.verdict is not Verdict.VERIFIED:
        return found
    reports = [
        one
        for one in found.attestations
        if one.statement is not None and is_report(one.statement) and one.run_uid == wanted.uid
    ]
    # beside provenance, a report is not what was asked for, which alone is no reason against it
    counting = (one for one in reports if one.used or one.reason is Reason.PREDICATE_TYPE_MISMATCH)
    if any(reported_name(one.statement) == wanted.label for one in counting):
        return found
    names = [name for one in reports if (name := reported_name(one.statement)) not in {"", wanted.label}]
    if names:
        verdict, result, reason = Verdict.FAILED, Result.FAIL, Reason.RUN_MISMATCH
        actual = f"a report by which run {wanted.uid} is {names[0]}"
    else:
        verdict, result, reason = Verdict.INDETERMINATE, Result.ERROR, None
        actual = f"only the store says that this is the name of run {wanted.uid}: name the run by its UID"
    check = Check("run", result, f"a report of {wanted.label}", actual, reason)
    unused = tuple(
        replace(one, used=False, detail=NOT_VERIFIED) if one.used else one for one in found.attestations
    )
    return replace(found, verdict=verdict, summary=actual, checks=(*found.checks, check), attestations=unused)


def confirmed_by_policy(attestations: Iterable[Attestation]) -> Contents:
    """Return the contents of the evidence that the signers of a policy signed."""
    return Contents(_confirmed(attestations))


@cache
def _nobody() -> Criteria:
    """Return criteria that no evidence meets: a key that signed nothing, and that nobody has."""
    return Criteria(keys=[PublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())])


def _confirmed(attestations: Iterable[Attestation]) -> tuple[Said, ...]:
    """Return the statements of evidence that was used; copies of one statement by one signer are one."""
    found: dict[tuple[bytes, str], Said] = {}
    for one in attestations:
        if not one.used or one.statement is None or one.signed_by is None or one.is_image_signature:
            continue
        copy = Place(one.source, one.location, one.digest, one.format)
        key = (one.payload, one.signed_by.name)
        known = found.get(key)
        if known is None:
            found[key] = Said(one.statement, one.payload, one.signed_by, (copy,))
        elif copy not in known.copies:
            signed_by = known.signed_by if known.signed_by and known.signed_by.times else one.signed_by
            found[key] = replace(known, signed_by=signed_by, copies=(*known.copies, copy))
    return tuple(found.values())


def _claims(case: Case) -> tuple[Said, ...]:
    """Return the statements about the target, whoever signed them, as claims."""
    found: dict[bytes, Said] = {}
    for evidence in case.found.evidence:
        read = _read(case, evidence)
        if read is None or (read.statement.predicate_type == COSIGN_SIGN and not case.is_alone):
            continue  # an image signature says nothing about how something was made
        copy = Place(evidence.source, evidence.location, evidence.digest, evidence.format)
        known = found.get(read.payload)
        if known is None:
            found[read.payload] = Said(read.statement, read.payload, None, (copy,))
        elif copy not in known.copies:
            found[read.payload] = replace(known, copies=(*known.copies, copy))
    return tuple(found.values())


def _read(case: Case, evidence: Evidence) -> Authentic | None:
    """Return the statement in a piece of evidence if it is about the target, else None."""
    if evidence.format == SIMPLE_SIGNING_FORMAT:
        return None
    if evidence.digest != "sha256:" + hashlib.sha256(evidence.data).hexdigest():
        return None
    try:
        envelope, _ = case.found.readings.envelope(evidence)
        if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE:
            return None
        read = Authentic(case.found.readings.statement(envelope.payload), envelope.payload)
    except (Unreadable, FormatError, EvidenceError):
        return None
    checks = case.wanted.match(read)
    return None if any(check.result is Result.FAIL for check in checks) else read


def _record(case: Case, found: Verification | None = None) -> RunSnapshot | None:
    """Return the run that the question is about, if a report says that its record is unchanged."""
    if not isinstance(case.wanted, RunWanted):
        return None
    if found is None:
        reads = (_read(case, evidence) for evidence in case.found.evidence)
        told = any(read is not None and read.statement.predicate_type == SCAI for read in reads)
    else:
        told = found.verdict is Verdict.VERIFIED and any(
            check.id == REPORT_CHECK and check.result is Result.PASS for check in found.checks
        )
    return case.wanted.run if told else None
