"""What a ledger says, as data: runs, gaps, days and problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from chains.audit.ledger.entries import Entry, Receipt, Run


class RunState(StrEnum):
    """What the ledger knows last about a run."""

    OPEN = "open"
    """Seen, and not finished."""
    PENDING = "pending"
    """Finished, and not decided: there may be no evidence yet."""
    EVIDENCED = "evidenced"
    """Evidence is stored; the entry has the receipts."""
    FAILED = "failed"
    """Evidence could not be made or stored; the entry has the reason."""
    SKIPPED = "skipped"
    """The configuration leaves the run out; the entry has the reason."""
    REMOVED = "removed"
    """Gone before it was decided: deleted unfinished, or held by nobody."""


DECIDED = frozenset({RunState.EVIDENCED, RunState.FAILED, RunState.SKIPPED})
"""The states that say what became of a finished run."""


@dataclass(slots=True)
class LedgerRun:
    """One run. Times are those of the entries, by the writer's clock; None if there is no such entry.

    ``created`` and ``completed`` are the run's own times, which its author may influence. ``succeeded`` is
    its outcome, None while it is unknown. ``indexes`` are the positions of its entries in the log.
    """

    run: Run
    log: str
    """The origin of the log that has its entries; of several the last."""
    state: RunState
    first_seen: datetime
    finished: datetime | None = None
    decided: datetime | None = None
    """When it was evidenced, failed, skipped or removed; the last time if there are several."""
    is_from_mark: bool = False
    """Whether this was only read from a mark, which others than the controller may have written."""
    created: datetime | None = None
    completed: datetime | None = None
    succeeded: bool | None = None
    reason: str = ""
    receipts: tuple[Receipt, ...] = ()
    indexes: tuple[int, ...] = ()

    @property
    def uid(self) -> str:
        """The UID of the run."""
        return self.run.uid


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which the writer did not watch. Runs that lived wholly inside it are unknown."""

    log: str
    start: datetime
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a ledger. ``code`` is stable, see ``docs/ledger.md``."""

    code: str
    log: str
    day: date | None
    message: str

    def __str__(self) -> str:
        where = f"{self.log} {self.day.isoformat()}" if self.day else self.log
        return f"{where}: {self.message}" if where else self.message


@dataclass(frozen=True, slots=True)
class LedgerDay:
    """One day of a log. A day is ``verified`` if it is closed, signed, and nothing is wrong with it."""

    log: str
    day: date
    is_closed: bool
    verified: bool
    entries: int
    size: int
    """The number of entries of the log at the end of the day."""
    root: str
    """The root hash of the log's tree at the end of the day, hex."""
    counts: Mapping[str, int]
    """Entries by kind."""
    opened: int
    """Runs that were open at the beginning of the day."""
    still_open: int
    """Runs that were open at its end."""
    pending: int
    """Finished runs that were not decided at its end."""
    signer: str = ""
    """The id of the key that signed the day."""
    signed: datetime | None = None
    """The time of signing according to a timestamp authority of the trusted root, None without one."""
    log_entries: int = 0
    """How many entries of transparency logs were verified, 0 without a trusted root."""
    cosigned: Mapping[str, datetime] = field(default_factory=dict)
    """When each of the given witnesses signed the head of the log at the end of the day, by its name."""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Everything that a ledger says."""

    runs: Mapping[str, LedgerRun]
    """By UID."""
    gaps: tuple[Gap, ...]
    days: tuple[LedgerDay, ...]
    """Ordered by log and day. The last ones may not be closed yet."""
    problems: tuple[Finding, ...]
    others: tuple[Entry, ...] = ()
    """The entries that are about no run: ``config``, ``keys``, ``exemption``, ``disposition``."""
    since: datetime | None = None
    """The time of the first entry: the ledger says nothing about runs that were gone before."""
    until: datetime | None = None
    """The end of the last day up to which every log is closed and verified; None if there is none."""
    ended: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The logs that go on for each log that has ended."""
    spans: Mapping[str, tuple[datetime, datetime]] = field(default_factory=dict)
    """The times of the first and the last entry of each log that has one, heartbeats too."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def in_gap(self, start: datetime, end: datetime) -> Iterator[Gap]:
        """Yield the gaps that overlap the time from ``start`` to ``end``."""
        return (gap for gap in self.gaps if gap.start < end and gap.until > start)
