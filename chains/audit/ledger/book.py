"""The bookkeeping of a log: which runs are open and pending, and what each day added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from chains.audit.ledger.entries import DECISIONS, Entry, EntryKind, RunEntry
from chains.audit.ledger.errors import LedgerError

REVISED, LOST = "revised", "lost"
"""Counts besides the kinds of entries: decisions about runs that were decided before, and ``removed`` entries
about finished runs."""


@dataclass(slots=True)
class Book:
    """The runs that are open (seen, not finished) and pending (finished, not decided), by UID.

    ``counts`` has the entries since the beginning of the day, by kind.
    """

    opened: dict[str, RunEntry] = field(default_factory=dict)
    """The ``seen`` entries of open runs."""
    pending: dict[str, tuple[RunEntry, RunEntry]] = field(default_factory=dict)
    """The ``seen`` and ``finished`` entries of pending runs."""
    counts: Counter[str] = field(default_factory=Counter)
    before: tuple[int, int] = (0, 0)
    """How many runs were open and pending at the beginning of the day."""

    def apply(self, entry: Entry) -> None:
        """Add an entry. Raises :class:`LedgerError` for one that contradicts those before it."""
        self.counts[entry.kind.value] += 1
        if not isinstance(entry, RunEntry):
            return
        uid = entry.run.uid
        if entry.kind == EntryKind.SEEN:
            if uid in self.opened or uid in self.pending:
                raise _contradiction(entry, "it was seen before, and is not decided")
            self.opened[uid] = entry
        elif entry.kind == EntryKind.FINISHED:
            if uid not in self.opened:
                raise _contradiction(entry, "it is not open")
            self.pending[uid] = (self.opened.pop(uid), entry)
        elif entry.kind in DECISIONS:
            if uid in self.opened:
                raise _contradiction(entry, "it is not finished")
            if self.pending.pop(uid, None) is None:
                self.counts[REVISED] += 1
        elif self.opened.pop(uid, None) is None:
            if self.pending.pop(uid, None) is None:
                raise _contradiction(entry, "it is neither open nor pending")
            self.counts[LOST] += 1

    def begin_day(self) -> None:
        """Begin the counts of another day."""
        self.counts, self.before = Counter(), (len(self.opened), len(self.pending))

    def balance(self) -> dict[str, int]:
        """Return the balance of the day, which must add up, see :func:`adds_up`."""
        decided = sum(self.counts[kind.value] for kind in DECISIONS) - self.counts[REVISED]
        return {
            "openBefore": self.before[0],
            "seen": self.counts[EntryKind.SEEN],
            "finished": self.counts[EntryKind.FINISHED],
            "removed": self.counts[EntryKind.REMOVED] - self.counts[LOST],
            "openAfter": len(self.opened),
            "pendingBefore": self.before[1],
            "decided": decided,
            "lost": self.counts[LOST],
            "pendingAfter": len(self.pending),
        }

    def lines(self) -> Iterator[RunEntry]:
        """Yield the entries from which the open and pending runs are known again."""
        yield from self.opened.values()
        for pair in self.pending.values():
            yield from pair


def adds_up(balance: dict[str, int]) -> bool:
    """Whether nothing is missing from a day's balance.

    Open yesterday, plus seen, minus finished and removed, is open today. Pending yesterday, plus finished,
    minus decided and lost, is pending today.
    """
    is_open = balance["openBefore"] + balance["seen"] - balance["finished"] - balance["removed"]
    is_pending = balance["pendingBefore"] + balance["finished"] - balance["decided"] - balance["lost"]
    return is_open == balance["openAfter"] and is_pending == balance["pendingAfter"]


def _contradiction(entry: RunEntry, why: str) -> LedgerError:
    run = entry.run
    return LedgerError(f"{entry.kind} of {run.kind} {run.namespace}/{run.name} {run.uid}: {why}")
