"""What is touched by a key, a builder, an image, a Task or a commit, directly and through other artifacts.

A statement that matches touches the artifacts that it is about. An artifact that is touched touches every
statement that names it as an input, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chains.lineage.collect import Claim, Collected
from chains.lineage.graph import Reach
from chains.lineage.signing import Match
from chains.lineage.wanted import Kind, Wanted

OK, TOUCHED, NO_EVIDENCE, NOT_WHOLE = 0, 1, 3, 4


class State(StrEnum):
    """How an artifact is touched, the surest first.

    ``verified``: by statements whose signatures were verified, each of them on the way. ``claimed``: at least
    one statement on every way is a claim of somebody unknown. ``before``: only by way of statements that
    verified times show to be older than the compromise.
    """

    VERIFIED = "verified"
    CLAIMED = "claimed"
    BEFORE = "before"


@dataclass(frozen=True, slots=True)
class Window:
    """Which statements count, by time. ``start`` is included, ``end`` is not.

    ``start`` and ``end`` select the statements that match, by their verified time, else by the time that they
    state; one without any time counts. A statement with a verified time before ``since``, the compromise, is
    told apart.
    """

    start: datetime | None = None
    end: datetime | None = None
    since: datetime | None = None

    def has(self, claim: Claim) -> bool:
        """Whether a statement that matches counts."""
        moment = claim.moment or claim.stated
        if moment is None:
            return True
        return (self.start is None or moment >= self.start) and (self.end is None or moment < self.end)

    def is_before(self, claim: Claim) -> bool:
        """Whether a verified time shows that a statement is older than the compromise."""
        return self.since is not None and claim.moment is not None and claim.moment < self.since


@dataclass(frozen=True, slots=True)
class Touched:
    """An artifact that is touched.

    ``distance`` is 0 if a statement about it matches, else the number of runs between. ``because`` is what
    matched (by kind; distance 0), ``through`` the touched inputs that led to it (digests; else). ``claim`` is
    the number of the statement that says so, ``others`` how many more about it are touched.
    """

    state: State
    digest: str
    names: tuple[str, ...]
    distance: int
    because: Mapping[Kind, Match]
    through: tuple[str, ...]
    claim: int
    others: int


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """The answer.

    ``matching`` counts the statements that match, ``left_out`` those of them outside of the window: by their
    verified time, and by the time that they state.
    """

    wanted: Wanted
    window: Window
    collected: Collected
    artifacts: tuple[Touched, ...]
    links: Mapping[int, int]
    """The touched statements by number, each with its distance."""
    matching: int
    left_out: tuple[int, int]

    def count(self, state: State) -> int:
        """How many artifacts are touched in this way."""
        return sum(one.state is state for one in self.artifacts)

    @property
    def touched(self) -> int:
        """How many artifacts are touched, without those from before the compromise."""
        return len(self.artifacts) - self.count(State.BEFORE)

    @property
    def exit_code(self) -> int:
        """Not whole before all else: what was not read may be touched."""
        if not self.collected.is_whole:
            return NOT_WHOLE
        if not self.collected.pieces:
            return NO_EVIDENCE
        return TOUCHED if self.touched else OK


def blast_radius(collected: Collected, wanted: Wanted, window: Window) -> BlastRadius:
    """Return every artifact that is touched, the surest first, then the nearest."""
    claims = collected.claims
    kinds = wanted.kinds
    matching = [number for number, claim in enumerate(claims) if kinds <= claim.found.keys()]
    starts = [number for number in matching if window.has(claims[number])]
    outside = [claims[number] for number in matching if not window.has(claims[number])]
    before = [window.is_before(claim) for claim in claims]
    checked = [n for n in starts if not any(match.is_claimed for match in claims[n].found.values())]
    ways: tuple[tuple[State, list[int], Callable[[int], bool]], ...] = (
        (State.VERIFIED, checked, lambda number: claims[number].is_verified and not before[number]),
        (State.CLAIMED, starts, lambda number: not before[number]),
        (State.BEFORE, starts, lambda _: True),
    )
    found: dict[int, Touched] = {}
    links: dict[int, int] = {}
    for state, begins, counts in ways:
        reach = collected.graph.follow(filter(counts, begins), counts)
        for number, distance in reach.links.items():
            links.setdefault(number, distance)
        _add(found, state, reach, collected)
    order = list(State)
    artifacts = sorted(
        found.values(), key=lambda one: (order.index(one.state), one.distance, one.names, one.digest)
    )
    verified = sum(claim.moment is not None for claim in outside)
    return BlastRadius(
        wanted, window, collected, tuple(artifacts), links, len(matching), (verified, len(outside) - verified)
    )


def _add(found: dict[int, Touched], state: State, reach: Reach, collected: Collected) -> None:
    """Add the artifacts that were reached in this way and in no surer one."""
    graph, claims = collected.graph, collected.claims
    about: dict[int, list[int]] = {}
    for number in reach.links:
        for _, artifact in claims[number].products:
            if artifact not in found:
                about.setdefault(artifact, []).append(number)
    for artifact, numbers in about.items():
        first = reach.via[artifact]
        distance = reach.artifacts[artifact]
        touched = (one for one in graph.inputs(first) if one in reach.artifacts and one != artifact)
        found[artifact] = Touched(
            state=state,
            digest=graph.digest(artifact),
            names=_names(artifact, (claims[number] for number in numbers)),
            distance=distance,
            because=dict(claims[first].found) if distance == 0 else {},
            through=tuple(graph.digest(one) for one in touched) if distance else (),
            claim=first,
            others=len(numbers) - 1,
        )


def _names(artifact: int, claims: Iterable[Claim]) -> tuple[str, ...]:
    """Return the names that statements give an artifact, the most frequent first, at most three."""
    counted: dict[str, int] = {}
    for claim in claims:
        for name, number in claim.products:
            if number == artifact:
                counted[name] = counted.get(name, 0) + 1
    return tuple(sorted(counted, key=lambda name: (-counted[name], name))[:3])
