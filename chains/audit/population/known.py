"""All runs that several sources know, by UID, and where the sources contradict each other.

Whole runs are kept in a temporary file, so the memory for a run does not depend on its size.
"""

from __future__ import annotations

import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson

from chains.audit.exemptions import SignedExemption
from chains.audit.population.sighting import KINDS, Sighting
from chains.tekton.children import CLOCKS_DIFFER
from chains.tekton.raw import parse_time

Json = Any
MOST_RUNS = 1_000_000
"""Runs of all sources. A run takes about four kilobytes of memory with its answer."""
MOST_DIFFERENCES = 10_000
"""Differences that are kept; further ones are counted."""
_COMPARED = ("kind", "namespace", "name", "created", "finished", "outcome")
_NOBODY = (-1,) * len(_COMPARED)
_OF_THE_END = frozenset({"finished", "outcome"})
_TAKEN = (
    "deleted", "deleted_by", "stripped", "vanished", "parent", "children", "recorded", "recorded_reason",
)  # fmt: skip
"""Fields of which the last one that says something counts."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a source saw nothing, and why; an empty time is open."""

    since: str
    until: str
    reason: str

    def has(self, moment: str) -> bool:
        """Whether a time lies in the gap. A time that cannot be read does not."""
        at, since, until = (parse_time(one) for one in (moment, self.since, self.until))
        return at is not None and (since is None or since <= at) and (until is None or at <= until)

    def overlaps(self, start: str, end: str) -> bool:
        """Whether the gap has a part of the time from ``start`` to ``end``; what is empty is open."""
        first, last, since, until = (parse_time(one) for one in (start, end, self.since, self.until))
        return (until is None or first is None or first <= until) and (
            since is None or last is None or since <= last
        )


@dataclass(slots=True)
class Source:
    """One source of runs: what it can show and what it cannot, and what was found in it.

    ``shows_deleted`` says that it also has the runs that were deleted since, between ``since`` and ``until``
    and outside of its gaps. ``closes_gaps`` says that it has all of them, so that a gap of another source
    hides nothing. ``problems`` are what could not be read: runs may be lost in them. ``notes`` hide no runs.
    A source that may show runs of one kind and not those of another has a period of each in ``periods``.
    """

    name: str
    kind: str
    shows: str
    cannot: str
    query: str = ""
    """How the same answer is got again: the request, or the files."""
    shows_deleted: bool = False
    closes_gaps: bool = False
    ends_of: set[str] = field(default_factory=set)
    """The kinds of runs of which it showed an end, so that it would show another, even if deleted since."""
    periods: dict[str, tuple[str, str]] | None = None
    """From when until when it covers runs of a kind; a kind that is missing is not covered. None: the
    period of the source is that of every kind."""
    since: str = ""
    until: str = ""
    runs: int = 0
    finished: int = 0
    gaps: list[Gap] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def covers(self, moment: str, kind: str) -> bool:
        """Whether the source would know a run of this kind and time, even if it was deleted since."""
        since, until = self._period(kind)
        if not self.shows_deleted or not (since and until):
            return False
        return Gap(since, until, "").has(moment) and not any(gap.has(moment) for gap in self.gaps)

    def covers_all(self, gap: Gap) -> bool:
        """Whether the source watched runs of every kind for the whole time of another source's gap."""
        ends = (gap.since, gap.until)
        return (
            all(ends)
            and all(self.covers(end, kind) for kind in KINDS for end in ends)
            and not any(one.overlaps(gap.since, gap.until) for one in self.gaps)
        )

    def _period(self, kind: str) -> tuple[str, str]:
        return (self.since, self.until) if self.periods is None else self.periods.get(kind, ("", ""))

    def shows_kind(self, kind: str) -> bool:
        """Whether the source covers any time for runs of a kind."""
        return bool(self._period(kind)[0])

    @property
    def shows_ends(self) -> bool:
        """Whether it showed the end of a run of any kind."""
        return bool(self.ends_of)

    def saw(self, moment: str, kind: str = "") -> None:
        """Stretch the period of the source, and that of a kind, so that it has this time."""
        if parse_time(moment) is None:
            return
        self.since, self.until = _stretched(self.since, self.until, moment)
        if kind and self.periods is not None:
            self.periods[kind] = _stretched(*self._period(kind), moment)


