"""Goes through stores: what must be kept until when, what its lock really is, and what is gone.

Each piece of evidence is verified, its lock is read back from its store, and rules say what is demanded. The
answers go to a spool on disk, so memory does not grow with the number of pieces, except by their names.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from cachetools import FIFOCache

from chains.audit.retention.dispositions import Dispositions, is_disposition
from chains.audit.retention.facts import RunFacts, facts_of, predicate_of, read_run, subjects_of
from chains.audit.retention.format import Start
from chains.audit.retention.judge import (
    UNDECIDED,
    Code,
    Problem,
    State,
    problems_of,
    state_of,
)
from chains.audit.retention.rules import Demand, Facts, Rules
from chains.audit.reverify import Examined, examine
from chains.statements.statement import DISPOSITION
from chains.text import count, excerpt, rfc3339
from chains.verify.verifier import Verifier
from storage.base import Store
from storage.errors import StoreError
from storage.locks import LockState, ObjectLock, Protection
from storage.parts import Part
from storage.record import COSIGN_SIGN_PREDICATE, Evidence, Origin, SkipKind

PARTS_AT_ONCE = 16
"""Parts of a store that are judged at the same time."""
_RUNS = 1024
"""Runs whose facts are remembered."""
_LONGEST = 300
_NO_RUN = Origin("", "", "", "")
Advance = Callable[[str, int, bool], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """One piece of evidence: what is demanded, what its lock is, and what is wrong."""

    store: str
    location: str
    digest: str
    state: State
    predicate_type: str = ""
    run: Origin = _NO_RUN
    signer: str = ""
    demand: Demand = field(default_factory=Demand)
    locks: tuple[ObjectLock, ...] = ()
    problems: tuple[Problem, ...] = ()
    words: str = ""
    evidence: Evidence | None = field(default=None, repr=False, compare=False)
    """The piece itself, while it is in work; it is not kept."""
    subjects: tuple[str, ...] = ()
    """What it is about, ``algorithm:hex``."""
    signed_uid: str = ""
    """The UID of its run that somebody trusted signed; ``run`` is what the store says."""

    @property
    def is_wrong(self) -> bool:
        """Whether something is wrong with it, and not only unknown."""
        return any(one.code not in UNDECIDED for one in self.problems)


@dataclass(slots=True)
class Survey:
    """The answer about some stores. The pieces themselves went to whoever took them."""

    at: datetime
    rules: Rules
    stores: tuple[str, ...]
    protections: dict[str, Protection] = field(default_factory=dict)
    states: Counter[State] = field(default_factory=Counter)
    codes: Counter[Code] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """What could not be read or asked."""
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all is as demanded, 1 something is wrong, 3 there is nothing, 4 it could not be decided."""
        if any(self.codes[code] for code in Code if code not in UNDECIDED):
            return 1
        if self.problems or any(self.codes[code] for code in UNDECIDED):
            return 4
        return 0 if self.states.total() else 3

    @property
    def summary(self) -> list[str]:
        """The answer in sentences."""
        told = ", ".join(f"{self.states[state]:,} {state.value}" for state in State if self.states[state])
        lines = [
            f"{count(self.states.total(), 'piece')} of evidence at {rfc3339(self.at)}: {told or 'none'}."
        ]
        wrong = ", ".join(f"{self.codes[code]:,} {code.value}" for code in Code if self.codes[code])
        if wrong:
            lines.append(f"Wrong or not known: {wrong}.")
        return lines


@dataclass(frozen=True, slots=True)
class Receipt:
    """Evidence that was stored once, according to a source such as a ledger."""

    store: str
    location: str
    digest: str
    uid: str
    source: str


