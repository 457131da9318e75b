"""Walks through one log and verifies each day.

Nothing is believed that is not recomputed: tree, counts, balance and open runs come from the entries, and the
signed statement has to say the same. What does not fit is a :class:`Finding`; the walk goes on with the next
day, so that one fault does not hide another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from hashlib import sha256
from typing import TYPE_CHECKING

from chains.audit.ledger.book import adds_up
from chains.audit.ledger.checkpoint import verify_checkpoint
from chains.audit.ledger.close import envelope_digest, read_bundle
from chains.audit.ledger.entries import Ended, Entry, EntryKind, Keys, Succeeds, moment
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import CHECKPOINT, COSIGNED, ENTRIES, LogFolder
from chains.audit.ledger.merkle import leaf_hash
from chains.audit.ledger.replay import ONE_DAY, Position, Replayed, open_lines, replay_day, resume
from chains.audit.ledger.seal import SKEW, Seal, verify_seal
from chains.audit.ledger.state import Finding, LedgerDay
from chains.audit.ledger.statement import DayStatement, Head
from signers.errors import SignerError
from signers.formats.bundle import Bundle
from signers.keys.keyset import ListedKey
from signers.sigstore.cosignature import WitnessKey, find_cosignatures
from signers.sigstore.transparency import Checkpoint

if TYPE_CHECKING:
    from signers.sigstore.trusted_root import TrustedRoot

_STATED = {
    "before": "the tree at its beginning",
    "after": "the tree at its end",
    "frontier": "the right edge of the tree",
    "counts": "the number of entries",
    "sources": "the sources of the population",
    "balance": "the balance of runs",
    "last": "the time of the last entry",
}
"""What a statement says that is recomputed: its fields, in words."""
_CODES = {"before": "chain", "counts": "counts", "sources": "counts", "balance": "balance"}


@dataclass(frozen=True, slots=True)
class Trusted:
    """By what a ledger is verified. Without keys no signature is, and no day counts as verified."""

    keys: Sequence[ListedKey]
    now: datetime
    root: TrustedRoot | None = None
    witnesses: Sequence[WitnessKey] = ()
    require_log: bool = False
    """Whether each day must have an entry of a transparency log of the trusted root."""
    require_timestamp: bool = False
    """Whether each day must have an RFC 3161 timestamp of the trusted root."""


@dataclass(slots=True)
class LogWalk:
    """What was found in one log."""

    log: LogFolder
    origin: str
    days: list[LedgerDay] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    """The leaf hashes of its entries, up to the first fault that hides some."""
    is_whole: bool = True
    """Whether ``leaves`` has every entry."""
    ended: Ended | None = None
    """Its last entry, if other logs go on for it."""
    links: list[Succeeds] = field(default_factory=list)
    """The logs for which it goes on."""
    run_signers: set[str] = field(default_factory=set)
    """The key ids that signed runs, according to ``keys`` entries."""

    def find(self, code: str, day: date | None, message: str) -> None:
        """Note that something is wrong."""
        self.findings.append(Finding(code, self.origin, day, message))


def walk_log(
    log: LogFolder, trusted: Trusted, each: Callable[[Entry, int], None] = lambda _entry, _index: None
) -> LogWalk:
    """Walk through a log; ``each`` gets every entry with its index. Raises :class:`LedgerError`.

    It is raised only for what keeps all of the log from being read.
    """
    walk = LogWalk(log, log.origin())
    days = log.days()
    closed = [day for day in days if log.is_closed(day)]
    position, previous, is_first = Position(), "", True
    for day in _calendar(days):
        position.begin_day()
        if closed and day <= closed[-1]:
            position, previous = _walk_closed(walk, trusted, day, position, previous, each, is_first=is_first)
        else:
            _walk_open(walk, day, position, each)
        is_first = False
    return walk


def _calendar(days: Sequence[date]) -> Iterator[date]:
    day = days[0] if days else date.max
    while days and day <= days[-1]:
        yield day
        day += ONE_DAY


def _replay(
    walk: LogWalk, day: date, position: Position, each: Callable[[Entry, int], None]
) -> Replayed | None:
    """Go through a day's entries; None after a finding that hides entries."""

    def take(entry: Entry, line: bytes) -> None:
        walk.leaves.append(leaf_hash(line))
        if isinstance(entry, Keys):
            walk.run_signers.update(entry.signers)
        elif isinstance(entry, Succeeds):
            walk.links.append(entry)
        elif isinstance(entry, Ended):
            walk.ended = entry
        each(entry, position.frontier.size - 1)

    try:
        return replay_day(walk.log.lines(day), day, position, take)
    except LedgerError as error:
        walk.find("entries", day, f"{day.isoformat()}{ENTRIES}: {error}")
        return None


