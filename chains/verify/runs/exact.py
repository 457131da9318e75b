"""Reads and writes JSON with whole numbers of any size, which most parsers round beyond 64 bits.

Two statements or records that differ in such a number only would be taken for equal otherwise.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from storage import lean_json

_LONG_NUMBER = re.compile(rb"\d{19}")


def exact(data: bytes, most: int = lean_json.MOST_VALUES) -> Any:
    """Return the JSON value in some bytes, each number exactly. Raises :class:`ValueError` for anything else.

    It may have ``most`` values.
    """
    value = lean_json.loads(data, most)
    if _LONG_NUMBER.search(data) is None:
        return value
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def to_text(value: Any, *, is_sorted: bool = False) -> bytes:
    """Return a value as JSON, its names in their order or sorted."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if is_sorted else 0)
    except TypeError:  # a whole number beyond 64 bits
        return json.dumps(value, sort_keys=is_sorted, ensure_ascii=False, separators=(",", ":")).encode()
