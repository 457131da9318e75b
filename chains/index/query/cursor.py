"""Cursors: where the next page of a query begins.

A cursor names the last row of the page before by what that page shows of it, a digest or a UID. The number of
the row in the index would tell about how many rows there are that the reader may not see.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chains.index.query.errors import CursorError

_FORM = struct.Struct(">q16s")
"""``finished`` and the beginning of the hash of the query; the name of the row follows."""
_TEXT = re.compile(r"[A-Za-z0-9_-]{34,8192}", re.ASCII)
_BEHIND_ALL = 2**62
"""An id that no row has."""


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page: rows after it are older, or as old and have a smaller id."""

    finished: int
    id: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page, by its time and its name: the digest or the UID as the index has it."""

    finished: int
    name: bytes

    def position(self, find: Callable[[bytes], int | None]) -> Position:
        """Return where the row is. ``find`` gives the id of a row by its name, None if none may be seen.

        Without the row, all rows of its second follow: some a second time, and none is left out.
        """
        number = find(self.name)
        return Position(self.finished, _BEHIND_ALL if number is None else number)


def cursor_of(last: Cursor, filters: Sequence[str]) -> str:
    """Return the text of a cursor. ``filters`` is everything that selects rows."""
    packed = _FORM.pack(last.finished, _hash(filters)) + last.name
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(cursor: str, filters: Sequence[str]) -> Cursor:
    """Return the cursor of a text. Raises :class:`CursorError` if it is of another query, or damaged."""
    if _TEXT.fullmatch(cursor) is None or len(cursor) % 4 == 1:
        raise CursorError("the cursor is damaged: pass the one that the page before gave")
    packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    finished, found = _FORM.unpack_from(packed)
    if found != _hash(filters):
        raise CursorError("the cursor is of another query: pass it with the query of the page before it")
    return Cursor(finished, packed[_FORM.size :])


def _hash(filters: Sequence[str]) -> bytes:
    # the length of each, so that no two lists of texts are one text
    parts = (text.encode(errors="surrogatepass") for text in filters)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()[:16]
