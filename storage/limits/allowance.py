"""The limit on the evidence that one search holds. Anyone with write access can fill a store.

A caller that searches several stores for one purpose gives them a common allowance with :func:`within`.
Without one, each search has its own. Equal bytes are counted and kept once: a run with a thousand images has
the same statement next to each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from storage.limits.single_flight import InFlight

LARGEST = 64 * 1024 * 1024
"""The largest piece of evidence in bytes."""
MOST_BYTES = LARGEST
"""The bytes of a search without an allowance. Callers that show or copy evidence hold it twice or more."""
_AT_ONCE = 32
"""The most pieces that are read at the same time."""


class Allowance:
    """The bytes that may still be read. Safe to use from several threads.

    If ``wants`` is given and returns False for a piece, its bytes are dropped and not counted.
    """

    def __init__(
        self, most: int | None = None, largest: int = LARGEST, wants: Callable[[bytes], bool] | None = None
    ) -> None:
        self.most = MOST_BYTES if most is None else most
        self.largest = min(largest, self.most)
        self._wants = wants
        self._left = self.most
        self.is_exceeded = False
        """Whether anything was skipped that a larger allowance would have admitted."""
        self._kept: dict[str, bytes] = {}
        self._read: dict[Hashable, bytes] = {}
        self._reading: InFlight[Hashable, bytes | None] = InFlight()
        self._lock = threading.Lock()

    @property
    def at_once(self) -> int:
        """How many pieces may be read at the same time.

        With ``wants``, so few that pieces which are going to be dropped cannot use up the allowance of
        others.
        """
        return max(1, min(_AT_ONCE, self.most // self.largest)) if self._wants else _AT_ONCE

    def take(self, size: int) -> str:
        """Reserve ``size`` bytes before reading them; return the reason if that is refused, else ``""``."""
        with self._lock:
            if size <= min(self._left, self.largest):
                self._left -= size
                return ""
            self.is_exceeded = True
        # The message tells a single large piece from too many pieces.
        if self.largest < size <= self.most:
            return f"not read: it has {size} bytes, at most {self.largest} are read"
        return f"not read: there are more than {self.most} bytes of evidence"

    def give_back(self, size: int) -> None:
        """Return reserved bytes that were not read."""
        with self._lock:
            self._left += size

    async def once(self, place: Hashable, read: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        """Return the result of ``read``, which runs once per place. Errors and None are not remembered.

        ``read`` reserves what it reads and returns the result of :meth:`kept`. A place includes the
        repository, so that a blob that one repository lacks is not taken from another.
        """
        known = self._read.get(place)
        if known is None:
            known = await self._reading.run(place, read)
            if known is not None:
                self._read[place] = known
        return known

    def kept(self, digest: str, data: bytes) -> bytes:
        """Return ``data``, which was reserved. Equal bytes are kept once; ``b""`` if they are not wanted."""
        if self._wants is not None and not self._wants(data):
            self.give_back(len(data))
            return b""
        with self._lock:
            known = self._kept.setdefault(digest, data)
            # Equal bytes are held already: give the reservation of this copy back.
            if known is not data:
                self._left += len(data)
            return known


_current: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


def current() -> Allowance:
    """Return the allowance of the current purpose, or a new one."""
    return _current.get() or Allowance()


@contextmanager
def within(allowance: Allowance) -> Iterator[Allowance]:
    """Let all searches inside the ``with`` block share one allowance."""
    token = _current.set(allowance)
    try:
        yield allowance
    finally:
        _current.reset(token)
