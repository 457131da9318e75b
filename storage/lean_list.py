"""Reads a JSON object with one long list entry by entry, with memory for one entry.

The standard library's parser finds the end of each value in a window of fixed size. A value that does not fit
into the window is refused, so neither a long list nor a large entry can exhaust the memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

WINDOW = 256 * 1024
"""The largest entry, and the largest other member, in bytes."""
_SPACE = re.compile(rb"[ \t\r\n]*+")
_decode = json.JSONDecoder().raw_decode


def members_of(data: bytes, name: str, take: Callable[[bytes], None]) -> dict[str, Any]:
    """Return the members of a JSON object without the list ``name``; pass each entry of it to ``take``.

    Entries are passed as their text. The caller checks that they are strict JSON. Raises :class:`ValueError`
    unless ``data`` is one object with such a list, and for a value that does not fit into the window.
    """
    text = _Text(data)
    others: dict[str, Any] = {}
    has_list = False
    text.expect(b"{")
    for _ in text.until(b"}"):
        key, _ = text.value()
        text.expect(b":")
        # A repeated name would be read differently by different readers.
        if key in others or (key == name and has_list) or not isinstance(key, str):
            raise ValueError(f"its member {str(key)[:64]!r} is repeated, or its name is not a string")
        if key != name:
            others[key], _ = text.value()
            continue
        has_list = True
        text.expect(b"[")
        for _ in text.until(b"]"):
            take(text.value()[1])
    text.end()
    if not has_list:
        raise ValueError(f"it has no {name}")
    return others


class _Text:
    """JSON text and the position in it.

    ``_at`` counts bytes of the text. ``_window`` is the decoded text from some earlier position on, and
    ``_done`` counts its characters up to ``_at``.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._window, self._done = "", 0
        self._skip(0)

    def _skip(self, more: int) -> None:
        """Move forward by ``more`` bytes, which are ASCII, and past the white space after them."""
        # The pattern is possessive (*+), so a long run of spaces cannot cause backtracking.
        match = _SPACE.match(self._data, self._at + more)
        end = match.end() if match else self._at + more
        self._done += end - self._at
        self._at = end

    def expect(self, mark: bytes) -> None:
        """Move past ``mark``. Raises :class:`ValueError` if the text continues differently."""
        if self._data[self._at : self._at + 1] != mark:
            raise ValueError(f"expected {mark.decode()} at byte {self._at}")
        self._skip(1)

    def until(self, close: bytes) -> Iterator[None]:
        """Yield once per entry before ``close``, then move past ``close``."""
        if self._data[self._at : self._at + 1] == close:
            self._skip(1)
            return
        while True:
            yield
            if self._data[self._at : self._at + 1] != b",":
                self.expect(close)
                return
            self._skip(1)

    def value(self) -> tuple[Any, bytes]:
        """Return the next value and its text. Raises :class:`ValueError`."""
        result = self._read()
        if result is None:
            part = self._data[self._at : self._at + WINDOW]
            # The value does not end in this window: start a new window at its beginning.
            self._window, self._done = _text(part), 0
            result = self._read()
        if result is None:
            raise ValueError(f"expected a value of at most {WINDOW} bytes at byte {self._at}")
        value, end = result
        # Encode again to move by bytes; the window is decoded text.
        written = self._window[self._done : end].encode()
        self._at += len(written)
        self._done = end
        self._skip(0)
        return value, written

    def _read(self) -> tuple[Any, int] | None:
        """Return the next value and its end in the window; None if it may continue after the window."""
        try:
            value, end = _decode(self._window, self._done)
        except (ValueError, RecursionError):
            return None
        # A number that ends with the window may continue after it.
        return (value, end) if end < len(self._window) else None

    def end(self) -> None:
        """Raise :class:`ValueError` unless the whole text was read."""
        if self._at != len(self._data):
            raise ValueError(f"it has content after its end, at byte {self._at}")


def _text(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError as error:  # the window may cut a character
        return part[: error.start].decode()