def _walk_open(walk: LogWalk, day: date, position: Position, each: Callable[[Entry, int], None]) -> None:
    # a last line that is not whole is not wrong: it is being written, or its writer was killed before it
    # acknowledged it
    if _replay(walk, day, position, each) is None:
        walk.is_whole = False
    head = position.head()
    walk.days.append(_day(walk, day, head, position, is_closed=False))


def _walk_closed(
    walk: LogWalk,
    trusted: Trusted,
    day: date,
    position: Position,
    previous: str,
    each: Callable[[Entry, int], None],
    *,
    is_first: bool,
) -> tuple[Position, str]:
    """Verify one day that is closed, or has to be; return where the next one goes on."""
    before, faults = position.head(), len(walk.findings)
    if not walk.log.file(day, ENTRIES).exists():
        walk.find("day-missing", day, "it has no file of entries")
    found = _replay(walk, day, position, each)
    if not walk.log.is_closed(day):
        walk.find("day-missing", day, "it is not closed, and a later day is")
        walk.is_whole = walk.is_whole and found is not None
        walk.days.append(_day(walk, day, position.head(), position, is_closed=False))
        return position, ""
    try:
        bundle, statement = read_bundle(walk.log, day)
    except LedgerError as error:
        walk.find("statement", day, str(error))
        walk.is_whole = walk.is_whole and found is not None
        walk.days.append(_day(walk, day, position.head(), position, is_closed=True))
        return position, ""
    if statement.log != walk.origin:
        walk.find("statement", day, f"its statement is about the log {statement.log}")
    if statement.previous != previous:
        _find_break(walk, day, statement, previous, is_first=is_first)
    _compare(walk, day, statement, before, position, found)
    seal = _check_seal(walk, trusted, day, bundle, statement)
    _check_checkpoint(walk, trusted, day, statement)
    cosigned = _check_cosigned(walk, trusted, day)
    if len(walk.findings) > faults:
        position = _go_on(walk, statement, position)
    verified = seal is not None and len(walk.findings) == faults
    walk.days.append(
        _day(
            walk,
            day,
            position.head(),
            position,
            is_closed=True,
            verified=verified,
            seal=seal,
            said=statement,
            cosigned=cosigned,
        )
    )
    return position, envelope_digest(bundle.envelope)


def _find_break(walk: LogWalk, day: date, statement: DayStatement, previous: str, *, is_first: bool) -> None:
    if is_first:
        walk.find("day-missing", day, "it names a day before it, which is missing: the beginning was cut off")
    else:
        expected = f"sha256:{previous}" if previous else "none"
        got = f"sha256:{statement.previous}" if statement.previous else "none"
        walk.find(
            "chain", day, f"the envelope of the day before: expected {expected}, its statement has {got}"
        )


def _compare(
    walk: LogWalk,
    day: date,
    statement: DayStatement,
    before: Head,
    position: Position,
    found: Replayed | None,
) -> None:
    """Compare what a statement says with what its entries show."""
    end = datetime.combine(day + ONE_DAY, time(), UTC)
    if statement.closed_at < end:
        walk.find("time", day, f"it was closed at {statement.closed}, before it was over")
    if not adds_up(dict(statement.balance)):
        walk.find("balance", day, f"its balance does not add up: {dict(statement.balance)}")
    if found is None:
        return
    if found.torn:
        walk.find("entries", day, "its last line is not whole")
    if found.digest != statement.entries_digest:
        walk.find(
            "entries",
            day,
            f"{day.isoformat()}{ENTRIES}: expected sha256:{statement.entries_digest}, "
            f"got sha256:{found.digest}",
        )
    shown = {
        "before": before,
        "after": position.head(),
        "frontier": tuple(each.hex() for each in position.frontier.hashes),
        "counts": dict(position.book.counts),
        "sources": position.sources,
        "balance": position.book.balance(),
        "last": statement.last if position.last is None else moment(position.last),
    }
    for name, value in shown.items():
        said = getattr(statement, name)
        if said != value:
            code = _CODES.get(name, "tree")
            walk.find(code, day, f"{_STATED[name]}: its statement says {said}, its entries show {value}")
    digest = sha256(open_lines(position.book)).hexdigest()
    if digest != statement.open_digest:
        walk.find("balance", day, "its statement lists other open runs than its entries show")


