"""Who looked at what: one JSON object a line for each request, also for those that were refused.

A line has no token, code or cookie. Text of strangers is escaped, so that it can neither begin a line nor
look like other text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode

from chains.errors import InputError
from chains.masking.forms import mask
from chains.text import excerpt, rfc3339

_LONGEST: Final = 1000
_HIDDEN: Final = frozenset(
    {"access_token", "assertion", "authorization", "code", "id_token", "password", "secret", "state", "token"}
)
"""Parameters whose values are never written."""


class Log(Protocol):
    """Takes lines. Raises :class:`OSError` for one that was not written."""

    def write(self, line: bytes) -> None:
        """Write one line, with its end."""


class Nowhere:
    """No log: for one's own machine."""

    def write(self, line: bytes) -> None:
        """Write nothing."""


class File:
    """A file that is only added to. When it was renamed, as log rotation does, a new one is begun."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        try:
            self._open()
        except OSError as error:
            raise InputError(f"{path}: the access log cannot be written: {error.strerror}") from error

    def write(self, line: bytes) -> None:
        """Write one line."""
        try:
            there = self._path.stat()
            own = os.fstat(self._file)
            is_same = (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)
        except FileNotFoundError:
            is_same = False
        if not is_same:
            self.close()
            self._open()
        if os.write(self._file, line) != len(line):
            raise OSError(f"{self._path}: a line was written in part")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


class AccessLog:
    """Writes an entry for each request. ``now`` returns the time of day."""

    def __init__(self, log: Log, now: Callable[[], datetime]) -> None:
        self._log, self._now = log, now

    def write(self, *, path: str, query: str, **facts: Any) -> None:
        """Write an entry. Facts without a value are left out. Raises :class:`OSError`."""
        entry = {
            "time": rfc3339(self._now()),
            "event": "request",
            "path": _told(path),
            "query": _told(_without_secrets(path, query)),
            **{name: _told(value) if isinstance(value, str) else value for name, value in facts.items()},
        }
        kept = {name: value for name, value in entry.items() if value not in ("", None)}
        # ASCII alone: whatever reads it sees each other character as an escape
        line = json.dumps(kept).replace("\x7f", "\\u007f")
        self._log.write(f"{line}\n".encode("ascii"))


def _told(text: str) -> str:
    return mask(excerpt(text, _LONGEST))


def _without_secrets(path: str, query: str) -> str:
    if path.startswith("/auth/"):
        return ""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=None)
    if not any(name.lower() in _HIDDEN for name, _ in pairs):
        return query
    return urlencode([(name, "***" if name.lower() in _HIDDEN else value) for name, value in pairs])