def _stretched(since: str, until: str, moment: str) -> tuple[str, str]:
    at, first, last = parse_time(moment), parse_time(since), parse_time(until)
    assert at is not None  # noqa: S101 - the caller has parsed it
    return (moment if first is None or at < first else since, moment if last is None or at > last else until)


@dataclass(slots=True)
class KnownRun:
    """One run, merged from all sources that know it. See :class:`Sighting` for the fields."""

    kind: str
    namespace: str
    name: str
    uid: str
    created: str = ""
    finished: str = ""
    outcome: str = ""
    deleted: str = ""
    deleted_by: str = ""
    stripped: str = ""
    vanished: str = ""
    parent: str = ""
    children: tuple[str, ...] = ()
    mark: str = ""
    mark_reason: str = ""
    recorded: str = ""
    recorded_reason: str = ""
    sources: int = 0
    """A bit for each source that knows the run, in the order of the sources."""
    place: tuple[int, int] | None = None
    """Where the whole run is in the spool."""
    is_whole: bool = False
    """Whether the whole run is one that has ended."""
    said: tuple[int, ...] = _NOBODY
    """The number of the source that first said each of the fields that are compared, -1 if none did."""

    @property
    def label(self) -> str:
        """The run's name for people: ``taskrun/namespace/name``."""
        return f"{self.kind.lower()}/{self.namespace}/{self.name}"

    @property
    def is_finished(self) -> bool:
        """Whether a source saw the end of the run."""
        return bool(self.outcome or self.finished)

    @property
    def moment(self) -> str:
        """The time of the run for periods: its end, else its deletion, else its creation."""
        return self.finished or self.deleted or self.created


@dataclass(frozen=True, slots=True)
class Difference:
    """Two sources contradict each other about a run, or one itself: a field, and what each says."""

    label: str
    uid: str
    what: str
    first: str
    said: str
    second: str
    contradicted: str


