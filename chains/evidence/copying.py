"""Copies evidence from one store into another. It is checked on the way; a copy can be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from chains.errors import InputError
from chains.evidence.records import regroup
from chains.evidence.retrieve import Found
from signers.keys.public_key import PublicKey
from storage.base import Store
from storage.files import read_file
from storage.record import Record, Skipped, Stored

AT_ONCE = 16
_SHOWN = 20
_MOST_JOURNAL = 256 << 20


@dataclass(slots=True)
class Counts:
    """The numbers of records that were ``copied``, ``unchanged`` or ``failed``, and of ``refused`` evidence.

    ``runs`` is how many runs were read. ``before`` were copied earlier, ``empty`` have no evidence.
    """

    runs: int = 0
    before: int = 0
    empty: int = 0
    copied: int = 0
    unchanged: int = 0
    failed: int = 0
    refused: int = 0
    reasons: list[Skipped] = field(default_factory=list)
    """The first reasons of failures and refusals."""

    @property
    def is_whole(self) -> bool:
        """Whether everything that was found is in the destination."""
        return not self.failed and not self.refused

    def tell(self, reason: Skipped) -> None:
        """Keep the reason if it is one of the first."""
        if len(self.reasons) < _SHOWN:
            self.reasons.append(reason)


class Journal:
    """The UIDs of runs that are in the destination for good, one per line. A later copy skips them."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._done: set[str] = set()
        if self._path is not None and self._path.exists():
            try:
                self._done = set(read_file(self._path, _MOST_JOURNAL).decode().splitlines())
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"journal {path}: cannot be read: {error}") from error

    def has(self, uid: str) -> bool:
        """Whether the run was copied before."""
        return uid in self._done

    def add(self, uids: Sequence[str]) -> None:
        """Write the UIDs of runs that are done."""
        if self._path is None or not uids:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"{uid}\n" for uid in uids if uid and "\n" not in uid)


class Copying:
    """Copies what was found into ``destination``; ``bare`` takes records that have no bundle.

    With ``keys`` only evidence that one of them signed is copied.
    """

    def __init__(self, destination: Store, bare: Store, keys: Sequence[PublicKey], journal: Journal) -> None:
        self._destination, self._bare = destination, bare
        self._keys, self._journal = keys, journal
        self.counts = Counts()

    async def run(
        self, work: Sequence[Callable[[], AsyncIterator[Found]]], advance: Callable[[bool], None]
    ) -> Counts:
        """Run all of ``work``, several at once; each yields what was found about one run or subject.

        Runs are written to the journal after the destination flushed. Raises :class:`StoreError` if a store
        cannot be read or flushed. What was copied until then stays, and another copy continues from there.
        """
        waiting = iter(work)
        while batch := list(islice(waiting, AT_ONCE)):
            done = await asyncio.gather(
                *(self._one(source, advance) for source in batch), return_exceptions=True
            )
            await self._destination.flush()
            await self._bare.flush()
            self._journal.add([uid for uids in done if isinstance(uids, list) for uid in uids])
            for error in done:
                if isinstance(error, BaseException):
                    raise error
        return self.counts

    async def _one(
        self, source: Callable[[], AsyncIterator[Found]], advance: Callable[[bool], None]
    ) -> list[str]:
        whole = []
        ok = True
        async for found in source():
            ok = await self._copy(found) and ok
            if ok and found.run.origin.uid:
                whole.append(found.run.origin.uid)
        advance(not ok)
        return whole

    async def _copy(self, found: Found) -> bool:
        counts = self.counts
        counts.runs += 1
        regrouped = regroup(found.findings, self._keys, found.run)
        counts.refused += len(regrouped.refused)
        for reason in regrouped.refused:
            counts.tell(reason)
        if not regrouped.records and not regrouped.refused:
            counts.empty += 1
        stored = await asyncio.gather(*(self._put(record) for record in regrouped.records))
        for one in stored:
            for failure in one.failures:
                counts.tell(Skipped(found.what, failure.subject, failure.reason))
            if one.failures or not one.receipts:
                counts.failed += 1
                if not one.failures:
                    why = one.skipped[0].reason if one.skipped else "no subject that the destination can hold"
                    counts.tell(Skipped(found.what, "", why))
            elif any(receipt.changed for receipt in one.receipts):
                counts.copied += 1
            else:
                counts.unchanged += 1
        return not regrouped.refused and all(one.receipts and not one.failures for one in stored)

    async def _put(self, record: Record) -> Stored:
        return await (self._destination if record.bundle else self._bare).put(record)
