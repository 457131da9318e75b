"""Results of functions of one text, with a limit. What foreign input fills must not grow without limit."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

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
