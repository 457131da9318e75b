"""What one artifact was made from, and what was made from it, as far as statements say.

An artifact is reached over the surest way: over verified statements alone if there is one. Each artifact is
followed once in each direction, so a circle ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from chains.lineage.collect import Claim, Collected
from chains.lineage.wanted import names_of

OK, NO_EVIDENCE, UNDECIDED = 0, 3, 4
UNBOUNDED = 1_000_000
"""More runs between two artifacts than a graph has."""


@dataclass(frozen=True, slots=True)
class Step:
    """One way from an input to a product: the statement ``claim`` says so, ``roles`` say what it was for."""

    source: int
    product: int
    roles: tuple[str, ...]
    claim: int
    is_verified: bool


@dataclass(frozen=True, slots=True)
class Relative:
    """An artifact that was reached; ``distance`` is the number of runs between.

    ``is_verified`` if a way over verified statements leads to it. ``is_cut`` if there is more beyond it,
    deeper than was asked for.
    """

    artifact: int
    names: tuple[str, ...]
    distance: int
    is_verified: bool
    is_cut: bool


@dataclass(slots=True)
class Ancestry:
    """The answer. ``start`` is the artifact that is asked about, None if no statement names it.

    ``made_from`` and ``went_into`` have each artifact once, the nearest first. ``above`` and ``below`` have
    the steps of both directions.
    """

    collected: Collected
    digest: str
    depth: int
    is_trusting: bool
    start: int | None = None
    names: tuple[str, ...] = ()
    made_from: list[Relative] = field(default_factory=list)
    went_into: list[Relative] = field(default_factory=list)
    above: list[Step] = field(default_factory=list)
    below: list[Step] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """What was not read, or not confirmed by anybody, is undecided."""
        if not self.collected.is_whole:
            return UNDECIDED
        if self.start is None:
            return NO_EVIDENCE
        return OK if self.is_trusting else UNDECIDED

    @property
    def relatives(self) -> list[Relative]:
        """The artifacts of both directions."""
        return [*self.made_from, *self.went_into]


def ancestry(collected: Collected, digest: str, depth: int, *, is_trusting: bool) -> Ancestry:
    """Return the lineage of the artifact with this digest (``algorithm:value``), over at most ``depth`` runs.

    ``collected`` has the inputs of its statements. ``is_trusting`` says whether anybody is trusted.
    """
    found = Ancestry(collected, digest, depth, is_trusting)
    starts = [number for name in names_of(digest) if (number := collected.graph.known(name)) is not None]
    if not starts:
        return found
    family = _Family(collected)
    own = family.same_as(starts)
    found.start = min(own)
    found.names = tuple(dict.fromkeys(name for number in sorted(own) for name in family.names(number)))[:3]
    found.made_from, found.above = family.follow(own, depth, above=True)
    found.went_into, found.below = family.follow(own, depth, above=False)
    return found


class _Family:
    """The steps of a graph by their ends."""

    def __init__(self, collected: Collected) -> None:
        self._collected = collected
        self._made_by: dict[int, list[int]] = {}
        for link in range(len(collected.graph)):
            for product in collected.graph.products(link):
                self._made_by.setdefault(product, []).append(link)
        self._uris: dict[int, dict[str, None]] = {}
        for claim in collected.claims:
            for used in claim.inputs:
                self._uris.setdefault(used.artifact, {})[used.uri] = None

    def names(self, artifact: int) -> tuple[str, ...]:
        """Return what statements call an artifact, at most three names: those who made it are asked first."""
        claims = (self._collected.claims[link] for link in self._made_by.get(artifact, ()))
        made = (name for claim in claims for name, number in claim.products if number == artifact and name)
        return tuple(dict.fromkeys((*made, *filter(None, self._uris.get(artifact, ())))))[:3]

    def same_as(self, starts: Sequence[int]) -> frozenset[int]:
        """Return the numbers of an artifact: its other digests, where a verified statement has them."""
        found = set(starts)
        for start in starts:
            for link in self._made_by.get(start, ()):
                claim = self._collected.claims[link]
                if claim.is_verified and len(claim.products) == 1:
                    found.update(self._collected.graph.products(link))
        return frozenset(found)

    def follow(self, starts: frozenset[int], depth: int, *, above: bool) -> tuple[list[Relative], list[Step]]:
        """Return the artifacts in one direction, nearest first, and the steps between them."""
        steps: dict[tuple[int, int], Step] = {}
        seen: dict[int, tuple[int, bool]] = {}
        # first over verified statements alone, so that whatever they reach counts as verified
        for is_verified in (True, False):
            level, known = set(starts), set(starts)
            for distance in range(1, depth + 1):
                following: set[int] = set()
                for found in self._next(level, is_verified=is_verified, above=above):
                    step = _of_start(found, starts)
                    ends = (step.source, step.product)
                    if step.source == step.product:
                        continue
                    best = steps.get(ends)
                    if best is None or (step.is_verified and not best.is_verified):
                        steps[ends] = step
                    elif best.is_verified == step.is_verified:
                        steps[ends] = _joined(best, step)
                    other = step.source if above else step.product
                    if other in starts:
                        continue  # a circle ends here
                    seen.setdefault(other, (distance, is_verified))
                    if other not in known:
                        known.add(other)
                        following.add(other)
                level = following
                if not level:
                    break
        relatives = [
            Relative(
                number,
                self.names(number),
                distance,
                is_verified,
                self._goes_on(number, seen, starts, above=above),
            )
            for number, (distance, is_verified) in seen.items()
        ]
        relatives.sort(key=lambda one: (one.distance, not one.is_verified, one.names, one.artifact))
        return relatives, list(steps.values())

    def _next(self, level: Iterable[int], *, is_verified: bool, above: bool) -> Iterator[Step]:
        """Yield the steps that lead on from a level of artifacts, in one direction."""
        graph, claims = self._collected.graph, self._collected.claims
        for artifact in sorted(level):
            for link in self._made_by.get(artifact, ()) if above else graph.used_by(artifact):
                claim = claims[link]
                if is_verified and not claim.is_verified:
                    continue
                yield from _steps_up(claim, link, artifact) if above else _steps_down(claim, link, artifact)

    def _goes_on(
        self, artifact: int, seen: dict[int, tuple[int, bool]], starts: frozenset[int], *, above: bool
    ) -> bool:
        others = (
            step.source if above else step.product
            for step in self._next([artifact], is_verified=False, above=above)
        )
        return any(other not in seen and other not in starts for other in others)


def _of_start(step: Step, starts: frozenset[int]) -> Step:
    """Return a step with the first number of the artifact that is asked about."""
    if step.source not in starts and step.product not in starts:
        return step
    first = min(starts)
    return replace(
        step,
        source=first if step.source in starts else step.source,
        product=first if step.product in starts else step.product,
    )


def _steps_up(claim: Claim, link: int, artifact: int) -> Iterator[Step]:
    for used in claim.inputs:
        if used.artifact != artifact:
            yield Step(used.artifact, artifact, (used.role,), link, claim.is_verified)


def _steps_down(claim: Claim, link: int, artifact: int) -> Iterator[Step]:
    roles = tuple(dict.fromkeys(used.role for used in claim.inputs if used.artifact == artifact))
    for _, product in claim.products:
        if product != artifact:
            yield Step(artifact, product, roles, link, claim.is_verified)


def _joined(one: Step, other: Step) -> Step:
    """Return a step with the roles of both; the statement of the first stays."""
    return replace(one, roles=tuple(dict.fromkeys((*one.roles, *other.roles))))
