"""Appends to the logs of this replica in a thread of its own: many facts become one write to the disk.

The thread takes whatever waits, writes it as one group, and then tells everybody who waits for a part of it.
So the event loop is never blocked by the disk, and the number of writes to the disk does not grow with the
number of runs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from chains.audit.ledger.entries import DECISIONS, Entry, EntryKind, RunEntry
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.succession import log_of
from chains.audit.ledger.writer import LogWriter, Standing, now
from chains.controller.ledger.records import SHARE as RECORDS_SHARE
from chains.controller.ledger.records import take_records
from chains.errors import ChainsError

MOST_AT_ONCE = 2000
"""Facts of one group."""
_PAUSE = 1.0
"""Seconds after a failure in which no other attempt is made, since each one reads the log again."""
_REST = 10.0
"""The pause after a failure, as a multiple of the processor time that the attempt took."""
_CLOSING = 5.0
"""Seconds that the end waits for the disk: the Leases are released even if a volume hangs."""
_BEAT = 600.0
"""Seconds between two heartbeats of a log."""
_log = logging.getLogger("chains.ledger")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the logs are, what they are called, and into how many shares the runs are divided."""

    folder: Path
    origin: str
    shares: int
    clock: Callable[[], datetime] = now
    name: str = ""
    """The name of the only log, if it is not that of a share."""

    def open(self, share: int) -> LogWriter:
        """Open the log of a share. Raises :class:`ChainsError`."""
        name = self.name or log_of(self.folder, share, self.shares).name
        return LogWriter(self.folder / name, f"{self.origin}/{name}", self.clock)


_Key = tuple[int, str, EntryKind]
"""A share, the UID of a run, and what is noted about it."""


@dataclass(frozen=True, slots=True)
class _Facts:
    share: int
    facts: tuple[Entry, ...]
    told: asyncio.Future[None] | None = None
    key: _Key | None = None


