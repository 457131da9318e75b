"""Words for people, without any judgement of what they say."""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun in the right form, such as ``1 run`` and ``2 runs``."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
