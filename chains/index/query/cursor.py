"""Cursors: where the next page of a query begins."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from chains.index.query.errors import CursorError

_FORM = struct.Struct(">qq16s")
"""``finished``, the id of the attestation, and the beginning of the hash of the query."""
_TEXT = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page: rows after it are older, or as old and have a smaller id."""

    finished: int
    id: int


def cursor_of(position: Position, filters: Sequence[str]) -> str:
    """Return the cursor for what follows a row. ``filters`` is everything that selects rows."""
    packed = _FORM.pack(position.finished, position.id, _hash(filters))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def position_of(cursor: str, filters: Sequence[str]) -> Position:
    """Return the row of a cursor. Raises :class:`CursorError` if it is of another query, or damaged."""
    if _TEXT.fullmatch(cursor) is None:
        raise CursorError("the cursor is damaged: pass the one that the page before gave")
    finished, number, found = _FORM.unpack(base64.urlsafe_b64decode(cursor + "="))
    if found != _hash(filters):
        raise CursorError("the cursor is of another query: pass it with the query of the page before it")
    return Position(finished, number)


def _hash(filters: Sequence[str]) -> bytes:
    # the length of each, so that no two lists of texts are one text
    parts = (text.encode(errors="surrogatepass") for text in filters)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()[:16]
