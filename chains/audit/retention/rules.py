"""Retention rules as the program uses them: what they demand of one piece of evidence. Pure.

Where a fact of a piece is not known, a condition about it counts as met: a piece is rather kept too long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chains.audit.retention.format import LockWanted, Outcome, Start
from chains.policy.document.patterns import ImagePattern, wildcard_matches
from storage.formats.reference import Image

_ORDER = tuple(LockWanted)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a piece of evidence. None stands for what is not known.

    ``namespaces`` has the signed one and what the store says. ``digests`` are those of the evidence and of
    its subjects, ``algorithm:hex``. ``times`` are the starts of terms, as far as they are known.
    """

    predicate_type: str | None
    images: tuple[Image, ...] | None = None
    namespaces: frozenset[str] | None = None
    outcomes: frozenset[str] | None = None
    uids: frozenset[str] | None = None
    digests: frozenset[str] = frozenset()
    times: dict[Start, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions about evidence; all that are given have to be met."""

    images: tuple[ImagePattern, ...] = ()
    namespaces: tuple[str, ...] = ()
    predicate_types: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    runs: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()

    def covers(self, facts: Facts) -> bool:
        """Whether a piece is, or may be, one of these."""
        kind = None if facts.predicate_type is None else [facts.predicate_type]
        return (
            self._has_image(facts.images)
            and _fits(self.namespaces, facts.namespaces)
            and _fits(self.predicate_types, kind)
            and _is_one(self.outcomes, facts.outcomes)
            and _is_one(self.runs, facts.uids)
            and _is_one(self.digests, facts.digests)
        )

    def _has_image(self, images: Sequence[Image] | None) -> bool:
        return (
            not self.images
            or images is None
            or any(pattern.matches(image) for pattern in self.images for image in images)
        )


def _fits(patterns: Sequence[str], values: Iterable[str] | None) -> bool:
    return (
        not patterns
        or values is None
        or any(wildcard_matches(one, value) for value in values for one in patterns)
    )


def _is_one(wanted: Sequence[str], values: Iterable[str] | None) -> bool:
    return not wanted or values is None or not set(wanted).isdisjoint(values)


@dataclass(frozen=True, slots=True)
class RetentionClass:
    """A class of evidence: how long it must be kept, from which time on, and under which lock."""

    name: str
    match: Match
    keep: timedelta
    starts: tuple[Start, ...]
    lock: LockWanted
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold: what it covers must be kept until somebody releases it."""

    id: str
    match: Match
    reason: str
    by: str
    begin: datetime
    released: datetime | None = None
    lock: bool = True

    def is_in_force(self, now: datetime) -> bool:
        """Whether it counts now."""
        return self.begin <= now and (self.released is None or now < self.released)


@dataclass(frozen=True, slots=True)
class Demand:
    """What rules demand of a piece: until when it must be kept, by which class and holds, and its lock.

    ``until`` is None if no class has the piece, or the start of a term is not known: ``unknown_starts`` has
    the classes of which that is true. The class that decides is the one that keeps it longest.
    """

    classes: tuple[RetentionClass, ...] = ()
    decides: RetentionClass | None = None
    start: Start | None = None
    since: datetime | None = None
    until: datetime | None = None
    holds: tuple[Hold, ...] = ()
    unknown_starts: tuple[str, ...] = ()
    lock: LockWanted = LockWanted.NONE

    @property
    def wants_hold(self) -> bool:
        """Whether a hold demands a legal hold of the store."""
        return any(hold.lock for hold in self.holds)

    def is_over(self, now: datetime) -> bool:
        """Whether the piece may go: every term is known and over, and no hold covers it."""
        return self.until is not None and self.until <= now and not self.holds and not self.unknown_starts


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one file; ``digest`` is ``sha256:HEX`` of its bytes."""

    name: str
    classes: tuple[RetentionClass, ...]
    holds: tuple[Hold, ...] = ()
    digest: str = ""
    file: str = ""

    def demand(self, facts: Facts, now: datetime) -> Demand:
        """Return what is demanded of a piece: of several classes the longest term and the strictest lock."""
        classes = tuple(one for one in self.classes if one.match.covers(facts))
        holds = tuple(one for one in self.holds if one.is_in_force(now) and one.match.covers(facts))
        lock = max((one.lock for one in classes), key=_ORDER.index, default=LockWanted.NONE)
        ends: list[tuple[datetime, datetime, Start, RetentionClass]] = []
        unknown = []
        for one in classes:
            start = next((start for start in one.starts if start in facts.times), None)
            if start is None:
                unknown.append(one.name)
            else:
                ends.append((_end(facts.times[start], one.keep), facts.times[start], start, one))
        if not ends:
            return Demand(classes, holds=holds, unknown_starts=tuple(unknown), lock=lock)
        until, since, start, decides = max(ends, key=lambda each: each[0])
        return Demand(classes, decides, start, since, None if unknown else until, holds, tuple(unknown), lock)


def _end(start: datetime, keep: timedelta) -> datetime:
    try:
        return start + keep
    except OverflowError:
        return datetime.max.replace(tzinfo=start.tzinfo)
