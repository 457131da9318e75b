"""Appends to a log: durable, in whole lines, by one process at a time, whenever that process is killed.

An entry is acknowledged when it is on disk. What a killed writer left of a line is cut off by the next one,
which says so in a ``gap`` entry; such a line was never acknowledged. If the disk is full or fails, nothing of
the group counts: the file is cut back to its last whole group, and the next call reads it again.

The clock may go back: times of entries never do, and the day of an entry is never before that of the last.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Literal

import orjson
from cachetools import FIFOCache

from chains.audit.ledger.close import last_closed
from chains.audit.ledger.entries import DECISIONS, Entry, EntryKind, GapEntry, Heartbeat, RunEntry
from chains.audit.ledger.errors import LedgerBusy, LedgerError
from chains.audit.ledger.folder import ENTRIES, LOCK, ORIGIN, LogFolder
from chains.audit.ledger.lines import parse_entry, write_entry
from chains.audit.ledger.replay import ONE_DAY, Position, replay_day, resume
from chains.audit.ledger.statement import Head
from chains.config.ledger import is_origin
from chains.errors import UsageError
from storage.durable import replace_file, sync_folder

MOST_DECIDED = 50_000
"""The most decided runs that are remembered, so that what is found again makes no second entry."""
Standing = Literal["", "open", "pending", "decided"]
"""What a log knows of a run."""
STOOD_STILL = timedelta(minutes=20)
"""Two heartbeats: without an entry for longer nobody watched."""
_SLACK = timedelta(seconds=1)
"""How far the clock may go back without an entry that says so."""


def now() -> datetime:
    """Return the time by the clock of this machine."""
    return datetime.now(UTC)


class LogWriter:
    """The writer of the log ``origin`` in ``folder``, which is made if it does not exist.

    Without ``goes_on`` it is opened to be ended and closed, and no gap is noted. Raises
    :class:`LedgerError` if another process writes it, if it has another name, or if it cannot be read;
    :class:`UsageError` for what is no name of a log. Its methods must not be called from two threads at a
    time; :meth:`standing` and :meth:`undecided` may.
    """

    def __init__(
        self, folder: Path, origin: str, clock: Callable[[], datetime] = now, *, goes_on: bool = True
    ) -> None:
        if not is_origin(origin):
            raise UsageError(
                f"{origin[:80]!r} is no name of a log: expected HOST/PATH of letters, digits, . _ -"
            )
        self.log = LogFolder(folder)
        self._clock, self._goes_on = clock, goes_on
        self._position = Position()
        self._day: date | None = None
        self._file = -1
        self._length = 0
        self._heads: dict[date, Head] = {}
        """The head at the end of each day that is not closed, as this process wrote or read it."""
        self._is_ready = False
        self._clock_went_back = False
        self._floor: datetime | None = None
        """The end of the last closed day, before which no entry can be."""
        self._decided: FIFOCache[str, bytes] = FIFOCache(MOST_DECIDED)
        with _in_words(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with _in_words(folder):
                self._hold(origin)
                self._open()
        except BaseException:
            with suppress(LedgerError):  # why it cannot be opened counts more
                self._release()
            raise

    @property
    def opened(self) -> int:
        """How many runs are open."""
        return len(self._position.book.opened)

    @property
    def pending(self) -> int:
        """How many finished runs are not decided."""
        return len(self._position.book.pending)

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return self._position.frontier.size

    def standing(self, uid: str) -> Standing:
        """Return what the log knows of a run; empty for one that is unknown, or was decided long ago."""
        book = self._position.book
        if uid in book.pending:
            return "pending"
        if uid in book.opened:
            return "open"
        return "decided" if uid in self._decided else ""

    def undecided(self) -> Iterator[RunEntry]:
        """Yield the ``seen`` entries of the runs that are open or pending."""
        book = self._position.book
        yield from list(book.opened.values())
        for seen, _ in list(book.pending.values()):
            yield seen

    def append(self, facts: Sequence[Entry]) -> list[LedgerError | None]:
        """Write facts as entries, with the time of now, and return when they are on disk.

        A fact that the log has already makes no entry, and one about a run that was never seen, or never
        finished, makes those entries first. Returns for each fact why it could not be written, or None.
        Raises :class:`LedgerError` if none could: the disk is full or fails.
        """
        with _in_words(self.log.path):
            if not self._is_ready:
                self._open()
            lines: list[bytes] = []
            self._is_ready = False  # until the group is on disk: else memory and file differ
            at = self._moment(lines)
            told = [self._stage(fact, at, lines) for fact in facts]
            if lines:
                self._write(b"".join(lines), at.date())
            self._is_ready = True
        return told

    def close(self, *, ends: bool = True) -> None:
        """Release the log; with ``ends`` a last heartbeat says that the writer ends in order.

        Raises :class:`LedgerError` for an error of the disk; the log is released then, too.
        """
        try:
            if ends and self._is_ready:
                self.append([self.heartbeat(ends=True)])
        finally:
            self._release()

    def end_day(self, day: date) -> None:
        """Write no more entries of a day, even if the clock goes back, so that it can be closed."""
        self._floor = datetime.combine(day + ONE_DAY, time(), UTC)
        for old in [one for one in self._heads if one < day]:
            del self._heads[old]  # it is closed: days are closed in order

    def head_of(self, day: date) -> Head | None:
        """Return the head at the end of a day that is not closed, None if the day has no entry.

        It is what this process wrote, or read when it opened the log, and not what is in the file now.
        """
        return self._heads.get(day)

    def beat(self) -> list[Entry]:
        """Return a sign of life to append, after a gap if there was none for longer than two heartbeats.

        That is so if the process or the machine stood still: nobody watched in that time.
        """
        alive, last = self.heartbeat(), self._position.last
        if last is None or alive.at - last <= STOOD_STILL:
            return [alive]
        reason = "the process stood still: no entry was written, not even a heartbeat"
        return [GapEntry(alive.at, last, alive.at, reason), alive]

    def heartbeat(self, *, ends: bool = False) -> Heartbeat:
        """Return a sign of life to append."""
        return Heartbeat(self._clock(), self.opened, self.pending, ends)

    def _hold(self, origin: str) -> None:
        path = self.log.path
        try:
            with _in_words(path / LOCK):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except LedgerError as error:
            if isinstance(error.__cause__, BlockingIOError):
                raise LedgerBusy(f"{path}: another process writes this ledger") from error
            raise  # such as a file system that has no locks
        if not (path / ORIGIN).exists():
            if self.log.days():
                raise LedgerError(f"{path}: it has days of a ledger, but no file {ORIGIN}")
            with _in_words(path):
                replace_file(path / ORIGIN, origin.encode() + b"\n", fsync=True)
        found = self.log.origin()
        if found != origin:
            raise LedgerError(
                f"{path}: it is the ledger of {found}, not of {origin}: a ledger keeps its name; "
                "choose another folder"
            )

    def _open(self) -> None:
        """Read where the log has come to, and mend its end."""
        self._close_file()
        closed = last_closed(self.log)
        position = resume(self.log, closed) if closed is not None else Position()
        if closed is not None:
            self.end_day(closed.day)
            for line in self.log.lines(closed.day):
                self._remember(parse_entry(line.removesuffix(b"\n")))
        torn, days = 0, self.log.days()
        self._day = days[-1] if days else None
        for day in days:
            if closed is not None and day <= closed.day:
                continue
            position.begin_day()
            try:
                found = replay_day(self.log.lines(day), day, position, lambda entry, _: self._remember(entry))
            except LedgerError as error:
                raise LedgerError(f"{self.log.file(day, ENTRIES)}: {error}") from error
            if found.torn:
                torn += found.torn
                os.truncate(self.log.file(day, ENTRIES), found.whole)
            if found.whole:
                self._heads[day] = position.head()
        self._position, self._is_ready = position, True
        if position.last is not None and self._goes_on and not position.has_ended:
            reason = "the ledger was not written"
            if torn:
                reason += f"; {torn} bytes of a line that was not acknowledged were cut off"
            at = max(self._clock(), position.last)
            self.append([GapEntry(at, position.last, at, reason)])

    def _remember(self, entry: Entry) -> None:
        if isinstance(entry, RunEntry) and entry.kind in DECISIONS:
            self._decided[entry.run.uid] = _gist(entry)

    def _moment(self, lines: list[bytes]) -> datetime:
        """Return the time of the next entries, and say so if the clock went back."""
        at, last = self._clock(), max(filter(None, (self._position.last, self._floor)), default=None)
        if last is None or at >= last:
            self._clock_went_back = False
            return at
        if at < last - _SLACK and not self._clock_went_back:
            self._clock_went_back = True
            reason = "the clock went back: until it comes to this time again, entries have this time"
            self._take(GapEntry(last, at, last, reason), lines)
        return last

    def _stage(self, fact: Entry, at: datetime, lines: list[bytes]) -> LedgerError | None:
        try:
            for entry in self._news(replace(fact, at=at)):
                self._take(entry, lines)
        except LedgerError as error:
            return error
        return None

    def _take(self, entry: Entry, lines: list[bytes]) -> None:
        line = write_entry(entry)
        self._position.apply(entry, line)
        lines.append(line + b"\n")
        self._remember(entry)

    def _news(self, fact: Entry) -> Iterator[Entry]:
        """Yield the entries that a fact makes, given what the log has."""
        if not isinstance(fact, RunEntry):
            yield fact
            return
        book, uid = self._position.book, fact.run.uid
        is_decided = uid in self._decided and uid not in book.opened and uid not in book.pending
        if fact.kind == EntryKind.REMOVED:
            if uid in book.opened or uid in book.pending:
                yield fact
            return
        if is_decided:
            if fact.kind in DECISIONS and self._decided[uid] != _gist(fact):
                yield fact
            return
        if uid not in book.opened and uid not in book.pending:
            yield replace(fact, kind=EntryKind.SEEN, completed="", succeeded=None, reason="", receipts=())
        if fact.kind != EntryKind.SEEN and uid in book.opened:
            yield replace(fact, kind=EntryKind.FINISHED, created="", reason="", receipts=())
        if fact.kind in DECISIONS:
            yield replace(fact, created="", completed="", succeeded=None)

    def _write(self, data: bytes, day: date) -> None:
        if self._day != day or self._file < 0:
            self._begin_day(day)
        try:
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, memoryview(data)[written:])
            os.fdatasync(self._file)
        except OSError:
            # not a part of a group stays; if this fails too, the next opening cuts what is no whole line
            os.ftruncate(self._file, self._length)
            raise
        self._length += len(data)
        self._heads[day] = self._position.head()

    def _begin_day(self, day: date) -> None:
        self._close_file()
        path = self.log.file(day, ENTRIES)
        if self.log.is_closed(day):
            raise LedgerError(f"{path}: the day is closed, and a closed day is never changed")
        is_new = not path.exists()
        self._file = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
        self._length = os.fstat(self._file).st_size
        if is_new:
            sync_folder(self.log.path)
        self._day = day

    def _close_file(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _release(self) -> None:
        self._is_ready = False
        lock, self._lock = self._lock, -1
        with _in_words(self.log.path):
            try:
                self._close_file()
            finally:
                if lock >= 0:
                    os.close(lock)


def _gist(entry: RunEntry) -> bytes:
    """Return what tells two decisions about a run apart."""
    receipts = [
        (one.payload, one.store, one.form, one.subject, one.location, one.digest) for one in entry.receipts
    ]
    return hashlib.sha256(orjson.dumps([entry.kind, entry.reason, receipts])).digest()[:8]


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    """Turn errors of the operating system into errors of the ledger."""
    try:
        yield
    except OSError as error:
        raise LedgerError(f"{error.filename or folder}: {error.strerror or error}") from error
