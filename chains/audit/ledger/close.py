"""Closes a day: reads it again from its files, signs what it says, and writes statement and checkpoint.

The statement is made from the files alone, not from what the writer remembers, so closing is also a check of
the writer. A day is closed after the day before it. A closed day is never closed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256

from chains.audit.ledger.book import adds_up
from chains.audit.ledger.checkpoint import sign_checkpoint
from chains.audit.ledger.entries import Ended, moment
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import BUNDLE, CHECKPOINT, ENTRIES, OPEN, LogFolder
from chains.audit.ledger.lines import parse_entry
from chains.audit.ledger.replay import ONE_DAY, Position, open_lines, replay_day, resume
from chains.audit.ledger.statement import DayStatement, Head
from signers.errors import SignerError
from signers.formats.bundle import Bundle
from signers.formats.dsse import Envelope
from signers.sealer import Sealed, Sealer
from storage.durable import replace_file
from storage.record import IN_TOTO_PAYLOAD_TYPE

Written = Callable[[date], Head | None]
"""Returns the head of the log at the end of a day, None if the day has no entry."""


def envelope_digest(envelope: Envelope) -> str:
    """Return the digest by which the next day names this one."""
    return sha256(envelope.to_bytes()).hexdigest()


def read_bundle(log: LogFolder, day: date) -> tuple[Bundle, DayStatement]:
    """Return the bundle of a closed day and its statement, not verified. Raises :class:`LedgerError`."""
    path = log.file(day, BUNDLE)
    try:
        bundle = Bundle.from_bytes(log.read(day, BUNDLE))
        if bundle.envelope.payload_type != IN_TOTO_PAYLOAD_TYPE:
            raise LedgerError(f"{path}: its payload is no in-toto statement")
        statement = DayStatement.from_bytes(bundle.envelope.payload)
    except SignerError as error:
        raise LedgerError(f"{path}: {error}") from error
    if statement.day != day:
        raise LedgerError(f"{path}: its statement is about {statement.day.isoformat()}")
    return bundle, statement


def last_closed(log: LogFolder) -> DayStatement | None:
    """Return the statement of the last closed day, None if no day is closed. Raises :class:`LedgerError`."""
    for day in reversed(log.days()):
        if log.is_closed(day):
            return read_bundle(log, day)[1]
    return None


def end_of(log: LogFolder) -> Ended | None:
    """Return the entry that ends a log, None if the log goes on. Raises :class:`LedgerError`."""
    for day in reversed(log.days()):
        if line := log.last_line(day):
            # most entries are about runs: only one that can be an end is parsed
            entry = parse_entry(line) if b'"ended"' in line else None
            return entry if isinstance(entry, Ended) else None
    return None


def due_days(log: LogFolder, today: date) -> Iterator[date]:
    """Yield the days before ``today`` that are to be closed, in order, days without entries too."""
    days = log.days()
    closed = [day for day in days if log.is_closed(day)]
    if not days:
        return
    day = closed[-1] + ONE_DAY if closed else days[0]
    if end_of(log) is not None:  # it has no days after its last entry
        today = min(today, days[-1] + ONE_DAY)
    while day < today:
        yield day
        day += ONE_DAY


@dataclass(frozen=True, slots=True)
class SealedDay:
    """A day that is signed and not written yet: it is closed when :meth:`write` returns."""

    statement: DayStatement
    sealed: Sealed
    opened: bytes
    checkpoint: bytes

    def write(self, log: LogFolder) -> None:
        """Write the files that close the day. Raises :class:`LedgerError`, :class:`OSError`.

        Only the writer of the log may do this: two processes that close one day make two histories.
        """
        day = self.statement.day
        _check_open(log, day)
        if not log.file(day, ENTRIES).exists():
            replace_file(log.file(day, ENTRIES), b"", fsync=True)
        replace_file(log.file(day, OPEN), self.opened, fsync=True)
        replace_file(log.file(day, CHECKPOINT), self.checkpoint, fsync=True)
        # last: a day is closed if it has a bundle
        replace_file(log.file(day, BUNDLE), self.sealed.bundle, fsync=True)


def close_day(
    log: LogFolder, day: date, sealer: Sealer, now: datetime, *, transparency: bool = False
) -> tuple[DayStatement, Sealed]:
    """Close a day that is over, and return its statement and its seal.

    With ``transparency`` the seal gets an entry in the sealer's log, if it has one. Raises
    :class:`LedgerError`, :class:`OSError`, and what the sealer raises.
    """
    made = seal_day(log, day, sealer, now, transparency=transparency)
    made.write(log)
    return made.statement, made.sealed


def seal_day(
    log: LogFolder,
    day: date,
    sealer: Sealer,
    now: datetime,
    *,
    transparency: bool = False,
    written: Written | None = None,
) -> SealedDay:
    """Sign a day that is over, and write nothing yet: the sealer may take its time.

    ``written`` returns the head at the end of the day as its writer knows it: entries that somebody else
    changed, added or removed meanwhile are not signed. Raises what :func:`close_day` raises.
    """
    _check_open(log, day)
    if day >= now.astimezone(UTC).date():
        raise LedgerError(f"{day.isoformat()} is not over: it cannot be closed")
    position, previous = _beginning(log, day)
    before = position.head()
    found = replay_day(log.lines(day), day, position)
    if found.torn:
        raise LedgerError(f"{log.file(day, ENTRIES)}: its last line is not whole")
    if written is not None and (expected := written(day) or before) != position.head():
        raise LedgerError(
            f"{log.file(day, ENTRIES)}: somebody else changed it since it was written: expected "
            f"{expected.size} entries, root {expected.root}; got {position.head().size} entries, root "
            f"{position.head().root}: it is not signed; keep a copy of it and tell whoever audits"
        )
    balance = position.book.balance()
    if not adds_up(balance):
        raise LedgerError(f"{day.isoformat()}: the balance does not add up: {balance}; please report it")
    opened = open_lines(position.book)
    statement = DayStatement(
        log=log.origin(),
        day=day,
        closed=moment(now),
        before=before,
        after=position.head(),
        frontier=tuple(each.hex() for each in position.frontier.hashes),
        counts=dict(position.book.counts),
        sources=position.sources,
        balance=balance,
        last=moment(position.last) if position.last is not None else "",
        previous=previous,
        entries_digest=found.digest,
        open_digest=sha256(opened).hexdigest(),
    )
    sealed = sealer.seal_now(statement.to_bytes(), IN_TOTO_PAYLOAD_TYPE, log=transparency)
    note = sign_checkpoint(statement.log, statement.after.size, position.frontier.root(), sealer.signer)
    return SealedDay(statement, sealed, opened, note)


def _check_open(log: LogFolder, day: date) -> None:
    if log.is_closed(day):
        raise LedgerError(f"{log.file(day, BUNDLE)}: the day is closed already")


def _beginning(log: LogFolder, day: date) -> tuple[Position, str]:
    """Return the position at the beginning of a day, and the digest of the envelope of the day before."""
    earlier = [each for each in log.days() if each < day]
    if not earlier:
        return Position(), ""
    before = day - ONE_DAY
    if not log.is_closed(before):
        raise LedgerError(f"{before.isoformat()} is not closed: days are closed in order")
    bundle, statement = read_bundle(log, before)
    return resume(log, statement), envelope_digest(bundle.envelope)