class Surveyor:
    """Asks stores about their evidence, by one verifier and one set of rules."""

    def __init__(self, verifier: Verifier, rules: Rules, dispositions: Dispositions, now: datetime) -> None:
        self._verifier, self._rules = verifier, rules
        self.now = now
        self._dispositions = dispositions
        self._runs: FIFOCache[tuple[str, str], RunFacts] = FIFOCache(_RUNS)
        self._seen: set[bytes] = set()

    async def survey(
        self,
        stores: Sequence[Store],
        take: Callable[[Kept], None],
        advance: Advance,
        receipts: Iterable[Receipt] = (),
    ) -> Survey:
        """Judge every piece of the stores, and what sources say was there.

        ``take`` gets each answer, in no fixed order; ``advance`` is called for each part of a store.
        """
        answer = Survey(self.now, self._rules, tuple(store.url for store in stores))

        def taken(kept: Kept) -> None:
            answer.states[kept.state] += 1
            answer.codes.update({problem.code for problem in kept.problems})
            take(kept)

        whole: set[str] = set()
        for store in stores:
            try:
                answer.protections[store.url] = await store.protection()
                async for kept, total in self.pieces(store):
                    for one in kept:
                        taken(one)
                    advance(store.url, total, any(one.is_wrong for one in kept))
                await self._gone_by_store(store, taken)
                whole.add(store.url)
            except StoreError as error:
                answer.problems.append(f"{store.url} cannot be read whole: {error}")
            if store.unseen:
                whole.discard(store.url)
                answer.problems.append(f"{store.url}: {store.unseen}")
        await self._gone_by_receipts(receipts, whole, answer, taken)
        answer.problems += self._dispositions.problems
        return answer

    async def pieces(self, store: Store) -> AsyncIterator[tuple[list[Kept], int]]:
        """Yield the answers for each part of a store, with the number of its parts.

        Raises :class:`StoreError` if the store cannot be read whole.
        """
        waiting: list[Part] = []
        async for part in store.scan():
            waiting.append(part)
            if len(waiting) == PARTS_AT_ONCE:
                for done in await self._all(store, waiting):
                    yield done, part.total
                waiting = []
        for done in await self._all(store, waiting):
            yield done, waiting[0].total

    async def _all(self, store: Store, parts: Sequence[Part]) -> list[list[Kept]]:
        return list(await asyncio.gather(*(self._part(store, part) for part in parts)))

    async def _part(self, store: Store, part: Part) -> list[Kept]:
        kept = [
            Kept(
                store.url, one.location, one.digest, State.UNDECIDED,
                problems=(Problem(Code.NOT_VERIFIED, excerpt(f"unreadable: {one.reason}", _LONGEST)),),
            )
            for one in part.findings.skipped
            if one.kind is not SkipKind.FOREIGN
        ]  # fmt: skip
        pieces = [
            examine(one, self._verifier, self.now)
            for one in part.findings.evidence
            if self._is_new(store, one)
        ]
        if type(store).scan is Store.scan:  # then a part is all evidence of a run
            for uid in {one.evidence.origin.uid for one in pieces if one.evidence.origin}:
                mine = [one for one in pieces if one.evidence.origin and one.evidence.origin.uid == uid]
                self._runs[store.url, uid] = read_run(uid, mine)
        return kept + list(await asyncio.gather(*(self.judge(store, one) for one in pieces)))

    def _is_new(self, store: Store, one: Evidence) -> bool:
        name = _name(store.url, one.location, one.digest, one.format, one.signature.hex())
        is_new = name not in self._seen
        self._seen |= {name, _place(store.url, one.location), _name(store.url, one.digest)}
        return is_new

    async def judge(self, store: Store, piece: Examined) -> Kept:
        """Return the answer for one piece. Raises :class:`StoreError` if its store does not answer."""
        evidence = piece.evidence
        run = evidence.origin or _NO_RUN
        if is_disposition(evidence):
            return await self._judge_disposition(store, evidence, run)
        if not piece.is_right:
            locks = await store.locks(evidence)
            words = excerpt(f"{piece.reason}: {piece.words}", _LONGEST)
            return Kept(
                store.url, evidence.location, evidence.digest, State.UNDECIDED, run=run, locks=locks,
                problems=(Problem(Code.NOT_VERIFIED, words),), evidence=evidence,
            )  # fmt: skip
        subjects = subjects_of(piece)
        locks = await store.locks(evidence, subjects)
        about = await self._run(store, run.uid, piece)
        if predicate_of(piece) == COSIGN_SIGN_PREDICATE and about.digests.isdisjoint(subjects):
            about = await self._image(store, subjects) or about
        facts = facts_of(piece, about, locks)
        demand = self._rules.demand(facts, self.now)
        signer = piece.attestation.signed_by if piece.attestation is not None else None
        return Kept(
            store.url,
            evidence.location,
            evidence.digest,
            state_of(demand, self.now),
            predicate_of(piece),
            run,
            signer.name if signer is not None else "",
            demand,
            locks,
            tuple(problems_of(demand, locks, self.now)),
            evidence=evidence,
            subjects=subjects,
            signed_uid=piece.attestation.run_uid if piece.attestation is not None else "",
        )

    async def _judge_disposition(self, store: Store, evidence: Evidence, run: Origin) -> Kept:
        """Return the answer for a disposition record, which is never disposed of itself."""
        locks, found = await store.locks(evidence), self._dispositions.read(evidence)
        made = Kept(
            store.url, evidence.location, evidence.digest, State.UNDECIDED, DISPOSITION, run, locks=locks,
            evidence=evidence,
        )  # fmt: skip
        if found is None:
            words = "a disposition record that no --disposition-key signed, or that does not count"
            return replace(made, problems=(Problem(Code.NOT_VERIFIED, words),))
        nothing: frozenset[str] = frozenset()
        facts = Facts(
            DISPOSITION, (), nothing, nothing, nothing, frozenset({evidence.digest}),
            {Start.FINISHED: found.record.decided, Start.SIGNED: found.record.decided},
        )  # fmt: skip
        demand = self._rules.demand(facts, self.now)
        state = state_of(demand, self.now)
        return replace(
            made,
            state=State.KEEP if state is State.DISPOSABLE else state,
            signer=found.signer,
            demand=demand,
            problems=tuple(problems_of(demand, locks, self.now)),
        )

    async def _run(self, store: Store, uid: str, piece: Examined) -> RunFacts:
        """Return what the run of a piece says. Where parts are no runs, its evidence is read for that."""
        if not uid:
            return read_run("", [piece])
        known = self._runs.get((store.url, uid))
        if known is None:
            found = (await store.find_run(uid)).evidence
            known = read_run(uid, [examine(one, self._verifier, self.now) for one in found] or [piece])
            self._runs[store.url, uid] = known
        return known

    async def _image(self, store: Store, subjects: Sequence[str]) -> RunFacts | None:
        """Return what all runs say that made an image, None if no evidence of such a run is left."""
        for subject in subjects:
            found = (await store.find(subject)).evidence
            facts = read_run(None, [examine(one, self._verifier, self.now) for one in found])
            if facts.ended is not None:
                return facts
        return None

    async def _gone_by_store(self, store: Store, taken: Callable[[Kept], None]) -> None:
        """Tell the evidence of which the store itself knows that it was deleted."""
        async for one in store.removed():
            if _place(store.url, one.location) in self._seen:
                continue
            when = f" at {rfc3339(one.at)}" if one.at is not None else ""
            words = f"it has a delete marker{when}; its versions before that are still there"
            receipt = Receipt(store.url, one.location, one.digest, one.uid, store.url)
            self._seen.add(_place(store.url, one.location))
            taken(await self._gone(receipt, words))

    async def _gone_by_receipts(
        self, receipts: Iterable[Receipt], whole: set[str], answer: Survey, taken: Callable[[Kept], None]
    ) -> None:
        others: Counter[str] = Counter()
        for one in receipts:
            if one.store not in whole:
                others[one.store] += 1
            elif not self._seen & {_place(one.store, one.location), _name(one.store, one.digest)}:
                self._seen.add(_place(one.store, one.location))
                taken(
                    await self._gone(
                        one, f"{one.source} says that it was stored, and the store does not have it"
                    )
                )
        for url, number in sorted(others.items()):
            told = count(number, "receipt")
            answer.notes.append(f"{told} of {excerpt(url, _LONGEST)} not compared: it was not read whole")

    async def _gone(self, one: Receipt, words: str) -> Kept:
        found = await self._dispositions.of_piece(one.store, one.digest, one.location, one.uid)
        run = Origin("", "", "", one.uid)
        if found is not None:
            return Kept(one.store, one.location, one.digest, State.DISPOSED, run=run, words=found.words)
        problem = Problem(Code.GONE, f"{words}, and no disposition record that counts says why")
        return Kept(
            one.store, one.location, one.digest, State.GONE, run=run, problems=(problem,), words=words
        )


def _name(*parts: str) -> bytes:
    """Return a short name of a location or digest in a store."""
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).digest()


def _place(store: str, location: str) -> bytes:
    """Return the name of a location, whichever way to a file it is."""
    return _name(store, "at", os.path.realpath(location) if store.startswith("file:") else location)


def weakest(locks: Sequence[ObjectLock]) -> ObjectLock | None:
    """Return the lock of the object that is protected least, of those that readers get; None without any."""
    current = [one for one in locks if one.is_current]
    order = {LockState.NONE: 0, LockState.UNKNOWN: 1, LockState.LOCKED: 2}
    return min(
        current,
        key=lambda one: (
            order[one.state],
            bool(one.mode),
            one.until.timestamp() if one.until else 0.0,
            bool(one.hold),
        ),
        default=None,
    )
