"""From a piece of evidence to what the index says about it: judged once, by who is trusted.

What did not verify is read as well, as far as it can be: it is indexed as such, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from chains.errors import EvidenceError
from chains.index.codes import SIGNATURE, Verdict
from chains.index.run_facts import Provenance, Report, read_provenance, read_report, seconds_of
from chains.lineage.signing import read_signed
from chains.lineage.statement_facts import Facts, Product, moment_of, read_facts
from chains.statements.simple_signing import COSIGN_SIGN, KIND, signed_image, signed_reference
from chains.statements.statement import SLSA_V02, SLSA_V1, Statement
from chains.statements.vsa import SVR, VSA, Claims, read_svr, read_vsa
from chains.tekton.raw import text_at
from chains.text import excerpt
from chains.verify.criteria import Criteria
from chains.verify.evidence import OF_PROVENANCE, Examined, examine
from chains.verify.key_window import judge_window
from chains.verify.readings import Readings
from chains.verify.reasons import Reason, Result
from chains.verify.subject import NothingWanted
from chains.verify.verdict import Check
from signers.errors import FormatError
from signers.formats.dsse import MAX_ENVELOPE_BYTES
from signers.strict_json import parse_object
from storage.formats.digest import is_sha256
from storage.record import IN_TOTO_PAYLOAD_TYPE, Evidence

if TYPE_CHECKING:
    from chains.policy.opened import OpenedPolicy
    from chains.revocation.revocations import Revocations
    from storage.base import Store
    from storage.formats.reference import Image

NO_POLICY = "no_policy"
"""The reason of what no policy is for."""
_JUDGED = ("verdict", "signer", "reason", "detail", "times", "logged", "policy", "policy_digest")
_TOLD = 500
"""Characters that are kept of why something was not verified."""
_WRONG = frozenset({Result.FAIL, Result.ERROR})
_PROVENANCE = frozenset({SLSA_V1, SLSA_V02})


class Unindexable(Exception):  # noqa: N818 - not an error of ours: it is kept with its reason
    """Bytes about which nothing can be said: they are no statement about artifacts. The text says why."""


class PolicySigners(Protocol):
    """Policies as far as they say who may sign, see :class:`chains.index.upkeep.by_policy.PolicyTrust`."""

    def images_of(self, facts: Facts) -> tuple[tuple[Image, ...], str]:
        """Return the images that a statement is about, and the first subject that no policy is for."""

    def matching(self, images: Iterable[Image]) -> list[OpenedPolicy]:
        """Return the documents that are for one of the images, each once."""

    def criteria_of(self, opened: OpenedPolicy, predicate_type: str) -> list[Criteria]:
        """Return the criteria of each signer whose statements of this type count for a policy."""

    def answers(self, stores: Sequence[Store], now: datetime) -> PolicyAnswers:
        """Return what asks the policies about images."""


class PolicyAnswers(Protocol):
    """What policies say about images, see :class:`chains.index.upkeep.by_policy.Answers`."""

    async def judge(self, entries: Sequence[Entry]) -> None:
        """Let the policies decide about each entry whose signature counts."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Who is trusted, given once for an index: by criteria, or with ``criteria`` None by policies.

    ``told`` says the same as JSON, with whole keys, so that it can be compared. ``options`` are what the user
    gave, for an update.
    """

    criteria: Criteria | None
    told: Mapping[str, Any]
    options: Mapping[str, Any]
    revocations: Revocations | None = None
    policy: PolicySigners | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy lies: the SHA-256 of its bytes, its place in the store, and its form."""

    digest: bytes
    location: str
    form: str


@dataclass(slots=True)
class Entry:
    """One signed statement with its verdict. Copies of one statement have the same ``digest``.

    ``signer`` is empty unless it was verified, ``reason`` and ``detail`` are empty if it was. ``times`` are
    verified times with their authority, ``logged`` are indexes with their log. ``uid`` is that of the
    run that the statement names. Which run a store names is not read: nobody signed it.

    ``images`` is what policies are asked about, ``policy`` the name of the policy that gave the verdict, with
    the SHA-256 of its document; all empty in an index by criteria.
    """

    digest: bytes
    size: int
    facts: Facts
    verdict: Verdict
    signer: str
    reason: str
    detail: str
    finished: int
    uid: str
    report: Report | None = None
    provenance: Provenance | None = None
    summary: Claims | None = None
    created: int | None = None
    times: set[tuple[int, str]] = field(default_factory=set)
    logged: set[tuple[int, str]] = field(default_factory=set)
    places: list[Place] = field(default_factory=list)
    images: tuple[Image, ...] = ()
    policy: str = ""
    policy_digest: bytes = b""

    def join(self, other: Entry) -> Entry:
        """Return the better of two copies, with what both show. The order does not matter."""
        best, rest = sorted((self, other), key=_rank)
        return replace(
            best,
            times=best.times | (rest.times if rest.verdict is Verdict.VERIFIED else set()),
            logged=best.logged | (rest.logged if rest.verdict is Verdict.VERIFIED else set()),
            finished=best.finished or rest.finished,
            created=rest.created if best.created is None else best.created,
            places=[*best.places, *(one for one in rest.places if one not in best.places)],
        )


