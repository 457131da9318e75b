"""An object with one long list in it, read entry by entry through a window: no more is made than one entry.

The standard parser tells where a value ends. What does not fit into the window is refused, so neither the
list's length nor one enormous entry decides how much memory reading takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

WINDOW = 256 * 1024
"""Bytes of one entry, and of one other member, at most."""
_SPACE = re.compile(rb"[ \t\r\n]*+")
_decode = json.JSONDecoder().raw_decode


def members_of(data: bytes, name: str, take: Callable[[bytes], None]) -> dict[str, Any]:
    """Return the members of a JSON object but its list ``name``, each of whose entries goes to ``take``.

    Entries are given as they are written; whether they are strict JSON is for their reader. Raises
    :class:`ValueError` for anything but one object with such a list, or what does not fit into the window.
    """
    text = _Text(data)
    others: dict[str, Any] = {}
    found = False
    text.expect(b"{")
    for _ in text.until(b"}"):
        key, _ = text.value()
        text.expect(b":")
        if key in others or (key == name and found) or not isinstance(key, str):
            raise ValueError(f"its member {str(key)[:64]!r} comes twice, or is none")
        if key != name:
            others[key], _ = text.value()
            continue
        found = True
        text.expect(b"[")
        for _ in text.until(b"]"):
            take(text.value()[1])
    text.end()
    if not found:
        raise ValueError(f"it has no {name}")
    return others


class _Text:
    """JSON, and how far it was read."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._window, self._done = "", 0
        self._skip(0)

    def _skip(self, more: int) -> None:
        """Go on by ``more`` bytes, all of them ASCII, and the space behind them."""
        match = _SPACE.match(self._data, self._at + more)
        end = match.end() if match else self._at + more
        self._done += end - self._at
        self._at = end

    def expect(self, mark: bytes) -> None:
        """Go past ``mark``. Raises :class:`ValueError` where it does not stand."""
        if self._data[self._at : self._at + 1] != mark:
            raise ValueError(f"{mark.decode()} is expected at byte {self._at}")
        self._skip(1)

    def until(self, close: bytes) -> Iterator[None]:
        """Give a turn for each entry before ``close``, and go past that."""
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
        """Return the value that stands here, and its text."""
        found = self._read()
        if found is None:
            part = self._data[self._at : self._at + WINDOW]
            self._window, self._done = _text(part), 0
            found = self._read()
        if found is None:
            raise ValueError(f"no value of up to {WINDOW} bytes stands at byte {self._at}")
        value, end = found
        written = self._window[self._done : end].encode()
        self._at += len(written)
        self._done = end
        self._skip(0)
        return value, written

    def _read(self) -> tuple[Any, int] | None:
        """Return a value, and its end in the window; None where it may go on behind that."""
        try:
            value, end = _decode(self._window, self._done)
        except (ValueError, RecursionError):
            return None
        return (value, end) if end < len(self._window) else None

    def end(self) -> None:
        """Raise :class:`ValueError` unless everything was read."""
        if self._at != len(self._data):
            raise ValueError(f"something stands behind its end, at byte {self._at}")


def _text(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError as error:  # the window may cut a character
        return part[: error.start].decode()