def _check_seal(
    walk: LogWalk, trusted: Trusted, day: date, bundle: Bundle, statement: DayStatement
) -> Seal | None:
    if not trusted.keys:
        return None
    try:
        seal = verify_seal(bundle, trusted.keys, trusted.now, trusted.root)
    except SignerError as error:
        walk.find("signature", day, str(error))
        return None
    for lacking in seal.lacks(log=trusted.require_log, timestamp=trusted.require_timestamp):
        walk.find("signature", day, lacking)
    if seal.keyid in walk.run_signers:
        walk.find(
            "key", day, f"it is signed by {seal.keyid}, which signs runs, too: its own key was expected"
        )
    if early := seal.too_early(datetime.combine(day + ONE_DAY, time(), UTC), statement.closed_at):
        walk.find("time", day, early)
    return seal


def _check_checkpoint(walk: LogWalk, trusted: Trusted, day: date, statement: DayStatement) -> None:
    try:
        note = walk.log.read(day, CHECKPOINT)
        if not trusted.keys:
            return
        found = verify_checkpoint(note, [one.key for one in trusted.keys])
    except (LedgerError, SignerError) as error:
        walk.find("checkpoint", day, str(error))
        return
    said = (walk.origin, statement.after.size, statement.after.root)
    if (found.origin, found.size, found.root_hash.hex()) != said:
        walk.find("checkpoint", day, "its checkpoint has another head than its statement")


def _check_cosigned(walk: LogWalk, trusted: Trusted, day: date) -> Mapping[str, datetime]:
    """Return which of the witnesses signed the checkpoint of a day, and when."""
    if not trusted.witnesses or not walk.log.file(day, COSIGNED).exists():
        return {}
    try:
        note = walk.log.read(day, COSIGNED)
        if not note.startswith(walk.log.read(day, CHECKPOINT)):
            walk.find("witness", day, "what witnesses signed is not its checkpoint")
            return {}
        return find_cosignatures(Checkpoint.from_note(note.decode()), trusted.witnesses, trusted.now + SKEW)
    except (LedgerError, SignerError, UnicodeDecodeError) as error:
        walk.find("witness", day, str(error))
        return {}


def _go_on(walk: LogWalk, statement: DayStatement, position: Position) -> Position:
    """Return where the day after a faulty one goes on: where its statement says that it ended."""
    if position.head() == statement.after:
        return position
    walk.is_whole = False
    try:
        return resume(walk.log, statement)
    except LedgerError as error:
        walk.find("open-runs", statement.day, str(error))
        return position


def _day(
    walk: LogWalk,
    day: date,
    head: Head,
    position: Position,
    *,
    is_closed: bool,
    verified: bool = False,
    seal: Seal | None = None,
    said: DayStatement | None = None,
    cosigned: Mapping[str, datetime] | None = None,
) -> LedgerDay:
    balance = said.balance if said is not None else position.book.balance()
    counts = dict(said.counts if said is not None else position.book.counts)
    return LedgerDay(
        log=walk.origin,
        day=day,
        is_closed=is_closed,
        verified=verified,
        entries=sum(counts.get(kind.value, 0) for kind in EntryKind),
        size=head.size,
        root=head.root,
        counts=counts,
        opened=balance.get("openBefore", 0),
        still_open=balance.get("openAfter", 0),
        pending=balance.get("pendingAfter", 0),
        signer=seal.keyid if seal is not None else "",
        signed=seal.moment if seal is not None else None,
        cosigned=cosigned or {},
        log_entries=seal.log_entries if seal is not None else 0,
    )
