"""A bounded memory that is fair to namespaces: if it is full, the namespace that holds most loses entries.

What a tenant chooses (names, owner references, the number of runs) therefore evicts its own entries only.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
_SLACK = 1000


class FairMemory(Generic[K, V]):
    """Values by key, with at most ``most_weight`` together and at most ``most_entries``.

    The namespace with the largest weight loses its oldest entry, or with ``keeps_first`` its latest. An entry
    that is heavier than ``most_weight`` by itself is not stored.
    """

    def __init__(
        self,
        namespace_of: Callable[[K], str],
        *,
        most_weight: float = math.inf,
        most_entries: float = math.inf,
        keeps_first: bool = False,
    ) -> None:
        self._namespace_of = namespace_of
        self._most_weight, self._most_entries, self._keeps_first = most_weight, most_entries, keeps_first
        self._values: dict[str, OrderedDict[K, tuple[V, int]]] = {}
        self._weights: dict[str, int] = {}
        self._heaviest: list[tuple[int, int, str]] = []
        """A heap of negative weight, negative count and namespace. Entries may be outdated, but none is
        missing."""
        self._count = 0
        self.weight = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[K]:
        for values in self._values.values():
            yield from values

    def __contains__(self, key: K) -> bool:
        return key in self._values.get(self._namespace_of(key), ())

    def get(self, key: K) -> V | None:
        """Return a value, None for an unknown key."""
        values = self._values.get(self._namespace_of(key))
        found = values.get(key) if values is not None else None
        return None if found is None else found[0]

    def put(self, key: K, value: V, weight: int = 1) -> list[tuple[K, V]]:
        """Add or replace a value, as the latest. Returns the evicted entries, which may include the new
        one."""
        self.pop(key)
        if weight > self._most_weight:
            return [(key, value)]
        space = self._namespace_of(key)
        self._values.setdefault(space, OrderedDict())[key] = value, weight
        self._add(space, 1, weight)
        gone = []
        while self.weight > self._most_weight or self._count > self._most_entries:
            values = self._values[self._fullest()]
            found = next(reversed(values)) if self._keeps_first else next(iter(values))
            gone.append((found, values[found][0]))
            self.pop(found)
        return gone

    def pop(self, key: K) -> V | None:
        """Remove a value and return it, None for an unknown key."""
        space = self._namespace_of(key)
        values = self._values.get(space)
        found = values.pop(key, None) if values is not None else None
        if found is None:
            return None
        self._add(space, -1, -found[1])
        if not values:
            del self._values[space], self._weights[space]
        return found[0]

    def _add(self, space: str, count: int, weight: int) -> None:
        self._count += count
        self.weight += weight
        self._weights[space] = self._weights.get(space, 0) + weight
        if count > 0:
            heapq.heappush(self._heaviest, self._entry(space))
            if len(self._heaviest) > _SLACK + 2 * len(self._values):
                self._heaviest = [self._entry(name) for name in self._values]
                heapq.heapify(self._heaviest)

    def _entry(self, space: str) -> tuple[int, int, str]:
        return -self._weights[space], -len(self._values[space]), space

    def _fullest(self) -> str:
        while True:
            found = self._heaviest[0]
            if found[2] not in self._values:
                heapq.heappop(self._heaviest)
            elif found != (now := self._entry(found[2])):
                heapq.heapreplace(self._heaviest, now)
            else:
                return found[2]
