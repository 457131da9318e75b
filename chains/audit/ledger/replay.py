"""Goes through the entries of a log again: tree, order of times, and bookkeeping, day by day."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from chains.audit.ledger.book import Book
from chains.audit.ledger.entries import Ended, Entry, EntryKind, RunEntry, parse_moment
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import ENTRIES, OPEN, LogFolder
from chains.audit.ledger.lines import LONGEST_LINE, parse_entry, write_entry
from chains.audit.ledger.merkle import Frontier, leaf_hash
from chains.audit.ledger.statement import DayStatement, Head

ONE_DAY = timedelta(days=1)
WATCHED, LISTED = "watch", "list"
"""The sources of the population: runs that the watch reported first, and runs that were there already."""


@dataclass(slots=True)
class Position:
    """Where a log has come to: its tree, its books, and the time of its last entry."""

    frontier: Frontier = field(default_factory=Frontier)
    book: Book = field(default_factory=Book)
    last: datetime | None = None
    sources: dict[str, int] = field(default_factory=lambda: {WATCHED: 0, LISTED: 0})
    has_ended: bool = False
    """Whether its last entry says that other logs go on for it: nothing may follow."""

    def head(self) -> Head:
        """Return size and root of the tree."""
        return Head(self.frontier.size, self.frontier.root().hex())

    def apply(self, entry: Entry, line: bytes) -> None:
        """Go on by one entry, whose line has no line break. Raises :class:`LedgerError`."""
        if self.has_ended:
            raise LedgerError(f"a {entry.kind} entry follows the end of the log")
        if self.last is not None and entry.at < self.last:
            raise LedgerError(f"an entry of {entry.at.isoformat()} follows one of {self.last.isoformat()}")
        self.book.apply(entry)
        self.frontier.append(leaf_hash(line))
        self.last = entry.at
        self.has_ended = isinstance(entry, Ended)
        if isinstance(entry, RunEntry) and entry.kind == EntryKind.SEEN:
            self.sources[LISTED if entry.is_late else WATCHED] += 1

    def begin_day(self) -> None:
        """Begin the counts of another day."""
        self.book.begin_day()
        self.sources = {WATCHED: 0, LISTED: 0}


@dataclass(frozen=True, slots=True)
class Replayed:
    """The digest of a day's file, and how many bytes of it are whole lines."""

    digest: str
    whole: int
    torn: int
    """Bytes of a last line without line break."""


def replay_day(
    lines: Iterable[bytes],
    day: date,
    position: Position,
    each: Callable[[Entry, bytes], None] = lambda _entry, _line: None,
) -> Replayed:
    """Go through the lines of a day, from the position at its beginning.

    ``each`` gets every entry and its line. Raises :class:`LedgerError` for a line that is no entry, is of
    another day or time, or contradicts those before it.
    """
    digest, whole = hashlib.sha256(), 0
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            if len(line) > LONGEST_LINE:
                raise LedgerError(f"line {number}: it is longer than {LONGEST_LINE} bytes")
            return Replayed(digest.hexdigest(), whole, len(line))
        digest.update(line)
        whole += len(line)
        content = line[:-1]
        try:
            entry = parse_entry(content)
            _expect_day(entry, day)
            position.apply(entry, content)
        except LedgerError as error:
            raise LedgerError(f"line {number}: {error}") from error
        each(entry, content)
    return Replayed(digest.hexdigest(), whole, 0)


def _expect_day(entry: Entry, day: date) -> None:
    if entry.at.date() != day:
        raise LedgerError(f"an entry of {entry.at.isoformat()} is in the file of another day")


def open_lines(book: Book) -> bytes:
    """Return the file of the runs that are open or pending."""
    return b"".join(write_entry(entry) + b"\n" for entry in book.lines())


def position_of(log: LogFolder, closed: DayStatement | None) -> Position:
    """Return where a log has come to; ``closed`` is the statement of its last closed day.

    Raises :class:`LedgerError` for a log that cannot be continued.
    """
    position = resume(log, closed) if closed is not None else Position()
    for day in log.days():
        if closed is not None and day <= closed.day:
            continue
        position.begin_day()
        try:
            replay_day(log.lines(day), day, position)
        except LedgerError as error:
            raise LedgerError(f"{log.file(day, ENTRIES)}: {error}") from error
    return position


def resume(log: LogFolder, statement: DayStatement) -> Position:
    """Return the position at the end of a closed day, from its statement and its file of open runs.

    Raises :class:`LedgerError` if they do not fit.
    """
    digest, book = hashlib.sha256(), Book()
    for line in log.lines(statement.day, OPEN):
        digest.update(line)
        book.apply(parse_entry(line.removesuffix(b"\n")))
    if digest.hexdigest() != statement.open_digest:
        raise LedgerError(
            f"{log.file(statement.day, OPEN)}: expected sha256:{statement.open_digest}, got "
            f"sha256:{digest.hexdigest()}: it was changed since it was signed"
        )
    try:
        frontier = Frontier(statement.after.size, map(bytes.fromhex, statement.frontier))
    except ValueError as error:
        raise LedgerError(f"the statement of {statement.day.isoformat()}: {error}") from error
    if frontier.root().hex() != statement.after.root:
        raise LedgerError(f"the statement of {statement.day.isoformat()}: its frontier has another root")
    position = Position(frontier, book, parse_moment(statement.last) if statement.last else None)
    position.has_ended = EntryKind.ENDED in statement.counts
    position.begin_day()
    return position
