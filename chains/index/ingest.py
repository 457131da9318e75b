"""Reads stores into an index: every piece of evidence that the index does not have at that place yet.

Evidence is held only until it is written. What could not be read is kept with its reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from chains.index.codes import Verdict, digest_bytes
from chains.index.reading import Entry, Place, Reader, Trust, Unindexable, place_of
from chains.index.target import Target
from chains.index.upkeep.gone import GonePlace, Seen
from chains.index.upkeep.renewal import look_up, renew, repository_of
from chains.index.upkeep.shard import Shard
from chains.index.writer import Progress, Unread, Writer
from chains.verify.search import Query
from storage.base import Store
from storage.errors import StoreError
from storage.parts import Part
from storage.record import Evidence, SkipKind
from storage.redacted_url import without_credentials

MOST_PIECES = 4000
"""Pieces of evidence in one transaction."""
ALL = Shard()
MOST_BYTES = 32 * 1024 * 1024
"""Bytes of evidence in one transaction, about."""

Advance = Callable[[str, int, bool], None]
"""Called for each part of a store with the store's URL, how many parts it has, and whether something in the
part was not read."""


@dataclass(slots=True)
class Ingested:
    """What was read: pieces of evidence, those that were known, new statements by verdict.

    ``unread`` counts pieces that could not be read, ``removed`` statements that are in no store any more, and
    ``removed_copies`` places in which evidence lay. ``failed`` are stores that could not be read to the end,
    with the reason; ``notes`` are about what stores cannot show.
    """

    pieces: int = 0
    known: int = 0
    new: Counter[Verdict] = field(default_factory=Counter)
    unread: int = 0
    removed: int = 0
    removed_copies: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """Parts that wait to be written."""

    pieces: list[tuple[Evidence, bytes]] = field(default_factory=list)
    skipped: list[Unread] = field(default_factory=list)
    size: int = 0

    def add(self, part: Part, shard: Shard) -> bool:
        """Add what belongs to the shard of a part, and return whether something in it was not read."""
        found = part.findings
        evidence = [one for one in found.evidence if shard.has(one.location)]
        self.pieces += [(one, found.snapshot) for one in evidence]
        self.size += sum(len(one.data) for one in evidence) + len(found.snapshot)
        missed = [one for one in found.skipped if one.kind is SkipKind.UNREADABLE and shard.has(one.location)]
        self.skipped += [Unread(one.location, one.digest, one.reason) for one in missed]
        return bool(missed)

    @property
    def is_full(self) -> bool:
        return len(self.pieces) >= MOST_PIECES or self.size >= MOST_BYTES


Source = Store
"""Where evidence comes from: a store, or an export."""


async def ingest(
    stores: Sequence[Source],
    target: Target,
    trust: Trust,
    now: datetime,
    advance: Advance,
    shard: Shard = ALL,
) -> Ingested:
    """Read all of the stores, or a part of each, one after the other. Raises :class:`IndexUnavailable`."""
    work = _Work(stores, target, trust, now, shard)
    for store in stores:
        if store.unseen:
            work.ingested.notes.append(f"{store.url} {store.unseen}")
        try:
            await _Scan(store, work).run(advance)
        except StoreError as error:
            work.ingested.failed[store.url] = str(error)
    await work.finish()
    return work.ingested


@dataclass(frozen=True, slots=True)
class RunStored:
    """A run whose evidence was stored: its UID, and a digest and a place for each copy."""

    uid: str
    copies: tuple[tuple[str, str], ...] = ()

    def queries(self, store: Store) -> list[Query]:
        """Return what to ask a store about. A registry of one repository is asked if a copy lies there."""
        found: dict[Query, None] = {}
        own = repository_of(store.url) if store.url.startswith("oci://") else ""
        for digest, place in self.copies:
            repository = repository_of(place.partition("@")[0])
            if digest and (not own or own == repository):
                found[Query(digest, repository, is_optional=not own)] = None
        return list(found)


async def feed(
    runs: Sequence[RunStored], stores: Sequence[Source], target: Target, trust: Trust, now: datetime
) -> Ingested:
    """Read the evidence of runs into an index. Stores are asked for it, and are not read to the end.

    Raises :class:`IndexUnavailable`.
    """
    work = _Work(stores, target, trust, now)
    for store in stores:
        number = work.number(store)
        queries = [query for one in runs for query in one.queries(store)]
        pieces, problems = await look_up(store, dict.fromkeys(queries), [one.uid for one in runs])
        if problems:
            work.ingested.failed[store.url] = problems[0]
        entries, unread, n_known, _ = work.new_entries(number, pieces)
        await work.judge(entries)
        work.ingested.new += target.write(
            partial(Writer.add, number=number, entries=entries, checked=work.checked)
        )
        work.ingested.pieces += len(pieces)
        work.ingested.known += n_known
        work.ingested.unread += len(unread)
    await work.finish()
    return work.ingested


class _Work:
    """What the readings of several stores share."""

    def __init__(
        self,
        stores: Sequence[Source],
        target: Target,
        trust: Trust,
        now: datetime,
        shard: Shard = ALL,
    ) -> None:
        self.target, self.now, self.shard, self._trust = target, now, shard, trust
        self._stores = stores
        self.checked = int(now.timestamp())
        self.ingested = Ingested()
        self.last = target.write(lambda writer: writer.last())
        self.numbers: dict[int, Source] = {}
        self.gone: list[GonePlace] = []
        self._answers = None if trust.policy is None else trust.policy.answers(stores, now)
        self._asked: set[bytes] = set()

    def number(self, store: Source) -> int:
        """Return the id of a store."""
        number = self.target.write(lambda writer: writer.store(without_credentials(store.url)))
        self.numbers[number] = store
        return number

    async def judge(self, entries: Sequence[Entry]) -> None:
        """Ask the policies about what was read, and note what has to be asked again because of it."""
        if self._answers is None:
            return
        await self._answers.judge(entries)
        if self.last:
            self._asked |= {
                digest_bytes(one.digest.partition(":")[2]) for each in entries for one in each.images
            }

    async def finish(self) -> None:
        """Take out what is gone, and read again what depends on it. A store that failed removes nothing."""
        if not self.last:
            return
        others = self.target.write(lambda writer: writer.stores()) - self.numbers.keys()
        stale = (
            self.target.write(lambda writer: writer.about(self._asked, self.last)) if self._asked else set()
        )
        if not (self.gone or stale):
            return
        if self.ingested.failed or others:
            self.ingested.notes.append(
                "not all stores of the index were read: evidence that is gone stays in it until they are"
            )
            return
        renewed = await renew(
            self.numbers,
            self.target,
            self._read_again,
            self.gone,
            stale,
            self.checked,
            by_image=self._answers is not None,
        )
        self.ingested.removed, self.ingested.removed_copies = renewed.removed, renewed.copies
        if renewed.kept:
            why = "; ".join(list(renewed.problems)[:3])
            self.ingested.notes.append(f"{renewed.kept} statements stay as they were: {why}")

    async def _read_again(self, pieces: Sequence[tuple[Evidence, bytes]]) -> list[Entry]:
        entries, _ = await asyncio.to_thread(self.read, pieces)
        if self._answers is not None:
            await self._answers.judge(entries)
        return entries

    def read(self, pieces: Sequence[tuple[Evidence, bytes]]) -> tuple[list[Entry], list[Unread]]:
        """Return what pieces of evidence say, and those of which nothing can be said."""
        reader = Reader(self._trust, self.now)
        entries, unread = [], []
        for evidence, snapshot in pieces:
            try:
                entries.append(reader.read(evidence, snapshot))
            except (Unindexable, ValueError) as error:
                unread.append(Unread(evidence.location, evidence.digest, str(error)))
        return entries, unread

    def new_entries(
        self, number: int, pieces: Sequence[tuple[Evidence, bytes]]
    ) -> tuple[list[Entry], list[Unread], int, list[Place]]:
        """Return what the index does not have of pieces of a store, how many it has, and all their places."""
        placed: list[tuple[Place, Evidence, bytes]] = []
        unread: list[Unread] = []
        for evidence, snapshot in pieces:
            try:
                placed.append((place_of(evidence), evidence, snapshot))
            except ValueError:
                unread.append(Unread(evidence.location, evidence.digest, "its digest is no SHA-256"))
        places = [place for place, _, _ in placed]
        known = self.target.write(lambda writer: writer.known(number, places))
        entries, unindexable = self.read(
            [(evidence, snapshot) for place, evidence, snapshot in placed if place not in known]
        )
        return entries, unread + unindexable, len(known), places


class _Scan:
    """One store."""

    def __init__(self, store: Source, work: _Work) -> None:
        self._store, self._work, self._target = store, work, work.target
        self._ingested = work.ingested
        self._number = work.number(store)
        self._whole = self._target.write(lambda writer: writer.whole(self._number))
        self._was_unread = self._target.write(lambda writer: writer.unread(self._number))
        self._seen = Seen()
        self._total = self._read = 0

    def _is_known(self, location: str) -> bool:
        if not self._work.shard.has(location):
            return True  # another process reads it
        is_whole = self._is_whole(location)
        if is_whole:
            self._seen.whole(location)
        return is_whole

    def _is_whole(self, location: str) -> bool:
        return self._whole.has(
            location, lambda number, folder: self._target.write(lambda writer: writer.ends(number, folder))
        )

    async def run(self, advance: Advance) -> None:
        """Read all that is new, and note what is gone."""
        batch = _Batch()
        try:
            async for part in self._store.scan_new(self._is_known):
                is_bad = batch.add(part, self._work.shard)
                self._total, self._read = part.total, self._read + 1
                advance(self._store.url, part.total, is_bad)
                if batch.is_full:
                    full, batch = batch, _Batch()
                    await self._flush(full)
        except StoreError:
            # what was read before is right
            await self._flush(batch)
            raise
        await self._flush(batch, is_last=True)
        # who read a part alone does not know what is gone
        if self._work.last and not self._store.unseen and self._work.shard.is_all:
            found = self._target.write(lambda writer: writer.gone(self._number, self._seen, self._was_unread))
            self._work.gone += found

    async def _flush(self, batch: _Batch, *, is_last: bool = False) -> None:
        ingested, checked = self._ingested, self._work.checked
        is_end = is_last and self._work.shard.is_all  # several parts end together
        far = Progress(self._total, self._read, checked if is_end else None)
        entries, unread, n_known = await asyncio.to_thread(self._entries, batch)
        await self._work.judge(entries)
        new = await asyncio.to_thread(
            self._target.write, lambda writer: writer.write(self._number, entries, unread, checked, far)
        )
        ingested.pieces += len(batch.pieces)
        ingested.known += n_known
        ingested.unread += len(unread)
        ingested.new += new

    def _entries(self, batch: _Batch) -> tuple[list[Entry], list[Unread], int]:
        self._seen.skip(one.location for one in batch.skipped)
        entries, unread, n_known, places = self._work.new_entries(self._number, batch.pieces)
        if self._work.last:
            for place in places:
                self._seen.piece(place)
        return entries, batch.skipped + unread, n_known