class _Anything(NothingWanted):
    """Any artifact: what a statement is about is indexed, not compared."""

    def is_image(self, sha256: str) -> bool:
        del sha256
        return True


_ANYTHING = _Anything()


class Reader:
    """Reads the evidence of one part of a store. ``now`` is when it is judged."""

    def __init__(self, trust: Trust, now: datetime) -> None:
        self._trust, self._now = trust, now
        self._readings = Readings()

    def read(self, evidence: Evidence, snapshot: bytes = b"") -> Entry:
        """Return what is indexed. ``snapshot`` is the run's record, if the store has it.

        Raises :class:`Unindexable`, and nothing else because of evidence.
        """
        try:
            return self._read(evidence, snapshot)
        except (FormatError, EvidenceError) as error:
            raise Unindexable(str(error)) from error
        except Unindexable:
            raise
        except Exception as error:
            raise Unindexable(f"unexpected {type(error).__name__}: {error}; please report it") from error

    def _read(self, evidence: Evidence, snapshot: bytes) -> Entry:
        criteria, examined = self._trust.criteria, None
        if criteria is not None:
            examined = self._examine(evidence, criteria, self._trust.revocations)
            is_changed = any(check.reason is Reason.DIGEST_MISMATCH for check in examined.checks)
        else:
            is_changed = evidence.digest != "sha256:" + hashlib.sha256(evidence.data).hexdigest()
        if is_changed:
            raise Unindexable("its bytes are not those of its digest")
        read = read_signed(evidence)
        if read is None:
            raise Unindexable("a signature over a file, which is about no artifact that has a digest")
        envelope = read.envelope
        statement: Statement | None = None
        if envelope is not None:
            if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE:
                kind = excerpt(envelope.payload_type, 96)
                raise Unindexable(f"expected payload type {IN_TOTO_PAYLOAD_TYPE}, got {kind!r}")
            statement = self._readings.statement(envelope.payload)
            facts = read_facts(statement)
        else:
            facts = _signed_facts(evidence)
        signatures = sorted(one.sig for one in read.signing.signatures)
        identity = hashlib.sha256(hashlib.sha256(read.signing.data).digest())
        for signature in signatures:
            identity.update(hashlib.sha256(signature).digest())
        entry = Entry(
            digest=identity.digest(),
            size=len(read.signing.data),
            facts=facts,
            verdict=Verdict.VERIFIED,
            signer="",
            reason="",
            detail="",
            finished=max(seconds_of(facts.stated or moment_of(evidence.created)) or 0, 0),
            uid=facts.run_uid,
            places=[place_of(evidence)],
        )
        if criteria is not None and examined is not None:
            self._judged(entry, examined, criteria)
        elif self._trust.policy is not None:
            self._judge_by_policy(entry, evidence, self._trust.policy)
        if statement is not None:
            entry.report = read_report(statement)
            entry.provenance = read_provenance(statement, facts)
            entry.summary = _summary(statement)
        if entry.report is not None and snapshot:
            entry.created = _created(snapshot, entry.report.snapshot)
        return entry

    def _judge_by_policy(self, entry: Entry, evidence: Evidence, policy: PolicySigners) -> None:
        """Write the verdict on the signature: it must count for every policy that is for a subject.

        What the policies decide about the images is asked later, see
        :class:`chains.index.upkeep.by_policy.Answers`.
        """
        images, unmatched = policy.images_of(entry.facts)
        if unmatched:
            entry.verdict, entry.reason = Verdict.NOT_JUDGED, NO_POLICY
            entry.detail = excerpt(f"no policy is for {unmatched}", _TOLD)
            return
        worst: Entry | None = None
        for opened in policy.matching(images):
            tried = [
                self._judged(replace(entry), self._examine(evidence, criteria, opened.revocations), criteria)
                for criteria in policy.criteria_of(opened, entry.facts.predicate_type)
            ]
            best = min(tried, key=_rank, default=None)
            if best is None:
                best = replace(entry, verdict=Verdict.FAILED, reason=Reason.KEY_UNKNOWN.value)
                best.detail = f"policy {opened.policy.name} names no signer of such statements"
            best.policy, best.policy_digest = opened.policy.name, digest_of(opened.policy.digest)
            worst = best if worst is None else max(worst, best, key=_rank)
        if worst is not None:
            for name in _JUDGED:
                setattr(entry, name, getattr(worst, name))
        entry.images = images

    def _examine(self, evidence: Evidence, criteria: Criteria, revocations: Revocations | None) -> Examined:
        examined = examine(
            evidence, criteria, _ANYTHING, now=self._now, is_alone=True, readings=self._readings
        )
        examined = judge_window(examined, criteria, self._now)
        if revocations is not None and revocations.is_configured:
            from chains.verify.revoked import judge_revocation  # noqa: PLC0415 - needed with a list alone

            examined = judge_revocation(examined, revocations, _ANYTHING)
        return examined

    def _judged(self, entry: Entry, examined: Examined, criteria: Criteria) -> Entry:
        """Write the verdict, that of the first check that did not pass, and return the entry."""
        failed = _failed(examined, entry.facts.predicate_type, criteria)
        signed_by = examined.signed_by
        if failed is None and signed_by is not None:
            entry.signer = signed_by.name
            entry.times = {(int(one.moment.timestamp()), one.uri) for one in signed_by.times}
            entry.logged = {(one.index, one.url) for one in signed_by.entries}
            return entry
        is_undecided = failed is not None and failed.result is Result.ERROR
        entry.verdict = Verdict.INDETERMINATE if is_undecided else Verdict.FAILED
        if failed is None:
            entry.reason, entry.detail = Reason.KEY_UNKNOWN.value, "nobody trusted signed it"
            return entry
        entry.reason = failed.reason.value if failed.reason else failed.id
        entry.detail = excerpt(f"expected {failed.expected}, got {failed.actual}", _TOLD)
        return entry


