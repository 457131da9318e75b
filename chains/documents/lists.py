"""A large list in JSON, read object by object. The text is kept, and only one object at a time is decoded.

The list is read through a window, so neither its length nor one very large object decides how much memory is
used. The standard parser reads it, because it shows every pair of an object. Where it fails, a scan without
recursion finds the end of the object.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from chains.documents.decode import Unreadable, decode, end_of, skip_space
from chains.errors import InputError
from storage.lean_json import MOST_VALUES, values_in

MAX_RUN = 8 << 20
"""The most bytes of one object: five times what a cluster can hold."""
MOST_OBJECTS = 200_000
"""The most objects of one list: twice the largest export that is measured."""
_WINDOW = 256 * 1024
Check = Callable[[list[tuple[str, Any]]], None]


def split_list(data: bytes, name: str, check: Check) -> tuple[dict[str, Any], deque[bytes]]:
    """Return the members of a List without its items, and the text of each item; for an array only the
    latter.

    ``check`` is called with the pairs of every object in the items, and what it raises is raised here. Raises
    :class:`InputError` starting with ``name`` for anything but a list of up to :data:`MOST_OBJECTS` objects
    of up to :data:`MAX_RUN` bytes.
    """
    try:
        at = skip_space(data, 0)
        if data[at : at + 1] == b"[":
            head: dict[str, Any] = {}
            pieces, at = _elements(data, at, name, check)
        else:
            head, pieces, at = _members(data, at, name, check)
    except Unreadable as error:
        raise InputError(f"{name}: {error}") from error
    except (ValueError, IndexError) as error:
        raise InputError(f"{name}: not JSON: {error}") from error
    if skip_space(data, at) != len(data):
        raise InputError(f"{name}: not JSON: something stands behind its end, at byte {at}")
    return head, pieces


def _members(data: bytes, at: int, name: str, check: Check) -> tuple[dict[str, Any], deque[bytes], int]:
    head: dict[str, Any] = {}
    pieces: deque[bytes] | None = None
    at = skip_space(data, at + 1)
    while data[at : at + 1] != b"}":
        end = _end(data, at, name)
        key = decode(data[at:end])
        at = skip_space(data, end)
        if not isinstance(key, str) or data[at : at + 1] != b":":
            raise ValueError(f"a name and a colon are expected at byte {at}")
        if key in head or (key == "items" and pieces is not None):
            raise InputError(f"{name}: key {key[:64]!r} comes twice in one object; readers would disagree")
        at = skip_space(data, at + 1)
        if key == "items" and data[at : at + 1] == b"[":
            pieces, end = _elements(data, at, name, check)
        else:
            end = _end(data, at, name)
            head[key] = decode(_looked_at(data[at:end], check))
        at = _next(data, end, b"}")
    if pieces is None or not str(head.get("kind", "")).endswith("List"):
        count = values_in(data)
        raise InputError(f"{name}: it has some {count} values, at most {MOST_VALUES} are read of one object")
    return head, pieces, at + 1


def _elements(data: bytes, at: int, name: str, check: Check) -> tuple[deque[bytes], int]:
    """Return the elements of the array at ``at``, and where it ends."""
    pieces: deque[bytes] = deque()
    read = json.JSONDecoder(object_pairs_hook=check).raw_decode
    text, done = "", 0
    at = skip_space(data, at + 1)
    while data[at : at + 1] != b"]":
        if len(pieces) == MOST_OBJECTS:
            raise InputError(f"{name}: more than {MOST_OBJECTS} objects in one list; split it")
        piece, after = _piece(text, done, read)
        if piece is None:
            text = _window(data, at)
            piece, after = _piece(text, 0, read)
        if piece is None:
            piece = _looked_at(data[at : _end(data, at, name)], check)
            text, after = "", 0
        pieces.append(piece)
        end = at + len(piece)
        at = _next(data, end, b"]")
        done = after + at - end if text else 0
    return pieces, at + 1


def _piece(text: str, at: int, read: Callable[[str, int], tuple[Any, int]]) -> tuple[bytes | None, int]:
    """Return the text of the value at ``at``, and its end; None if the window may end before it."""
    try:
        _, end = read(text, at)
    except (ValueError, RecursionError):
        return None, at
    return (text[at:end].encode(), end) if end < len(text) else (None, at)


def _window(data: bytes, at: int) -> str:
    # a character that the window cuts in two is not read; invalid UTF-8 is reported later
    part = data[at : at + _WINDOW]
    try:
        return part.decode()
    except UnicodeDecodeError as error:
        return part[: error.start].decode()


def _looked_at(piece: bytes, check: Check) -> bytes:
    """Return a piece after checking that no object in it has two members of one name.

    What the parser cannot decode is not checked.
    """
    if values_in(piece) <= MOST_VALUES:
        with suppress(RecursionError):  # it is never decoded, so nobody can read it differently
            json.loads(piece, object_pairs_hook=check)
    return piece


def _end(data: bytes, at: int, name: str) -> int:
    part = data[at : at + MAX_RUN + 1]
    try:
        end = end_of(part, 0)
    except ValueError:
        if len(part) <= MAX_RUN:
            raise
        end = len(part)
    if end > MAX_RUN:
        raise InputError(
            f"{name}: an object at byte {at} has more than the {MAX_RUN >> 20} MiB that are read"
        )
    return at + end


def _next(data: bytes, at: int, close: bytes) -> int:
    """Return the start of the next member or element, or the end of the object or array."""
    at = skip_space(data, at)
    if data[at : at + 1] == b",":
        at = skip_space(data, at + 1)
        if data[at : at + 1] not in {b"", b"]", b"}"}:
            return at
    elif data[at : at + 1] == close:
        return at
    raise ValueError(f"a comma and a value, or the end, are expected at byte {at}")