class Recorder:
    """The logs that this replica writes. Its methods belong to the event loop in which it is made."""

    def __init__(self) -> None:
        self.troubles: dict[int, str] = {}
        """Why the last group of a share could not be written, by share; a share whose was has none."""
        self.fault = ""
        """What failed last in the thread beside the writing of a share, empty if nothing did."""
        self.written = 0
        """How many facts were taken, whether they made an entry or not."""
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Facts | Callable[[], None] | None] = SimpleQueue()
        self._place: Place | None = None
        self._writers: dict[int, LogWriter] = {}
        self._beaten: dict[int, float] = {}
        self._retry_at: dict[int, float] = {}
        self._preface: tuple[Entry, ...] = ()
        self._lost: set[int] = set()
        """The shares that another replica has. One that is being handed over is ours until it is released."""
        self._noted: set[_Key] = set()
        """What waits in the queue and was noted."""
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why the ledger cannot be written, with the shares if there are several; empty if it can be."""
        told = dict.fromkeys(filter(None, (self.fault, *list(self.troubles.values()))))
        return "; ".join(told)

    @property
    def writers(self) -> Mapping[int, LogWriter]:
        """The open logs, by their share."""
        return self._writers

    def standing(self, share: int, uid: str) -> Standing:
        """Return what the log of a share knows of a run; empty also while the log is not open."""
        writer = self._writers.get(share)
        return writer.standing(uid) if writer is not None else ""

    def undecided(self, share: int) -> Iterator[RunEntry]:
        """Yield the ``seen`` entries of the runs of a share that are open or pending."""
        writer = self._writers.get(share)
        return writer.undecided() if writer is not None else iter(())

    def note(self, share: int, *facts: Entry) -> None:
        """Write facts soon. If they cannot be written, that is told as trouble, and they are found again.

        What waits already is not noted twice, so a disk that hangs does not let the queue grow with every
        event. Nothing is written of a share that is lost: its new holder does.
        """
        for fact in facts if share not in self._lost else ():
            key = None
            if isinstance(fact, RunEntry) and fact.kind not in DECISIONS:
                key = (share, fact.run.uid, fact.kind)
                if key in self._noted:
                    continue
                self._noted.add(key)
            self._queue.put(_Facts(share, (fact,), key=key))

    async def record(self, share: int, fact: Entry) -> None:
        """Write a fact, and return when it is on disk. Raises :class:`LedgerError`, also for a lost share."""
        if share in self._lost:
            raise LedgerError(
                f"share {share} was lost to another replica, whose ledger says what becomes of the run"
            )
        told: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(_Facts(share, (fact,), told))
        await told

    async def settle(self, work: Callable[[], None]) -> None:
        """Do ``work`` in the thread that writes, after everything that waits now, and return after it.

        Raises what it raises.
        """
        told: asyncio.Future[None] = self._loop.create_future()

        def do() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told to whoever waits
                self._tell([(told, error)])
            else:
                self._tell([(told, None)])

        self._queue.put(do)
        await told

    def move(self, place: Place | None, preface: Sequence[Entry]) -> None:
        """Write to another place from now on; ``preface`` begins each log, and comes now if it is news."""

        def move() -> None:
            if place != self._place:
                self._close_all()
                self._place = place
                self._retry_at.clear()
                self.troubles.clear()
            if tuple(preface) != self._preface:
                self._preface = tuple(preface)
                for share in list(self._writers):
                    try:
                        self._append(share, self._preface)
                    except LedgerError:
                        self._close(share)  # the preface is written when the log is opened again

        self._queue.put(move)

    def beat(self, shares: Iterable[int]) -> None:
        """Open the logs of these shares, write a heartbeat where none was for ten minutes, and take records.

        Disposition records come from the inbox into the log of the first share.
        """
        wanted = [share for share in shares if share not in self._lost]

        def beat() -> None:
            for share in wanted if self._place is not None else ():
                with suppress(LedgerError):
                    if share not in self._writers:
                        self._append(share, ())
                    if time.monotonic() >= self._beaten[share] + _BEAT:
                        self._append(share, self._writers[share].beat())
                        self._beaten[share] = time.monotonic()
                    if share == RECORDS_SHARE and self._place is not None:
                        take_records(self._place.folder, partial(self._append, share))

        self._queue.put(beat)

    def release(self, share: int) -> None:
        """Close the log of a share, which belongs to another replica now, until :meth:`regain`."""

        def release() -> None:
            self._close(share)
            self._retry_at.pop(share, None)
            self.troubles.pop(share, None)

        self._lost.add(share)
        self._queue.put(release)

    def regain(self, share: int) -> None:
        """Write the log of a share again that was released before."""
        self._lost.discard(share)

    async def close(self) -> None:
        """Write what waits, close all logs, and end the thread, which is left alone if the disk hangs."""
        self._queue.put(None)
        await asyncio.wait([self._ended], timeout=_CLOSING)
        if not self._ended.done():
            _log.error("the ledger was not closed: its disk does not answer", extra={"seconds": _CLOSING})

    def _run(self) -> None:
        while True:
            items = [self._queue.get()]
            with suppress(Empty):
                while len(items) < MOST_AT_ONCE:
                    items.append(self._queue.get_nowait())
            groups: dict[int, list[_Facts]] = {}
            for item in items:
                if isinstance(item, _Facts):
                    if item.key is not None:
                        self._noted.discard(item.key)
                    groups.setdefault(item.share, []).append(item)
                    continue
                self._write(groups)
                groups = {}
                if item is None:
                    self._close_all()
                    self._tell([(self._ended, None)])
                    return
                try:
                    item()
                    self.fault = ""
                except Exception as error:  # noqa: BLE001 - the thread goes on, else all wait for ever
                    _log.exception("the ledger could not be kept")
                    self.fault = str(error) or type(error).__name__
            self._write(groups)

    def _write(self, groups: Mapping[int, Sequence[_Facts]]) -> None:
        told: list[tuple[asyncio.Future[None], Exception | None]] = []
        for share, waiting in groups.items():
            facts = [fact for each in waiting for fact in each.facts]
            try:
                errors = iter(self._append(share, facts))
            except LedgerError as error:
                errors = iter([error] * len(facts))
            self.written += len(facts)
            for each in waiting:
                found = [one for one in [next(errors) for _ in each.facts] if one is not None]
                if each.told is not None:
                    told.append((each.told, found[0] if found else None))
        if told:
            self._tell(told)

    def _append(self, share: int, facts: Sequence[Entry]) -> Sequence[LedgerError | None]:
        if time.monotonic() < self._retry_at.get(share, 0.0):
            raise LedgerError(
                self.troubles.get(share) or f"the log of share {share} could not be written shortly before"
            )
        started = time.thread_time()
        try:
            writer = self._writers.get(share) or self._open(share)
            errors = writer.append(facts)
        except Exception as error:
            is_expected = isinstance(error, ChainsError)
            reason = str(error) if is_expected else f"{type(error).__name__}: {error}"
            if self.troubles.get(share) != reason:
                _log.error(
                    "the ledger cannot be written",
                    extra={"share": share, "reason": reason},
                    exc_info=None if is_expected else error,
                )
            self.troubles[share] = reason
            self._retry_at[share] = time.monotonic() + max(_PAUSE, _REST * (time.thread_time() - started))
            raise error if isinstance(error, LedgerError) else LedgerError(reason) from error
        if self.troubles.pop(share, ""):
            _log.info("the ledger can be written again", extra={"share": share})
        for one in filter(None, errors):
            _log.error("a fact is not in the ledger", extra={"share": share, "reason": str(one)})
        return errors

    def _open(self, share: int) -> LogWriter:
        if self._place is None:
            raise LedgerError("the configuration has no ledger")
        writer = self._place.open(share)
        try:
            writer.append(self._preface)
        except Exception:
            with suppress(LedgerError):  # why it cannot be written counts more
                writer.close(ends=False)
            raise
        self._writers[share] = writer
        self._beaten[share] = time.monotonic()
        return writer

    def _close(self, share: int) -> None:
        writer = self._writers.pop(share, None)
        if writer is not None:
            try:
                writer.close()
            except Exception as error:  # noqa: BLE001 - the others are closed, too
                _log.warning("the ledger was closed without a last entry", extra={"reason": str(error)})

    def _close_all(self) -> None:
        for share in list(self._writers):
            self._close(share)

    def _tell(self, told: Sequence[tuple[asyncio.Future[None], Exception | None]]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_settle, told)


def _settle(told: Sequence[tuple[asyncio.Future[None], Exception | None]]) -> None:
    for future, error in told:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
