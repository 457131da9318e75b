"""What the processes say to each other: lines of JSON, each a list.

To the first process: ``["ask", NUMBER, KEY, IS_PULLED]``, ``["put", KEY, IS_PULLED, UNTIL, RULING]`` and
``["release", KEY]``. From it, about a question: ``[NUMBER, "found", UNTIL, RULING]``, ``[NUMBER, "claim"]``
and ``[NUMBER, "wait"]``. ``UNTIL`` is in seconds of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import json
from typing import Any

LONGEST = 1 << 20
"""Bytes of a line. An answer has 2 KB."""


def to_line(*parts: Any) -> bytes:
    """Return a line. Every text is written as ASCII, also one with lone surrogates."""
    return json.dumps(parts).encode() + b"\n"


def from_line(line: bytes) -> list[Any]:
    """Return the parts of a line. Raises ValueError."""
    found = json.loads(line)
    if not isinstance(found, list):
        raise ValueError("no list")  # noqa: TRY004 - the content, no type of ours
    return found
