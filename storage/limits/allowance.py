"""How much evidence one search may hold: a store may be full of somebody's junk.

Whoever asks several stores or questions for one purpose gives them one allowance with :func:`within`;
without, each search has its own. Equal bytes count, and are kept, once: a run with a thousand images has its
statement beside each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from storage.limits.single_flight import InFlight

LARGEST = 64 * 1024 * 1024
"""Bytes of one piece of evidence."""
MOST_BYTES = LARGEST
"""Bytes of a search that nobody gave an allowance; who shows or copies evidence holds it twice or more."""
_AT_ONCE = 32


class Allowance:
    """Bytes that are left. Of pieces that nobody ``wants`` nothing is kept. Safe for threads."""

    def __init__(
        self, most: int | None = None, largest: int = LARGEST, wants: Callable[[bytes], bool] | None = None
    ) -> None:
        self.most = MOST_BYTES if most is None else most
        self.largest = min(largest, self.most)
        self._wants = wants
        self._left = self.most
        self.is_exceeded = False
        """Whether anything was left out that a larger allowance would have let in."""
        self._kept: dict[str, bytes] = {}
        self._read: dict[Hashable, bytes] = {}
        self._reading: InFlight[Hashable, bytes | None] = InFlight()
        self._lock = threading.Lock()

    @property
    def at_once(self) -> int:
        """How many pieces may be read at a time, so that none is left out for others that are not kept."""
        return max(1, min(_AT_ONCE, self.most // self.largest)) if self._wants else _AT_ONCE

    def take(self, size: int) -> str:
        """Count ``size`` bytes that are to be read; return why they may not be, else ``""``."""
        with self._lock:
            if size <= min(self._left, self.largest):
                self._left -= size
                return ""
            self.is_exceeded = True
        if self.largest < size <= self.most:
            return f"not read: it has {size} bytes, at most {self.largest} are read"
        return f"not read: there are more than {self.most} bytes of evidence"

    def give_back(self, size: int) -> None:
        """Take back what was counted and not read."""
        with self._lock:
            self._left += size

    async def once(self, place: Hashable, read: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        """Return what ``read`` gives, read once for each place whoever asks; errors and None are not kept.

        ``read`` counts what it reads and returns what :meth:`kept` does. A place is where bytes of a digest
        and size lie, so that what a registry lacks in one repository is not taken from another.
        """
        known = self._read.get(place)
        if known is None:
            known = await self._reading.run(place, read)
            if known is not None:
                self._read[place] = known
        return known

    def kept(self, digest: str, data: bytes) -> bytes:
        """Return ``data``, which was counted; the same bytes as before where they were read before.

        Empty for what is not wanted.
        """
        if self._wants is not None and not self._wants(data):
            self.give_back(len(data))
            return b""
        with self._lock:
            known = self._kept.setdefault(digest, data)
            if known is not data:
                self._left += len(data)
            return known


_current: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


def current() -> Allowance:
    """Return the allowance of the purpose that is asked for, or a new one."""
    return _current.get() or Allowance()


@contextmanager
def within(allowance: Allowance) -> Iterator[Allowance]:
    """Let everything that is asked inside share one allowance."""
    token = _current.set(allowance)
    try:
        yield allowance
    finally:
        _current.reset(token)