def _rank(entry: Entry) -> tuple[Verdict, str, str]:
    return entry.verdict, entry.reason, entry.detail


def digest_of(text: str) -> bytes:
    """Return the bytes of ``sha256:HEX``."""
    return bytes.fromhex(text.removeprefix("sha256:"))


def _failed(examined: Examined, predicate_type: str, criteria: Criteria) -> Check | None:
    """Return the first check that did not pass.

    What is demanded of provenance is not demanded of other statements, and any type is indexed.
    """
    ignored = OF_PROVENANCE if predicate_type not in _PROVENANCE else {"predicate-type"}
    if criteria.predicate_types:
        ignored = ignored - {"predicate-type"}
    return next(
        (check for check in examined.checks if check.result in _WRONG and check.id not in ignored), None
    )


def _signed_facts(evidence: Evidence) -> Facts:
    payload = parse_object(evidence.data, "payload", MAX_ENVELOPE_BYTES)
    digest = signed_image(payload, kind=KIND)
    if not is_sha256(digest):
        raise FormatError(f"payload: expected an image's sha256 digest, got {digest[:96]!r}")
    return Facts(COSIGN_SIGN, (Product(signed_reference(payload), (digest,)),))


def place_of(evidence: Evidence) -> Place:
    """Return where a piece of evidence lies.

    Several signatures of one payload lie at one place: the digest of the signature then tells them apart.
    """
    location = evidence.location
    if evidence.signature:
        location += f"{SIGNATURE}{hashlib.sha256(evidence.signature).hexdigest()}"
    return Place(bytes.fromhex(evidence.digest.removeprefix("sha256:")), location, evidence.format)


def _summary(statement: Statement) -> Claims | None:
    """Return the result that a statement states, None for another type and for one that is malformed."""
    read = {VSA: read_vsa, SVR: read_svr}.get(statement.predicate_type)
    if read is None:
        return None
    try:
        return read(statement)
    except EvidenceError:
        return None


def _created(snapshot: bytes, digest: str) -> int | None:
    """Return when a run was created according to its own record, if its report has the record's digest."""
    if hashlib.sha256(snapshot).hexdigest() != digest:
        return None
    document = parse_object(snapshot, "run", len(snapshot))
    items = document.get("items")
    run = items[0] if isinstance(items, list) and items else document
    return seconds_of(moment_of(text_at(run, "metadata", "creationTimestamp")))
