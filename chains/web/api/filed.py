"""The answers of the API about files beside the index: audits, the ledger, reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from chains.web.api.shapes import Digest, Form, Link, Time


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many runs have a state of chains audit."""

    state: str
    runs: int


@dataclass(frozen=True, slots=True)
class NamespaceCounts:
    """How many runs of a namespace have each state."""

    namespace: str
    states: tuple[StateCount, ...]


@dataclass(frozen=True, slots=True)
class NotEvidenced:
    """A run that an audit did not find evidenced, and why."""

    state: str
    reason: str
    words: str
    kind: str | None
    namespace: str | None
    name: str | None
    uid: str | None
    finished_at: str | None


@dataclass(frozen=True, slots=True)
class Audit:
    """A stored result of chains audit, the newest or that of a time, with its runs that are not evidenced."""

    at: str
    since: str | None
    until: str | None
    finished: Annotated[int, "finished runs that should have evidence"]
    states: tuple[StateCount, ...]
    namespaces: tuple[NamespaceCounts, ...]
    others: Annotated[tuple[str, ...], "the times of all results"]
    runs: tuple[NotEvidenced, ...]
    next: Annotated[Link | None, "the next page of runs"]


@dataclass(frozen=True, slots=True)
class LedgerDay:
    """A day of a log of the ledger. It is verified if it is closed, signed, and nothing is wrong with it."""

    log: str
    day: Annotated[str, Form("date")]
    is_closed: bool
    is_verified: bool
    entries: int
    size: Annotated[int, "entries of the log at the end of the day"]
    root: Annotated[str, "the root hash of the log's tree at the end of the day, in hex"]
    signer: str | None
    signed_at: Time | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of runs: its newest 400 days, and what is wrong with it."""

    is_verified: Annotated[bool, "keys were given that may sign its days"]
    since: Time | None
    until: Annotated[Time | None, "the end of the last day up to which everything is closed and verified"]
    days: tuple[LedgerDay, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A file of a report."""

    name: str
    size: int
    digest: Digest
    link: Link


@dataclass(frozen=True, slots=True)
class Report:
    """A report that chains report wrote. Its signatures are not verified here."""

    name: str
    digest: Digest
    files: tuple[ReportFile, ...]


@dataclass(frozen=True, slots=True)
class Reports:
    """The reports, the newest first."""

    reports: tuple[Report, ...]
    problems: tuple[str, ...]
