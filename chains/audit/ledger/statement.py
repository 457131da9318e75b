"""The day statement: what a log says about one UTC day, as an in-toto statement that is signed.

Its subjects are the day's file of entries and the file of open runs. Its predicate has the place of the day
in the log (tree before and after, digest of the day before), what the day has (entries by kind, sources of
the population) and the balance of runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from chains.audit.ledger.entries import parse_moment
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import ENTRIES, OPEN
from chains.errors import EvidenceError
from chains.statements.statement import (
    LEDGER_DAY,
    STATEMENT_V1,
    ResourceDescriptor,
    Statement,
    parse_statement,
)
from chains.text import plain

PREDICATE = LEDGER_DAY
"""The predicate type of a day statement."""


@dataclass(frozen=True, slots=True)
class Head:
    """The tree of a log: how many entries it has, and its root hash, hex."""

    size: int
    root: str


@dataclass(frozen=True, slots=True)
class DayStatement:
    """What is said about a day. Digests are SHA-256, hex."""

    log: str
    day: date
    closed: str
    """When the day was closed, by the writer's clock, as entries have times."""
    before: Head
    after: Head
    frontier: tuple[str, ...]
    """The right edge of the tree after the day, from which the next day goes on."""
    counts: Mapping[str, int]
    sources: Mapping[str, int]
    """How many runs were seen first by the watch, and by a list of what was there."""
    balance: Mapping[str, int]
    last: str
    """The time of the log's last entry; empty if it has none."""
    previous: str
    """The digest of the envelope of the day before; empty for the first day."""
    entries_digest: str
    open_digest: str

    def to_bytes(self) -> bytes:
        """Return the statement as it is signed."""
        name = self.day.isoformat()
        predicate: dict[str, Any] = {
            "log": self.log,
            "day": name,
            "closed": self.closed,
            "last": self.last,
            "tree": {
                "before": {"size": self.before.size, "root": self.before.root},
                "after": {"size": self.after.size, "root": self.after.root},
                "frontier": list(self.frontier),
            },
            "entries": dict(sorted(self.counts.items())),
            "sources": dict(sorted(self.sources.items())),
            "balance": dict(self.balance),
        }
        if self.previous:
            predicate["previous"] = {"sha256": self.previous}
        subjects = (
            ResourceDescriptor(name=name + ENTRIES, digest={"sha256": self.entries_digest}),
            ResourceDescriptor(name=name + OPEN, digest={"sha256": self.open_digest}),
        )
        return Statement(STATEMENT_V1, subjects, PREDICATE, predicate).to_bytes()

    @classmethod
    def from_bytes(cls, payload: bytes) -> DayStatement:
        """Read a statement. Raises :class:`LedgerError` for anything that :meth:`to_bytes` did not write."""
        try:
            statement = parse_statement(payload)
            if statement.predicate_type != PREDICATE:
                raise LedgerError(f"expected a {PREDICATE}, got {plain(statement.predicate_type[:96])!r}")
            found, tree = statement.predicate, statement.predicate["tree"]
            entries, opened = statement.subjects
            made = cls(
                log=found["log"],
                day=date.fromisoformat(found["day"]),
                closed=found["closed"],
                last=found["last"],
                before=Head(tree["before"]["size"], tree["before"]["root"]),
                after=Head(tree["after"]["size"], tree["after"]["root"]),
                frontier=tuple(tree["frontier"]),
                counts=_numbers(found["entries"]),
                sources=_numbers(found["sources"]),
                balance=_numbers(found["balance"]),
                previous=found.get("previous", {"sha256": ""})["sha256"],
                entries_digest=(entries.digest or {})["sha256"],
                open_digest=(opened.digest or {})["sha256"],
            )
            for text in filter(None, (made.closed, made.last)):
                parse_moment(text)
            is_same = made.to_bytes() == payload
        except (EvidenceError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise LedgerError(f"not a day statement of a ledger: {plain(str(error)[:200])}") from error
        if not is_same:
            raise LedgerError("a day statement is not in the one form that is written")
        return made

    @property
    def closed_at(self) -> datetime:
        """When the day was closed."""
        return parse_moment(self.closed)


def _numbers(value: Any) -> dict[str, int]:
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in value.values()):
        raise ValueError("a count is not a number")
    return dict(value)
