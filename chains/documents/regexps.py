"""Regular expressions from documents: only such as compare a name in bounded time.

Python's engine tries alternatives one after the other, so ``(a+)+`` needs years for a name of forty
characters that somebody chose. What can grow like that is refused when the policy is read.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from chains.documents.whole_match import whole_match

MOST_REPEATS = 3
"""Unbounded repeats of one expression: with n of them a name of length m takes at most about m^n steps."""
_REPEATS = frozenset({codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT})
_BOUNDED = 16
_MOST_WAYS = 10_000
"""Ways in which the parts of an expression that are bounded can share a name."""


def regexp_problem(pattern: str) -> str:
    """Return why an expression cannot be used, empty when it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
            parsed = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return f"{pattern!r} is no regular expression: {error}"
    problem = _problem(parsed)
    if not problem and whole_match(pattern) is None:
        problem = "edges of words, flags for lines and groups that keep what they took are not supported"
    return f"{pattern!r}: {problem}: write it simpler, or list exact names" if problem else ""


def _problem(parsed: Iterable[Any]) -> str:
    repeats, problem = 0, ""
    waiting: list[tuple[Iterable[Any], bool]] = [(parsed, False)]
    while waiting and not problem:
        items, is_repeated = waiting.pop()
        for code, argument in items:
            if code in {codes.GROUPREF, codes.ASSERT, codes.ASSERT_NOT, codes.GROUPREF_EXISTS}:
                problem = "references to groups and look-around are not supported"
            elif code in _REPEATS:
                _, most, inner = argument
                is_loop = most > _BOUNDED
                repeats += is_loop
                if is_loop and is_repeated:
                    problem = "a repeat within a repeat can take for ever"
                waiting.append((inner, is_repeated or most > 1))
            elif code is codes.BRANCH:
                if is_repeated:
                    problem = "alternatives within a repeat can take for ever"
                waiting += [(branch, is_repeated) for branch in argument[1]]
            elif code is codes.SUBPATTERN:
                waiting.append((argument[-1], is_repeated))
            elif code is codes.ATOMIC_GROUP:
                waiting.append((argument, is_repeated))
    if not problem and repeats > MOST_REPEATS:
        return f"more than {MOST_REPEATS} unbounded repeats can take for ever"
    if not problem and _ways(parsed) > _MOST_WAYS:
        return "parts of changing length can share a name in too many ways"
    return problem


def _ways(items: Iterable[Any]) -> int:
    """Return in how many ways the bounded parts can share a name, about; 1 for parts of a fixed length."""
    ways = 1
    for code, argument in items:
        if code in _REPEATS:
            least, most, inner = argument
            own = _ways(inner)
            if most <= _BOUNDED:
                ways *= (most - least + 1) * own**most
            elif own > 1:
                return _MOST_WAYS + 1
        elif code is codes.BRANCH:
            ways *= sum(map(_ways, argument[1]))
        elif code is codes.SUBPATTERN:
            ways *= _ways(argument[-1])
        elif code is codes.ATOMIC_GROUP:
            ways *= _ways(argument)
        if ways > _MOST_WAYS:
            return _MOST_WAYS + 1
    return ways
