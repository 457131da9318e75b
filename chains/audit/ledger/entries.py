"""The entries of a ledger as types. :mod:`chains.audit.ledger.lines` writes and reads them.

Names and reasons come from strangers: they are bounded, escaped and without secrets before they are written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from chains.text import count, plain, told

MOST_RECEIPTS = 64
MOST_NAMES = 500
"""The most changed keys of a ``config`` entry, and signers of a ``keys`` entry."""
_LONGEST = 300
"""Characters of a name, a store or a reason."""
_WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class EntryKind(StrEnum):
    """What an entry says."""

    SEEN = "seen"
    FINISHED = "finished"
    EVIDENCED = "evidenced"
    FAILED = "failed"
    SKIPPED = "skipped"
    REMOVED = "removed"
    GAP = "gap"
    HEARTBEAT = "heartbeat"
    CONFIG = "config"
    KEYS = "keys"
    EXEMPTION = "exemption"
    DISPOSITION = "disposition"
    SUCCEEDS = "succeeds"
    ENDED = "ended"


OF_RUNS = frozenset(
    {
        EntryKind.SEEN,
        EntryKind.FINISHED,
        EntryKind.EVIDENCED,
        EntryKind.FAILED,
        EntryKind.SKIPPED,
        EntryKind.REMOVED,
    }
)
"""The kinds that are about one run."""
DECISIONS = frozenset({EntryKind.EVIDENCED, EntryKind.FAILED, EntryKind.SKIPPED})
"""The kinds that say what became of a finished run."""


@dataclass(frozen=True, slots=True)
class Run:
    """The run that an entry is about. ``parent`` is the UID of the PipelineRun that owns a TaskRun."""

    kind: str
    namespace: str
    name: str
    uid: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where evidence is stored. The fields are those of an outcome's entries."""

    payload: str
    store: str
    form: str
    subject: str
    location: str
    digest: str


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A fact about one run; ``kind`` is one of :data:`OF_RUNS`.

    ``created`` and ``completed`` are the run's own times as it states them. ``is_late``: the fact was found
    in the cluster and not made by this writer, such as the mark of another process.
    """

    at: datetime
    kind: EntryKind
    run: Run
    created: str = ""
    completed: str = ""
    succeeded: bool | None = None
    reason: str = ""
    receipts: tuple[Receipt, ...] = ()
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class GapEntry:
    """A time in which runs could come and go unseen."""

    at: datetime
    start: datetime
    until: datetime
    reason: str
    kind: EntryKind = EntryKind.GAP


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life: how many runs are open and pending. ``ends``: the writer ends in order."""

    at: datetime
    opened: int
    pending: int
    ends: bool = False
    kind: EntryKind = EntryKind.HEARTBEAT


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration came into force: the SHA-256 of its data, and the keys that changed. No values."""

    at: datetime
    digest: str
    changed: tuple[str, ...] = ()
    kind: EntryKind = EntryKind.CONFIG


@dataclass(frozen=True, slots=True)
class Keys:
    """The signers that came into force, by key id or identity, and the key that signs the ledger."""

    at: datetime
    signers: tuple[str, ...]
    ledger: str
    kind: EntryKind = EntryKind.KEYS


@dataclass(frozen=True, slots=True)
class Exemption:
    """Something is exempted from a demand: what, by whom, until when (empty: for ever), and why."""

    at: datetime
    what: str
    by: str
    reason: str
    until: str = ""
    kind: EntryKind = EntryKind.EXEMPTION


@dataclass(frozen=True, slots=True)
class Disposition:
    """Evidence was deleted: its digest, where it was, by whom, why, and the run's UID if there is one."""

    at: datetime
    digest: str
    location: str
    by: str
    reason: str
    uid: str = ""
    kind: EntryKind = EntryKind.DISPOSITION


@dataclass(frozen=True, slots=True)
class Ended:
    """The last entry of a log: the names of the logs that go on for it."""

    at: datetime
    successors: tuple[str, ...]
    kind: EntryKind = EntryKind.ENDED


@dataclass(frozen=True, slots=True)
class Succeeds:
    """This log goes on for another one, which ended with this size and root hash (hex)."""

    at: datetime
    log: str
    size: int
    root: str
    kind: EntryKind = EntryKind.SUCCEEDS


Entry = RunEntry | GapEntry | Heartbeat | Configured | Keys | Exemption | Disposition | Ended | Succeeds


def fit(text: str) -> str:
    """Return a name for an entry: escaped, and cut to what an entry holds."""
    return plain(text[:_LONGEST])[:_LONGEST]


def fit_reason(text: str) -> str:
    """Return a reason for an entry: escaped, without what looks like a secret, and cut."""
    return told(text[: 4 * _LONGEST])[:_LONGEST]


def moment(value: datetime) -> str:
    """Return a time as entries have it. Raises :class:`ValueError` for a time without zone."""
    if value.tzinfo is None:
        raise ValueError("a time without zone")
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def parse_moment(text: str) -> datetime:
    """Return a time as :func:`moment` writes it. Raises :class:`ValueError`."""
    if not _WRITTEN.fullmatch(text):
        raise ValueError(f"a time of another form: {text[:40]!r}")
    return datetime.fromisoformat(text)


def said_by(entry: Entry) -> str:
    """Return what an entry says besides its time, its kind and its run, in words."""
    if isinstance(entry, RunEntry):
        receipts = count(len(entry.receipts), "receipt") if entry.receipts else ""
        return entry.reason or receipts
    fields = (name for name in entry.__slots__ if name not in {"at", "kind"})
    return ", ".join(f"{name} {_worded(value)}" for name in fields if (value := getattr(entry, name)))


def _worded(value: object) -> str:
    match value:
        case datetime():
            return moment(value)
        case tuple():
            return " ".join(map(str, value))
    return str(value)
