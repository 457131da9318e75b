"""The shapes that a document's values can have: each reads a value and gives its JSON Schema.

One table of shapes describes the policy document (``format``). The reader, the published JSON Schema and the
linter all come from it, so that they cannot disagree. Reading never raises: what is wrong goes to ``report``,
and the value becomes :data:`WRONG`, which every reader of the result has to look for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final, Protocol

from chains.documents.places import Path
from chains.policy.document.problem import Finding, Report
from chains.text import excerpt

WRONG: Final = object()
"""Stands for a value that was reported as wrong."""
LONGEST_TEXT = 65_536
"""Characters of one text in a policy; a bundle of PEM keys fits."""
MOST_ITEMS = 10_000
_ROUNDED = 2.0**63
"""Items of one list in a policy."""


class Shape(Protocol):
    """What a value must look like."""

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return the value as the program uses it, or :data:`WRONG` after a report."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of the shape."""


def _is_wrong(value: object, path: Path, report: Report, expected: str) -> Any:
    report(Finding(path, "wrong_type", f"expected {expected}, got {_shown(value)}"))
    return WRONG


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping" if len(value) <= MOST_ITEMS else f"a mapping of {len(value)} names"
    if isinstance(value, list):
        return "a list" if len(value) <= MOST_ITEMS else f"a list of {len(value)} items"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return repr(excerpt(text, 60))


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is not empty, matching ``pattern`` as a whole; ``what`` names it in messages."""

    what: str = "a text"
    pattern: str = ""
    most: int = LONGEST_TEXT

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return the text."""
        if not isinstance(value, str) or not value or len(value) > self.most:
            return _is_wrong(value, path, report, self.what)
        if self.pattern and re.fullmatch(self.pattern, value) is None:
            return _is_wrong(value, path, report, self.what)
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        pattern = {"pattern": f"^(?:{self.pattern})$"} if self.pattern else {}
        return {"type": "string", "minLength": 1, "maxLength": self.most, **pattern}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the values of an enumeration."""

    kind: type[StrEnum]

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return the member."""
        values = [member.value for member in self.kind]
        if isinstance(value, str) and value in values:
            return self.kind(value)
        near = get_close_matches(value, values, 1) if isinstance(value, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        report(Finding(path, "wrong_value", f"expected {' or '.join(values)}, got {_shown(value)}{hint}"))
        return WRONG

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        return {"enum": [member.value for member in self.kind]}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``least`` to ``most``."""

    least: int
    most: int

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return the number."""
        if isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most:
            return value
        return _is_wrong(value, path, report, f"a whole number from {self.least} to {self.most}")

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Flag:
    """``true`` or ``false``."""

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return the flag."""
        return value if isinstance(value, bool) else _is_wrong(value, path, report, "true or false")

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        return {"type": "boolean"}


_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time of RFC 3339 with its zone, as ``2026-12-31T00:00:00Z``."""

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return an aware ``datetime`` in UTC."""
        if isinstance(value, str) and re.fullmatch(_MOMENT, value):
            try:
                return datetime.fromisoformat(value).astimezone(UTC)
            except (ValueError, OverflowError):
                pass
        return _is_wrong(value, path, report, "a time such as 2026-12-31T00:00:00Z")

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        return {"type": "string", "format": "date-time", "pattern": f"^{_MOMENT}$"}


_SPAN = r"([1-9][0-9]{0,8})([smhd])"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_SPAN = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time: a whole number of seconds, minutes, hours or days, as ``720h`` or ``30d``."""

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return a ``timedelta`` of at most a hundred years."""
        match = re.fullmatch(_SPAN, value) if isinstance(value, str) else None
        if match is not None:
            seconds = int(match[1]) * _SECONDS[match[2]]
            if seconds <= _LONGEST_SPAN.total_seconds():
                return timedelta(seconds=seconds)
        return _is_wrong(value, path, report, "a length of time such as 720h or 30d")

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        return {"type": "string", "pattern": f"^{_SPAN}$"}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one shape with at least ``least`` items."""

    item: Shape
    least: int = 0

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return a tuple of the items that are right; an item that is wrong was reported."""
        if not isinstance(value, list) or len(value) > MOST_ITEMS:
            return _is_wrong(value, path, report, f"a list of at most {MOST_ITEMS} items")
        if len(value) < self.least:
            report(Finding(path, "too_few", f"expected at least {self.least}, got {len(value)}"))
            return WRONG
        found = [self.item.read(item, (*path, at), report) for at, item in enumerate(value)]
        return WRONG if any(item is WRONG for item in found) else tuple(found)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        least = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.item.schema(), **least}


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping from any text to one shape."""

    value: Shape

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return the mapping."""
        if not isinstance(value, Mapping) or len(value) > MOST_ITEMS:
            return _is_wrong(value, path, report, f"a mapping of at most {MOST_ITEMS} names")
        found = {key: self.value.read(item, (*path, key), report) for key, item in value.items()}
        return WRONG if any(item is WRONG for item in found.values()) else found

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        return {"type": "object", "additionalProperties": self.value.schema()}


@dataclass(frozen=True, slots=True)
class Free:
    """Any JSON value, taken as it is, except numbers that may have been rounded."""

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return the value. A whole number beyond 64 bits in JSON was rounded before it came here."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if isinstance(one, float) and abs(one) >= _ROUNDED:
                what = "a number within 64 bits; write a larger one in YAML, in digits"
                return _is_wrong(one, path, report, what)
            waiting += one.values() if isinstance(one, Mapping) else one if isinstance(one, list) else ()
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        return {}


@dataclass(frozen=True, slots=True)
class Named:
    """One name of a mapping: its shape, what it means, and whether it must be there."""

    shape: Shape
    text: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping with known names. An unknown name is reported with the nearest known one."""

    names: Mapping[str, Named]
    one_of: tuple[str, ...] = field(default=())
    """Exactly one of these names must be there."""
    any_of: tuple[str, ...] = field(default=())
    """At least one of these names must be there."""

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return a dict of the names that are there; WRONG when one of its parts is."""
        if not isinstance(value, Mapping):
            return _is_wrong(value, path, report, "a mapping")
        is_right = True
        for key in value:
            if key not in self.names:
                is_right = False
                near = get_close_matches(key, self.names, 1)
                known = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(self.names)}"
                report(Finding((*path, key), "unknown_name", f"unknown name {_shown(key)}: {known}"))
        missing = [name for name, named in self.names.items() if named.required and name not in value]
        for name in missing:
            report(Finding(path, "missing_name", f"{name} is missing: {self.names[name].text}"))
        given = [name for name in self.one_of if name in value]
        if self.one_of and len(given) != 1:
            wanted = f"expected exactly one of {', '.join(self.one_of)}, got {' and '.join(given) or 'none'}"
            report(Finding(path, "one_of", wanted))
            is_right = False
        if self.any_of and not any(name in value for name in self.any_of):
            report(Finding(path, "any_of", f"expected at least one of {', '.join(self.any_of)}, got none"))
            is_right = False
        found = {
            name: named.shape.read(value[name], (*path, name), report)
            for name, named in self.names.items()
            if name in value
        }
        return found if is_right and not missing and WRONG not in found.values() else WRONG

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        written: dict[str, Any] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {**named.shape.schema(), "description": named.text}
                for name, named in self.names.items()
            },
        }
        required = [name for name, named in self.names.items() if named.required]
        if required:
            written["required"] = required
        if self.one_of:
            written["oneOf"] = [{"required": [name]} for name in self.one_of]
        if self.any_of:
            written["anyOf"] = [{"required": [name]} for name in self.any_of]
        return written


@dataclass(frozen=True, slots=True)
class TextOr:
    """A text, or a mapping for whoever needs to say more."""

    text: Text
    fields: Fields
    name: str
    """The mapping's name that a text alone stands for."""

    def read(self, value: object, path: Path, report: Report) -> Any:
        """Return the mapping's dict; a text becomes one with that single name."""
        if isinstance(value, Mapping):
            return self.fields.read(value, path, report)
        found = self.text.read(value, path, report)
        return WRONG if found is WRONG else {self.name: found}

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the shape."""
        return {"oneOf": [self.text.schema(), self.fields.schema()]}