class Population:
    """The runs of all sources. Use it with ``with``: it removes its temporary file at the end."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.differences: list[Difference] = []
        self.more_differences = 0
        self.exemptions: list[SignedExemption] = []
        """The exemptions in signed days of ledgers."""
        self._differences: set[Difference] = set()
        self._runs: dict[str, KnownRun] = {}
        # most runs have the same of these, which are kept once
        self._said: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._names: dict[int, tuple[str, ...]] = {}
        self._named: dict[tuple[str, str, str], str] = {}
        self._spool = tempfile.TemporaryFile(prefix="chains-audit-")  # noqa: SIM115 - closed by close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary file."""
        self._spool.close()

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[KnownRun]:
        return iter(self._runs.values())

    def get(self, uid: str) -> KnownRun | None:
        """Return the run with this UID."""
        return self._runs.get(uid)

    def named(self, kind: str, namespace: str, name: str) -> KnownRun | None:
        """Return the last added run of this name."""
        uid = self._named.get((kind, namespace, name))
        return None if uid is None else self._runs[uid]

    def source(self, source: Source) -> Source:
        """Add a source, and return it."""
        self.sources.append(source)
        return source

    def names_of(self, run: KnownRun) -> tuple[str, ...]:
        """Return the names of the sources that know a run."""
        names = self._names.get(run.sources)
        if names is None:
            known = (one.name for number, one in enumerate(self.sources) if run.sources >> number & 1)
            names = self._names[run.sources] = tuple(known)
        return names

    def add(self, source: Source, seen: Sighting) -> None:
        """Add what a source says about a run. What a second source says differently is a difference.

        A run without a UID is a problem of the source: nothing can be proven about it. So is one with the UID
        of a run of another name, which would otherwise hide behind it.
        """
        number = self.sources.index(source)
        if not seen.uid:
            source.problems.append(
                f"{seen.label} has no UID, so no evidence can be proven to be about it; export it "
                "with its metadata"
            )
            return
        run = self._runs.get(seen.uid)
        if run is None:
            if len(self._runs) == MOST_RUNS:
                text = f"more than {MOST_RUNS:,} runs: the rest is not read; audit a shorter period"
                if text not in source.problems:
                    source.problems.append(text)
                return
            run = KnownRun(sys.intern(seen.kind), sys.intern(seen.namespace), seen.name, seen.uid)
            self._runs[seen.uid] = run
        elif seen.label != run.label:
            knows = ", ".join(self.names_of(run))
            source.problems.append(
                f"{seen.label} has the UID {seen.uid} of {run.label} ({knows}): no UID is given twice, so "
                "one of them was changed, and the first alone is audited"
            )
            if run.sources >> number & 1:
                return
        if not run.sources >> number & 1:
            source.runs += 1
        self._named[run.kind, run.namespace, run.name] = run.uid
        self._merge(run, seen, number)
        run.sources |= 1 << number
        self._keep(run, seen)

    def _merge(self, run: KnownRun, seen: Sighting, number: int) -> None:
        said = list(run.said)
        for place, name in enumerate(_COMPARED):
            ours, theirs = getattr(run, name), getattr(seen, name)
            if not theirs:
                continue
            if said[place] < 0:
                said[place] = number
            known = said[place]
            if not ours:
                setattr(run, name, theirs)
            elif known != number and not _is_same(ours, theirs):
                self.differ(
                    Difference(
                        run.label, run.uid, name, self.sources[known].name, ours,
                        self.sources[number].name, theirs,
                    )
                )  # fmt: skip
            elif known == number and name in _OF_THE_END:
                # who may write to a run may change it after its end: what was seen first stays
                if ours != theirs:
                    source = self.sources[number].name
                    self.differ(Difference(run.label, run.uid, name, source, ours, source, theirs))
            elif known == number:
                setattr(run, name, theirs)
        run.said = self._said.setdefault(tuple(said), tuple(said))
        for name in _TAKEN:
            setattr(run, name, getattr(seen, name) or getattr(run, name))
        if seen.mark:
            run.mark, run.mark_reason = seen.mark, seen.mark_reason

    def differ(self, difference: Difference) -> None:
        """Note a difference between two sources, or in one, once."""
        if difference in self._differences:
            return
        if len(self.differences) < MOST_DIFFERENCES:
            self.differences.append(difference)
            self._differences.add(difference)
        else:
            self.more_differences += 1

    def _keep(self, run: KnownRun, seen: Sighting) -> None:
        """Keep the whole run: the first record that has ended, else the last one.

        Who changes a run after its end does not change the record that a source before had of it.
        """
        if not seen.whole or run.is_whole:
            return
        packed = zlib.compress(seen.whole, 1)
        place = self._spool.seek(0, 2)
        self._spool.write(packed)
        run.place, run.is_whole = (place, len(packed)), seen.is_finished

    def whole(self, run: KnownRun) -> dict[str, Json] | None:
        """Return the whole run, None if no source has it."""
        if run.place is None:
            return None
        place, size = run.place
        self._spool.seek(place)
        raw: dict[str, Json] = orjson.loads(zlib.decompress(self._spool.read(size)))
        return raw


def _is_same(ours: str, theirs: str) -> bool:
    """Whether two values are equal, as times where both are times: clocks of sources differ."""
    if ours == theirs:
        return True
    first, second = parse_time(ours), parse_time(theirs)
    return first is not None and second is not None and abs(first - second) <= CLOCKS_DIFFER
