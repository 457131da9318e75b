"""Reads stores into a graph: every statement once, with who signed it, when, and what is looked for in it.

Bytes are not kept. Of each statement a few hundred bytes stay in memory, so that a hundred thousand of them
fit; what would not fit is left out, and said so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from sys import intern

from chains.errors import EvidenceError
from chains.lineage.graph import MOST_ARTIFACTS, MOST_ENDS, MOST_LINKS, Graph
from chains.lineage.signing import Judge, Match, Signed, SignedBytes, read_message, read_signed
from chains.lineage.statement_facts import Facts, Product, moment_of, read_facts
from chains.lineage.wanted import Kind, Wanted
from chains.statements.simple_signing import COSIGN_SIGN, KIND, signed_image, signed_reference
from chains.text import count, excerpt
from chains.verify.readings import Readings
from signers.errors import FormatError
from signers.formats.dsse import MAX_ENVELOPE_BYTES
from signers.strict_json import parse_object
from storage.base import Store
from storage.errors import StoreError
from storage.formats.digest import is_sha256
from storage.record import IN_TOTO_PAYLOAD_TYPE, Evidence, SkipKind, Skipped

_LONGEST = 2048
"""Characters that are kept of the name of a run; Kubernetes' own have 253."""
_KEPT = 4
"""Copies of a statement whose places are kept."""
_MOST_PROBLEMS = 1000
"""What could not be read is counted to the end; this many are kept to be shown."""

Advance = Callable[[str, int, bool], None]
"""Called for each part of a store with the store's URL, how many parts it has, and whether something in the
part was not read."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy of a statement lies, and the digest of its bytes."""

    store: str
    location: str
    digest: str


@dataclass(frozen=True, slots=True)
class Used:
    """An input of a statement: what it was for, its URI, and the number of the artifact."""

    role: str
    uri: str
    artifact: int


@dataclass(slots=True)
class Claim:
    """One statement: what is known about it besides what the graph has. Several copies are one claim.

    ``products`` are names and numbers of artifacts. ``moment`` is the earliest verified time, ``stated`` the
    time that the statement or the store states. ``found`` is what is looked for, by kind. ``inputs`` are kept
    on demand alone.
    """

    predicate_type: str
    run: str
    run_uid: str
    products: tuple[tuple[str, int], ...]
    signer: str
    moment: datetime | None
    stated: datetime | None
    found: dict[Kind, Match]
    places: list[Place]
    inputs: tuple[Used, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether its signature was verified, by somebody trusted or by a signer that is looked for."""
        return bool(self.signer)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read: a store, or a piece of evidence in one."""

    store: str
    location: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return the problem as it is printed."""
        return {"store": self.store, "location": self.location, "reason": self.reason}


@dataclass(slots=True)
class Collected:
    """All that was read. The claim of a link has the link's number.

    ``pieces`` counts the evidence, ``forged`` that which names a key that is looked for and has no signature
    of it. ``unread`` counts all ``problems``; only the first are kept. ``notes`` are about the stores.
    """

    graph: Graph = field(default_factory=Graph)
    claims: list[Claim] = field(default_factory=list)
    pieces: int = 0
    forged: int = 0
    unread: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether everything in the stores was read."""
        return not self.unread

    def tell(self, store: str, location: str, reason: str) -> None:
        """Count something that was not read, and keep it if it is one of the first."""
        self.unread += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(store, location, reason))


async def collect(
    stores: Sequence[Store], wanted: Wanted, judge: Judge, advance: Advance, *, keeps_inputs: bool = False
) -> Collected:
    """Return what the stores have, read one after the other. Never raises because of evidence or a store.

    ``keeps_inputs`` keeps what statements call their inputs; about 100 bytes for each.
    """
    collector = _Collector(wanted, judge, keeps_inputs=keeps_inputs)
    collected = collector.collected
    for store in stores:
        if store.unseen:
            collected.notes.append(f"{store.url} {store.unseen}")
        try:
            async for part in store.scan():
                before = collected.unread
                for evidence in part.findings.evidence:
                    collector.add(store.url, evidence)
                for item in part.findings.skipped:
                    collector.skip(store.url, item)
                advance(store.url, part.total, collected.unread > before)
        except StoreError as error:
            collected.tell(store.url, "", str(error))
        except Exception as error:  # noqa: BLE001 - one store, however broken, must not hide the others
            reason = f"unexpected {type(error).__name__}: {error}; please report it"
            collected.tell(store.url, "", reason)
    return collector.finish()


