"""Tables with a maximum number of entries. A table that foreign input fills must not grow without limit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache, wraps
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


def remembered(most: int, longest: int) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """Cache a function of a text: the ``most`` last used results for texts of up to ``longest`` characters.

    Longer texts are not cached, because an attacker may have made them to fill the memory.
    """

    def decorate(function: Callable[[str], T]) -> Callable[[str], T]:
        kept = lru_cache(maxsize=most)(function)

        @wraps(function)
        def look(text: str) -> T:
            return kept(text) if len(text) <= longest else function(text)

        return look

    return decorate


class Bounded(Generic[K, V]):
    """A table with at most ``most`` entries. The least recently used entry is dropped first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._kept))

    def get(self, key: K) -> V | None:
        """Return an entry, or None."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Add or replace an entry."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def drop(self, key: K) -> None:
        """Remove an entry if it exists."""
        self._kept.pop(key, None)
