"""JSON from strangers, decoded within limits, each object of a list on its own.

Whoever may create an object can nest it more deeply than decoders allow. An object that cannot be decoded
must not affect any other. It becomes an outline: a scan without recursion finds its metadata and the few
members that decide what happens to it, and each of these is decoded alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from storage import lean_json

Json = Any
UNREADABLE = "provenance.chains/unreadable"
"""The member of an outline with the reason why the object itself cannot be read."""
MOST_LEVELS = 200
"""The most levels of nesting, in YAML too. A value is written again, also inside other objects."""
_MOST_WRITTEN = 254
"""The most levels that orjson writes."""
_TOO_DEEP = f"it is nested deeper than {MOST_LEVELS} levels"
_MANAGED = b"managedFields"
"""This member is nested as deeply as the object, and nothing here needs it."""
_NEEDED = {"status": (b"conditions", b"completionTime"), "spec": (b"managedBy",)}
_LARGEST_MEMBER = 512 * 1024
_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\[\]{}:\"]++")
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]++|[\]}]++|"', re.DOTALL)
_OPENERS = b"{["


class Unreadable(ValueError):  # noqa: N818 - says what is wrong with it
    """A text cannot be decoded, or its value cannot be written again."""


def decode(data: bytes, most: int = lean_json.MOST_VALUES) -> Json:
    """Return the value of a JSON text.

    Raises :class:`Unreadable` for invalid JSON, too many levels, or more than ``most`` values. An object of a
    cluster has at most 1.5 MiB, and only an attack has less than four bytes for each value.
    """
    try:
        found = lean_json.loads(data, most)
        if data.count(b"{") + data.count(b"[") > MOST_LEVELS:
            written = found
            for _ in range(_MOST_WRITTEN - MOST_LEVELS):
                written = [written]
            orjson.dumps(written)
    except lean_json.TooMany as error:
        raise Unreadable(error.msg) from None
    except orjson.JSONDecodeError as error:
        raise Unreadable(_why(str(error))) from None
    except (TypeError, RecursionError):
        raise Unreadable(_TOO_DEEP) from None
    return found


def _why(text: str) -> str:
    deep = "depth limit" in text or "recursion limit" in text.lower()
    return _TOO_DEEP if deep else f"not JSON: {text[:100]}"


def decode_object(data: bytes) -> dict[str, Json] | None:
    """Return an object, or its outline if it cannot be read; None if not even an outline can be made."""
    try:
        found = decode(data)
    except Unreadable as error:
        return outline_of(data, str(error))
    return found if isinstance(found, dict) else None


def decode_page(data: bytes) -> dict[str, Json]:
    """Return a list of objects as the API server sends it. Unreadable objects are replaced by their outlines.

    An item without an outline is ``None``. Raises :class:`Unreadable` if the text is not a list.
    """
    try:
        found = decode(data)
    except Unreadable as error:
        return _page_by_item(data, error)
    if not isinstance(found, dict):
        raise Unreadable("it is no object")
    return found


def _page_by_item(data: bytes, error: Unreadable) -> dict[str, Json]:
    try:
        page: dict[str, Json] = {}
        for name, start, end in _members(data, skip_space(data, 0)):
            if name == b"items" and data[start] == ord("["):
                page["items"] = [decode_object(data[a:b]) for a, b in _elements(data, start)]
            else:
                page[name.decode(errors="replace")] = decode(data[start:end])
    except (ValueError, IndexError):
        raise error from None
    return page


def decode_event(line: bytes) -> dict[str, Json] | None:
    """Return one event of a watch, with an outline for an unreadable object; None if it is no event."""
    try:
        found = decode(line)
    except Unreadable as error:
        try:
            parts = {name: line[a:b] for name, a, b in _members(line, skip_space(line, 0))}
            kind, known = decode(parts[b"type"]), outline_of(parts[b"object"], str(error))
        except (ValueError, IndexError, KeyError):
            return None
        return {"type": kind, "object": known} if known is not None else None
    return found if isinstance(found, dict) else None


def outline_of(data: bytes, reason: str) -> dict[str, Json] | None:
    """Return the outline of an object that cannot be read: metadata, and parts of status and spec.

    None if it has no name and UID.
    """
    try:
        spans = {name: (a, b) for name, a, b in _members(data, skip_space(data, 0))}
        metadata = _some(data, spans.get(b"metadata"), None)
        found: dict[str, Json] = {"metadata": metadata}
        for name, wanted in _NEEDED.items():
            if part := _some(data, spans.get(name.encode()), wanted):
                found[name] = part
        for name in ("apiVersion", "kind"):
            if name.encode() in spans:
                start, end = spans[name.encode()]
                found[name] = decode(data[start:end])
    except (ValueError, IndexError):
        return None
    if not all(isinstance(metadata.get(name), str) for name in ("name", "uid")):
        return None
    found[UNREADABLE] = reason
    return found


def _some(data: bytes, span: tuple[int, int] | None, wanted: tuple[bytes, ...] | None) -> dict[str, Json]:
    """Return the members of an object that can be read, all or those ``wanted``."""
    found: dict[str, Json] = {}
    if span is None or data[span[0]] != ord("{"):
        return found
    for name, start, end in _members(data, span[0]):
        if name == _MANAGED or (wanted is not None and name not in wanted) or end - start > _LARGEST_MEMBER:
            continue
        try:
            found[name.decode()] = decode(data[start:end])
        except ValueError:
            continue
    return found


def _members(data: bytes, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each member of the object at ``at``, with names as they are written.

    Raises :class:`ValueError` or :class:`IndexError` for invalid JSON.
    """
    if data[at] != ord("{"):
        raise ValueError("no object")
    at = skip_space(data, at + 1)
    while data[at] != ord("}"):
        name_end = end_of(data, at)
        name = data[at + 1 : name_end - 1]
        at = skip_space(data, name_end)
        if data[at] != ord(":"):
            raise ValueError("no member")
        start = skip_space(data, at + 1)
        end = end_of(data, start)
        yield name, start, end
        at = _next(data, end, b"}")


def _elements(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each element of the array at ``at``."""
    at = skip_space(data, at + 1)
    while data[at] != ord("]"):
        end = end_of(data, at)
        yield at, end
        at = _next(data, end, b"]")


def _next(data: bytes, at: int, close: bytes) -> int:
    """Return the start of the next member or element, or the end of the object or array."""
    at = skip_space(data, at)
    if data[at : at + 1] == b",":
        return skip_space(data, at + 1)
    if data[at : at + 1] != close:
        raise ValueError("neither a comma nor the end")
    return at


def skip_space(data: bytes, at: int) -> int:
    """Return the position of the first character from ``at`` on that is no white space."""
    found = _SPACE.match(data, at)
    return found.end() if found else at


def end_of(data: bytes, at: int) -> int:
    """Return the end of the value at ``at``, however deeply it is nested.

    Raises :class:`ValueError` or :class:`IndexError` if it does not end.
    """
    if data[at] not in _OPENERS:
        found = _STRING.match(data, at) or _SCALAR.match(data, at)
        if found is None:
            raise ValueError("no value")
        return found.end()
    depth = 0
    for token in _STRUCTURE.finditer(data, at):
        first, length = data[token.start()], token.end() - token.start()
        if first == ord('"'):
            if length == 1:
                raise ValueError("a string without an end")
        elif first in _OPENERS:
            depth += length
        elif depth <= length:
            return token.start() + depth
        else:
            depth -= length
    raise ValueError("it does not end")
