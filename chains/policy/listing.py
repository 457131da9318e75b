"""Several names of the evidence on one line of an answer."""

from __future__ import annotations

from collections.abc import Iterable

NAMED = 4
"""Items that one line of an answer names."""


def some(names: Iterable[str]) -> str:
    """Return names on one line, each once: a few of them, and how many more there are."""
    listed = [str(name) for name in dict.fromkeys(names)]
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more
