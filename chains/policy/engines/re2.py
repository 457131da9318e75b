"""Regular expressions of a policy in the dialect of Go's ``regexp`` (RE2), anchored at both ends.

Engines search with an expression; a policy's has to match the whole name. The dialects differ: ``{,3}`` is a
repeat in Python and plain text in Go, ``\\d`` has more digits in Python, Go has classes as ``[:alpha:]``.
So an expression is never copied: what Python understood is written anew, in the part that both share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from chains.verify.criteria import NameWanted

MOST_REPEATS = 1000
"""RE2 refuses a higher count, also of repeats within each other."""
NOTHING = r"\A[^\x00-\x{10FFFF}]\z"
"""An expression that matches nothing."""
_CATEGORIES = {
    codes.CATEGORY_DIGIT: r"\p{Nd}",
    codes.CATEGORY_WORD: r"\p{L}\p{N}_",
    codes.CATEGORY_SPACE: r"\s\x0b\x1c-\x1f\x85\p{Z}",
}
_OTHERS = {
    codes.CATEGORY_NOT_DIGIT: codes.CATEGORY_DIGIT,
    codes.CATEGORY_NOT_WORD: codes.CATEGORY_WORD,
    codes.CATEGORY_NOT_SPACE: codes.CATEGORY_SPACE,
}


class UntranslatableError(ValueError):
    """An expression uses what RE2 does not have, or means otherwise."""


def quoted(text: str) -> str:
    """Return an expression that matches exactly this text, for any dialect with ``\\x{HEX}``."""
    return "".join(map(_literal, map(ord, text)))


def whole(name: NameWanted) -> str:
    """Return an expression that finds a name only where the whole of it is wanted.

    Raises :class:`UntranslatableError`.
    """
    return rf"\A(?:{translated(name.value) if name.is_regexp else quoted(name.value)})\z"


def translated(pattern: str) -> str:
    """Return an expression of Python's in RE2's dialect. Raises :class:`UntranslatableError`."""
    parsed = parser.parse(pattern)
    if parsed.state.flags & ~re.UNICODE:
        raise UntranslatableError("flags are not translated")
    return _sequence(parsed)


def _sequence(items: Iterable[Any], budget: int = MOST_REPEATS) -> str:
    return "".join(_item(code, argument, budget) for code, argument in items)


def _item(code: Any, argument: Any, budget: int) -> str:
    write = _WRITERS.get(code)
    if write is None:
        raise UntranslatableError(f"{str(code).lower()} is not translated")
    return write(argument, budget)


def _not_literal(argument: Any, budget: int) -> str:  # noqa: ARG001 - as the table calls it
    return f"[^{_literal(argument)}]"


def _branch(argument: Any, budget: int) -> str:
    return "(?:" + "|".join(_sequence(one, budget) for one in argument[1]) + ")"


def _group(argument: Any, budget: int) -> str:
    _, added, removed, inner = argument
    if added or removed:
        raise UntranslatableError("flags are not translated")
    return f"(?:{_sequence(inner, budget)})"


def _repeat(argument: Any, budget: int) -> str:
    least, most, inner = argument
    is_open = most is codes.MAXREPEAT
    times = least if is_open else most
    if times > budget:
        raise UntranslatableError(f"more than {MOST_REPEATS} repeats in all")
    upper = "" if is_open else str(most)
    return f"(?:{_sequence(inner, budget // max(times, 1))}){{{least},{upper}}}"


def _at(argument: Any, budget: int) -> str:  # noqa: ARG001 - as the table calls it
    if argument not in _ANCHORS:
        raise UntranslatableError("the border of a word is not translated")
    return _ANCHORS[argument]


def _class(items: Any, budget: int) -> str:  # noqa: ARG001 - as the table calls it
    inner, is_negated = "", False
    for code, argument in items:
        if code is codes.NEGATE:
            is_negated = True
        elif code is codes.LITERAL:
            inner += _literal(argument)
        elif code is codes.RANGE:
            inner += f"{_literal(argument[0])}-{_literal(argument[1])}"
        elif code is codes.CATEGORY and argument in _CATEGORIES:
            inner += _CATEGORIES[argument]
        elif code is codes.CATEGORY and len(items) == 1:
            return f"[^{_CATEGORIES[_OTHERS[argument]]}]"
        else:
            raise UntranslatableError("a class of other characters within a class is not translated")
    return f"[{'^' if is_negated else ''}{inner}]"


def _literal(code: int) -> str:
    char = chr(code)
    if char.isascii() and (char.isalnum() or char in "/:_@%,;=~"):
        return char
    return f"\\{char}" if char in ".+*?()|[]{}^$\\-" else f"\\x{{{code:X}}}"


_ANCHORS = {
    codes.AT_BEGINNING: r"\A",
    codes.AT_BEGINNING_STRING: r"\A",
    codes.AT_END: r"\z",
    codes.AT_END_STRING: r"\z",
}
_WRITERS: Mapping[Any, Callable[[Any, int], str]] = {
    codes.LITERAL: lambda argument, _: _literal(argument),
    codes.NOT_LITERAL: _not_literal,
    codes.ANY: lambda *_: r"[^\n]",
    codes.IN: _class,
    codes.BRANCH: _branch,
    codes.SUBPATTERN: _group,
    codes.MAX_REPEAT: _repeat,
    codes.MIN_REPEAT: _repeat,
    codes.AT: _at,
}
