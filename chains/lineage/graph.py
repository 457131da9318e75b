"""Artifacts, and the runs that made some of them from others.

A node is an artifact by one digest (``algorithm:value``). A link is one statement: its inputs, its products,
the run that it names and the digest of the evidence that says so. Each pair of an input and a product of a
link is an edge. Where links come from is not known here; what a link is worth is the caller's to decide.

Everything is held by numbers: a link takes about 200 bytes, and 16 for each of its inputs and products.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

MOST_LINKS = 1_000_000
MOST_ENDS = 20_000_000
"""Inputs and products of all links together."""
MOST_ARTIFACTS = 5_000_000
"""Different digests. Each takes about 350 bytes."""


@dataclass(frozen=True, slots=True)
class Edge:
    """``source`` was an input of the run ``run_uid``, which made ``product``; ``evidence`` says so."""

    source: str
    product: str
    run_uid: str
    evidence: str


@dataclass(slots=True)
class Reach:
    """What was reached: the links and artifacts by number, each with its distance from the start.

    An artifact at distance 0 was made by a link of the start. ``via`` is the link that first led to it.
    """

    links: dict[int, int] = field(default_factory=dict)
    artifacts: dict[int, int] = field(default_factory=dict)
    via: dict[int, int] = field(default_factory=dict)


class Graph:
    """Artifacts and links, numbered in the order in which they were added."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._digests: list[str] = []
        self._inputs: list[tuple[int, ...]] = []
        self._products: list[tuple[int, ...]] = []
        self._names: list[tuple[str, str]] = []
        self._used_by: dict[int, list[int]] = {}
        self._ends = 0

    def __len__(self) -> int:
        return len(self._inputs)

    @property
    def artifact_count(self) -> int:
        """How many different digests there are."""
        return len(self._digests)

    def has_room(self, ends: int) -> bool:
        """Whether a link with this many inputs and products may be added."""
        return (
            len(self._inputs) < MOST_LINKS
            and self._ends + ends <= MOST_ENDS
            and len(self._digests) + ends <= MOST_ARTIFACTS
        )

    def add(self, inputs: Iterable[str], products: Iterable[str], run_uid: str, evidence: str) -> int:
        """Add a link and return its number. The caller asks :meth:`has_room` before."""
        link = len(self._inputs)
        taken = tuple(dict.fromkeys(map(self.number, inputs)))
        made = tuple(dict.fromkeys(map(self.number, products)))
        self._inputs.append(taken)
        self._products.append(made)
        self._names.append((run_uid, evidence))
        for artifact in taken:
            self._used_by.setdefault(artifact, []).append(link)
        self._ends += len(taken) + len(made)
        return link

    def number(self, digest: str) -> int:
        """Return the number of an artifact, a new one for a digest that is not known."""
        known = self._numbers.get(digest)
        if known is None:
            known = self._numbers[digest] = len(self._digests)
            self._digests.append(digest)
        return known

    def known(self, digest: str) -> int | None:
        """Return the number of an artifact, None for a digest that is not known."""
        return self._numbers.get(digest)

    def digest(self, artifact: int) -> str:
        """Return the digest of an artifact."""
        return self._digests[artifact]

    def inputs(self, link: int) -> Sequence[int]:
        """Return the artifacts that a link took."""
        return self._inputs[link]

    def products(self, link: int) -> Sequence[int]:
        """Return the artifacts that a link made."""
        return self._products[link]

    def used_by(self, artifact: int) -> Sequence[int]:
        """Return the links that took an artifact."""
        return self._used_by.get(artifact, ())

    def follow(self, starts: Iterable[int], passes: Callable[[int], bool]) -> Reach:
        """Return what the links ``starts`` lead to, through links that ``passes`` accepts, nearest first.

        Each link is followed once, so a circle ends. ``starts`` are not asked of ``passes``.
        """
        reach = Reach()
        waiting = deque(dict.fromkeys(starts))
        reach.links = dict.fromkeys(waiting, 0)
        while waiting:
            link = waiting.popleft()
            distance = reach.links[link]
            for artifact in self._products[link]:
                if artifact in reach.artifacts:
                    continue
                reach.artifacts[artifact] = distance
                reach.via[artifact] = link
                for user in self.used_by(artifact):
                    if user not in reach.links and passes(user):
                        reach.links[user] = distance + 1
                        waiting.append(user)
        return reach

    def edges(self, links: Iterable[int], artifacts: Callable[[int], bool]) -> Iterator[Edge]:
        """Yield the edges of links between two artifacts that ``artifacts`` accepts."""
        for link in links:
            run_uid, evidence = self._names[link]
            made = [one for one in self._products[link] if artifacts(one)]
            for taken in self._inputs[link]:
                if artifacts(taken):
                    for product in made:
                        yield Edge(self._digests[taken], self._digests[product], run_uid, evidence)
