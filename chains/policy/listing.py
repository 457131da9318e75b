"""The wording of answers: several names on one line, lengths of time, expressions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from chains.text import count

NAMED = 4
"""Items that one line of an answer names."""


def some(names: Iterable[str]) -> str:
    """Return names on one line, each once: a few of them, and how many more there are."""
    listed = [str(name) for name in dict.fromkeys(names)]
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more


def span(length: timedelta) -> str:
    """Return a length of time in its largest unit, rounded down."""
    seconds = int(length.total_seconds())
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return count(seconds // size, unit)
    return count(seconds, "second")


def one_line(cel: str) -> str:
    """Return a rule's expression on one line."""
    return " ".join(cel.split())
