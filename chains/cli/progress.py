"""Progress on a terminal. Nothing is drawn where nobody watches."""

from __future__ import annotations

import time
from typing import TextIO

from chains.terminal import watched_error

_WIDTH = 30
_INTERVAL = 0.1


class Progress:
    """A bar on standard error while a command works, drawn ten times a second at most."""

    def __init__(self, total: int, noun: str, stream: TextIO | None = None) -> None:
        given = stream or watched_error()
        self._stream: TextIO | None = given if total > 0 and given is not None and given.isatty() else None
        self._total, self._noun = total, noun
        self._done = self._failed = 0
        self._drawn = 0.0

    def advance(self, *, failed: bool = False) -> None:
        """Count one more, and one more failure."""
        self._done += 1
        self._failed += failed
        now = time.monotonic()
        if self._stream is not None and (now - self._drawn >= _INTERVAL or self._done == self._total):
            self._drawn = now
            filled = _WIDTH * self._done // self._total
            failures = f", {self._failed} failed" if self._failed else ""
            bar = "█" * filled + "░" * (_WIDTH - filled)
            self._stream.write(f"\r{bar} {self._done}/{self._total} {self._noun}{failures}\x1b[K")
            self._stream.flush()

    def close(self) -> None:
        """Wipe the bar."""
        if self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
