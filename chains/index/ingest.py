"""Reads stores into an index: every piece of evidence that the index does not have at that place yet.

Evidence is held only until it is written. What could not be read is kept with its reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from chains.index.codes import Verdict
from chains.index.reading import Entry, Place, Reader, Trust, Unindexable, place_of
from chains.index.target import Target
from chains.index.writer import Progress, Unread
from storage.errors import StoreError
from storage.parts import Part
from storage.record import Evidence, SkipKind
from storage.redacted_url import without_credentials

MOST_PIECES = 4000
"""Pieces of evidence in one transaction."""
MOST_BYTES = 32 * 1024 * 1024
"""Bytes of evidence in one transaction, about."""

Advance = Callable[[str, int, bool], None]
"""Called for each part of a store with the store's URL, how many parts it has, and whether something in the
part was not read."""


@dataclass(slots=True)
class Ingested:
    """What was read: pieces of evidence, those that were known, new statements by verdict.

    ``unread`` counts pieces that could not be read. ``failed`` are stores that could not be read to the end,
    with the reason; ``notes`` are about what stores cannot show.
    """

    pieces: int = 0
    known: int = 0
    new: Counter[Verdict] = field(default_factory=Counter)
    unread: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """Parts that wait to be written."""

    pieces: list[tuple[Evidence, bytes]] = field(default_factory=list)
    skipped: list[Unread] = field(default_factory=list)
    size: int = 0

    def add(self, part: Part) -> bool:
        """Add a part, and return whether something in it was not read."""
        found = part.findings
        self.pieces += [(one, found.snapshot) for one in found.evidence]
        self.size += sum(len(one.data) for one in found.evidence) + len(found.snapshot)
        missed = [one for one in found.skipped if one.kind is SkipKind.UNREADABLE]
        self.skipped += [Unread(one.location, one.digest, one.reason) for one in missed]
        return bool(missed)

    @property
    def is_full(self) -> bool:
        return len(self.pieces) >= MOST_PIECES or self.size >= MOST_BYTES


class Source(Protocol):
    """Where evidence comes from: a :class:`storage.base.Store`, or an export."""

    url: str
    unseen: str

    def scan_new(self, is_known: Callable[[str], bool]) -> AsyncIterator[Part]:
        """Yield what is not known, in parts; see :meth:`storage.base.Store.scan_new`."""


async def ingest(
    stores: Sequence[Source], target: Target, trust: Trust, now: datetime, advance: Advance
) -> Ingested:
    """Read all of the stores, one after the other. Raises :class:`IndexUnavailable`."""
    ingested = Ingested()
    for store in stores:
        if store.unseen:
            ingested.notes.append(f"{store.url} {store.unseen}")
        try:
            await _Scan(store, target, trust, now, ingested).run(advance)
        except StoreError as error:
            ingested.failed[store.url] = str(error)
    return ingested


class _Scan:
    """One store."""

    def __init__(
        self, store: Source, target: Target, trust: Trust, now: datetime, ingested: Ingested
    ) -> None:
        self._store, self._target, self._trust, self._now = store, target, trust, now
        self._ingested = ingested
        self._number = target.write(lambda writer: writer.store(without_credentials(store.url)))
        self._whole = target.write(lambda writer: writer.whole(self._number))
        self._total = self._read = 0

    def _is_whole(self, location: str) -> bool:
        return self._whole.has(
            location, lambda number, folder: self._target.write(lambda writer: writer.ends(number, folder))
        )

    async def run(self, advance: Advance) -> None:
        """Read all that is new."""
        batch = _Batch()
        try:
            async for part in self._store.scan_new(self._is_whole):
                is_bad = batch.add(part)
                self._total, self._read = part.total, self._read + 1
                advance(self._store.url, part.total, is_bad)
                if batch.is_full:
                    full, batch = batch, _Batch()
                    await asyncio.to_thread(self._flush, full)
        except StoreError:
            # what was read before is right
            await asyncio.to_thread(self._flush, batch)
            raise
        await asyncio.to_thread(self._flush, batch, is_last=True)

    def _flush(self, batch: _Batch, *, is_last: bool = False) -> None:
        ingested = self._ingested
        checked = int(self._now.timestamp())
        far = Progress(self._total, self._read, checked if is_last else None)
        entries, unread, n_known = self._entries(batch)
        new = self._target.write(lambda writer: writer.write(self._number, entries, unread, checked, far))
        ingested.pieces += len(batch.pieces)
        ingested.known += n_known
        ingested.unread += len(unread)
        ingested.new += new

    def _entries(self, batch: _Batch) -> tuple[list[Entry], list[Unread], int]:
        unread = list(batch.skipped)
        placed: list[tuple[Place, Evidence, bytes]] = []
        for evidence, snapshot in batch.pieces:
            try:
                placed.append((place_of(evidence), evidence, snapshot))
            except ValueError:
                unread.append(Unread(evidence.location, evidence.digest, "its digest is no SHA-256"))
        places = [place for place, _, _ in placed]
        known = self._target.write(lambda writer: writer.known(self._number, places))
        reader = Reader(self._trust, self._now)
        entries = []
        for place, evidence, snapshot in placed:
            if place in known:
                continue
            try:
                entries.append(reader.read(evidence, snapshot))
            except Unindexable as error:
                unread.append(Unread(evidence.location, evidence.digest, str(error)))
        return entries, unread, len(known)
