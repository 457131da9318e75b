"""Tolerant reading of JSON objects: a value that is missing or has the wrong type is read as empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Json = Any


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A JSON value as it came, of any type: compared and attested as a whole, never taken apart by a rule."""

    value: Json = None


NO_VALUE = Verbatim()
_MAPPING = (dict, Mapping)
"""A mapping; a dictionary first, because a check against an abstract class takes ten times as long."""
_TOO_DEEP = "(nested too deeply)"


def as_text(value: Json) -> str:
    """Return any JSON value as a text; what is nested too deeply for that as a fixed one."""
    try:
        return str(value)
    except RecursionError:
        return _TOO_DEEP


def parse_time(text: str) -> datetime | None:
    """Return a moment as the API server writes it, None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def mapping_at(value: Json, *path: str) -> Mapping[str, Json]:
    """Return the mapping under a path of keys, an empty one where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, _MAPPING) else None
    return value if isinstance(value, _MAPPING) else {}


def objects_at(value: Json, *path: str) -> list[Mapping[str, Json]]:
    """Return the mappings in the list under a path of keys; what is no mapping is left out."""
    *above, last = path
    found = mapping_at(value, *above).get(last)
    return [item for item in found if isinstance(item, _MAPPING)] if isinstance(found, list) else []


def text_at(value: Json, *path: str) -> str:
    """Return the string under a path of keys, ``""`` where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, _MAPPING) else None
    return value if isinstance(value, str) else ""


def texts_at(value: Json, *path: str) -> list[str]:
    """Return the strings in the list under a path of keys; what is no string is left out."""
    *above, last = path
    found = mapping_at(value, *above).get(last)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