class _Collector:
    """Adds evidence piece by piece, each statement once."""

    def __init__(self, wanted: Wanted, judge: Judge, *, keeps_inputs: bool = False) -> None:
        self.collected = Collected()
        self._keeps_inputs = keeps_inputs
        self._wanted, self._judge = wanted, judge
        self._known: dict[bytes, int] = {}
        self._is_full = False
        self._messages, self._named = 0, list[str]()

    def skip(self, store: str, item: Skipped) -> None:
        """Tell what a store could not read, unless it is something else than evidence."""
        if item.kind is SkipKind.UNREADABLE:
            self.collected.tell(store, item.location or item.digest, item.reason)

    def add(self, store: str, evidence: Evidence) -> None:
        """Add one piece of evidence. Never raises because of it."""
        collected = self.collected
        collected.pieces += 1
        try:
            self._add(store, evidence)
        except (FormatError, EvidenceError) as error:
            collected.tell(store, evidence.location, str(error))
        except Exception as error:  # noqa: BLE001 - one piece of evidence must never hide the others
            reason = f"unexpected {type(error).__name__}: {error}; please report it"
            collected.tell(store, evidence.location, reason)

    def _add(self, store: str, evidence: Evidence) -> None:
        if evidence.digest != "sha256:" + hashlib.sha256(evidence.data).hexdigest():
            raise EvidenceError("its bytes are not those of its digest")
        read = read_signed(evidence)
        if read is None:
            self._add_message(evidence)
            return
        if read.envelope and read.envelope.payload_type != IN_TOTO_PAYLOAD_TYPE:
            return  # signed, but about no artifact that has a digest
        signed = self._judge.judge(read)
        self.collected.forged += signed.is_forged
        key = _identity(read)
        place = Place(store, evidence.location, evidence.digest)
        known = self._known.get(key)
        if known is None:
            facts = _facts(read, evidence)
            known = self._new(facts, evidence)
            if known is None:
                return
            self._known[key] = known
            self.collected.claims[known].found.update(self._wanted.match(facts))
        self._join(self.collected.claims[known], signed, evidence, place)

    def _add_message(self, evidence: Evidence) -> None:
        """Count a signature over a file, which names no artifact that can be followed."""
        if claimed := self._judge.claimed(read_message(evidence)):
            self._messages += 1
            if len(self._named) < _KEPT:
                self._named.append(excerpt(f"{claimed} at {evidence.location}"))

    def finish(self) -> Collected:
        """Return everything, with a note about what is signed and was not followed."""
        if self._messages:
            more = f" and {self._messages - _KEPT} more" if self._messages > _KEPT else ""
            told = f"{count(self._messages, 'signature')} over files, not followed: they claim to be by"
            self.collected.notes.append(f"{told} {'; '.join(self._named)}{more}; verify each with its file")
        return self.collected

    def _new(self, facts: Facts, evidence: Evidence) -> int | None:
        """Add a statement to the graph; None if there is no more room."""
        graph = self.collected.graph
        inputs = [digest for one in facts.inputs for digest in one.digests]
        products = [digest for one in facts.products for digest in one.digests]
        if not graph.has_room(len(inputs) + len(products)):
            if not self._is_full:
                limits = f"{MOST_LINKS} statements, {MOST_ARTIFACTS} artifacts or {MOST_ENDS} uses of them"
                self.collected.tell("", "", f"there are more than {limits}: the rest was left out")
            self._is_full = True
            return None
        origin = evidence.origin
        uid = facts.run_uid or (origin.uid[:_LONGEST] if origin else "")
        link = graph.add(inputs, products, uid, evidence.digest)
        self.collected.claims.append(
            Claim(
                predicate_type=intern(facts.predicate_type),
                run="",
                run_uid=uid,
                products=tuple((intern(one.name), graph.number(one.digests[0])) for one in facts.products),
                signer="",
                moment=None,
                stated=facts.stated,
                found={},
                places=[],
                inputs=tuple(self._used(facts)) if self._keeps_inputs else (),
            )
        )
        return link

    def _used(self, facts: Facts) -> Iterator[Used]:
        graph = self.collected.graph
        for one in facts.inputs:
            if one.digests:
                yield Used(one.role.value, intern(one.uri[:_LONGEST]), graph.number(one.digests[0]))

    def _join(self, claim: Claim, signed: Signed, evidence: Evidence, place: Place) -> None:
        """Add what one copy shows: who signed it, when, and where it lies."""
        for kind, match in self._wanted.match_signer(signed).items():
            if kind not in claim.found or claim.found[kind].is_claimed:
                claim.found[kind] = match
        claim.signer = claim.signer or intern(signed.signer)
        moments = [one for one in (claim.moment, signed.moment) if one is not None]
        claim.moment = min(moments, default=None)
        origin = evidence.origin
        if origin is not None:
            claim.run = claim.run or _run(origin.kind, origin.namespace, origin.name)
            claim.run_uid = claim.run_uid or origin.uid[:_LONGEST]
        claim.stated = claim.stated or moment_of(evidence.created)
        if len(claim.places) < _KEPT and place not in claim.places:
            claim.places.append(place)


def _run(kind: str, namespace: str, name: str) -> str:
    return intern(f"{kind}/{namespace}/{name}"[:_LONGEST]) if name else ""


def _identity(read: SignedBytes) -> bytes:
    """Return what the copies of a statement have in common: the signed bytes and the signatures."""
    parts = hashlib.sha256(hashlib.sha256(read.signing.data).digest())
    for signature in sorted(one.sig for one in read.signing.signatures):
        parts.update(hashlib.sha256(signature).digest())
    return parts.digest()


def _facts(read: SignedBytes, evidence: Evidence) -> Facts:
    """Return what the signed bytes say. Raises :class:`FormatError` or :class:`EvidenceError`."""
    if read.envelope is not None:
        return read_facts(Readings().statement(read.envelope.payload))
    payload = parse_object(evidence.data, "payload", MAX_ENVELOPE_BYTES)
    digest = signed_image(payload, kind=KIND)
    if not is_sha256(digest):
        raise FormatError(f"payload: expected an image's sha256 digest, got {digest[:96]!r}")
    return Facts(COSIGN_SIGN, (Product(signed_reference(payload), (digest,)),))
