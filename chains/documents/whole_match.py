"""Whether a name fits a regular expression as a whole, in a time that grows with the name's length alone.

Names come from certificates that strangers ask for. Python's engine tries one way after the other, so that a
name of forty characters can keep it busy for years. Here all ways are followed at the same time (Thompson's
construction): each character costs at most one look at each part of the expression.

What a character class holds is asked of Python's engine, one character at a time, so that both agree.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MOST_PARTS = 2000
"""Parts of an expression, with those of bounded repeats written out."""
_OF_CLASSES = re.IGNORECASE | re.ASCII | re.DOTALL
_ANCHORS = {codes.AT_BEGINNING, codes.AT_BEGINNING_STRING, codes.AT_END, codes.AT_END_STRING}
_CATEGORIES = {
    codes.CATEGORY_DIGIT: r"\d",
    codes.CATEGORY_NOT_DIGIT: r"\D",
    codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_SPACE: r"\S",
    codes.CATEGORY_WORD: r"\w",
    codes.CATEGORY_NOT_WORD: r"\W",
}


class Unsupported(ValueError):  # noqa: N818 - named after what is wrong
    """The expression has references, look-around, edges of words, or too many parts."""


@dataclass(slots=True, eq=False)
class _Part:
    """One place in an expression: what a character must be here, and where to go on.

    Without a character it is passed at once, or with an ``anchor`` where that holds. ``known`` has the
    characters that were asked about.
    """

    fits: Callable[[str], object] | None = None
    anchor: Any = None
    after: list[_Part] = field(default_factory=list)
    known: dict[str, bool] = field(default_factory=dict)

    def takes(self, char: str) -> bool:
        """Whether the character fits here."""
        answer = self.known.get(char)
        if answer is None:
            answer = self.known[char] = self.fits is not None and bool(self.fits(char))
        return answer


@dataclass(frozen=True, slots=True)
class WholeMatch:
    """A regular expression that names are compared with."""

    _first: _Part
    _last: _Part

    @classmethod
    def of(cls, pattern: str) -> WholeMatch:
        """Read an expression. Raises :class:`Unsupported`, and :class:`re.error` for none."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parsed = parser.parse(pattern)
        if parsed.state.flags & re.MULTILINE:
            raise Unsupported("the flag m")
        first = _Part()
        builder = _Builder(parsed.state.flags)
        return cls(first, builder.sequence(parsed, first))

    def matches(self, name: str) -> bool:
        """Whether the name fits as a whole."""
        current = _closure([self._first], _anchors(name, 0))
        for place, char in enumerate(name, 1):
            after = (one for part in current if part.takes(char) for one in part.after)
            current = _closure(after, _anchors(name, place))
            if not current:
                return False
        return self._last in current


@lru_cache(maxsize=256)
def whole_match(pattern: str) -> WholeMatch | None:
    """Return the expression, None if it has what cannot be compared in this way."""
    try:
        return WholeMatch.of(pattern)
    except (Unsupported, RecursionError, Warning):
        return None


def _anchors(name: str, place: int) -> set[Any]:
    """Return the anchors that hold at a place of a name."""
    found = {codes.AT_BEGINNING, codes.AT_BEGINNING_STRING} if place == 0 else set()
    if place == len(name):
        return found | {codes.AT_END, codes.AT_END_STRING}
    is_before_last = place == len(name) - 1 and name[place] == "\n"
    return found | {codes.AT_END} if is_before_last else found


def _closure(parts: Iterable[_Part], anchors: set[Any]) -> set[_Part]:
    """Return the parts where a character is looked at next, and those passed at once to get there."""
    found: set[_Part] = set()
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if part not in found:
            found.add(part)
            if part.fits is None and (part.anchor is None or part.anchor in anchors):
                waiting += part.after
    return found


class _Builder:
    """Makes the parts of an expression; each method returns the part at which what it made ends."""

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._left = MOST_PARTS

    def sequence(self, items: Iterable[Any], at: _Part) -> _Part:
        for code, argument in items:
            at = self._item(code, argument, at)
        return at

    def _item(self, code: Any, argument: Any, at: _Part) -> _Part:
        if code in {codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN}:
            return self._character(_source(code, argument), at)
        if code is codes.BRANCH:
            return self._branch(argument[1], at)
        if code is codes.SUBPATTERN:
            _, add, remove, inner = argument
            outer, self._flags = self._flags, (self._flags | add) & ~remove
            if self._flags & re.MULTILINE:
                raise Unsupported("the flag m")
            end = self.sequence(inner, at)
            self._flags = outer
            return end
        if code in {codes.MAX_REPEAT, codes.MIN_REPEAT}:
            least, most, inner = argument
            return self._repeat(least, most, inner, at)
        if code is codes.AT and argument in _ANCHORS:
            anchor = self._next(at)
            anchor.anchor = argument
            return self._next(anchor)
        raise Unsupported(str(code))

    def _character(self, source: str, at: _Part) -> _Part:
        one = self._next(at)
        one.fits = _asked(source, self._flags & _OF_CLASSES)
        return self._next(one)

    def _branch(self, branches: Iterable[Any], at: _Part) -> _Part:
        ends = [self.sequence(branch, self._next(at)) for branch in branches]
        joined = self._part()
        for end in ends:
            end.after.append(joined)
        return joined

    def _repeat(self, least: int, most: int, inner: Any, at: _Part) -> _Part:
        for _ in range(least):
            at = self.sequence(inner, self._next(at))
        if most is codes.MAXREPEAT:
            loop = self._next(at)
            self.sequence(inner, self._next(loop)).after.append(loop)
            return self._next(loop)
        skipped = [at]
        for _ in range(most - least):
            at = self.sequence(inner, self._next(at))
            skipped.append(at)
        end = self._part()
        for one in skipped:
            one.after.append(end)
        return end

    def _next(self, at: _Part) -> _Part:
        part = self._part()
        at.after.append(part)
        return part

    def _part(self) -> _Part:
        self._left -= 1
        if self._left < 0:
            raise Unsupported(f"more than {MOST_PARTS} parts")
        return _Part()


def _asked(source: str, flags: int) -> Callable[[str], object]:
    return re.compile(source, flags).fullmatch


def _source(code: Any, argument: Any) -> str:
    """Return what one character must be, as an expression."""
    if code is codes.ANY:
        return "."
    if code is codes.LITERAL:
        return re.escape(chr(argument))
    if code is codes.NOT_LITERAL:
        return f"[^{_escaped(argument)}]"
    return f"[{''.join(_member(*member) for member in argument)}]"


def _member(code: Any, argument: Any) -> str:
    if code is codes.NEGATE:
        return "^"
    if code is codes.RANGE:
        return f"{_escaped(argument[0])}-{_escaped(argument[1])}"
    if code is codes.CATEGORY and argument in _CATEGORIES:
        return _CATEGORIES[argument]
    if code is codes.LITERAL:
        return _escaped(argument)
    raise Unsupported(str(code))


def _escaped(number: int) -> str:
    return f"\\U{number:08x}"
