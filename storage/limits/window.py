"""The number of requests under way to one registry.

It grows with the distance (:mod:`storage.limits.distance`).
"""

from __future__ import annotations

import asyncio
import time

from storage.limits.distance import CROWDED, NEAR, Distance, HostTimes

FEWEST, MOST = 32, 128


class Window:
    """Places for requests to one registry, given in the order of the requests."""

    def __init__(self, fewest: int = FEWEST, most: int = MOST) -> None:
        self._fewest, self._most = fewest, most
        self.size = fewest
        self._places = asyncio.Semaphore(fewest)
        # The window shrank while all places were in use: this many are not released when they come back.
        self._owed = 0
        self._times, self._distance = HostTimes(), Distance()
        self._answers = 0
        self._short = False
        """Whether a request had to wait for a place since the size was last reviewed."""

    async def enter(self) -> float:
        """Wait for a place; return the value to pass to :meth:`leave`."""
        self._short = self._short or self._places.locked()
        await self._places.acquire()
        return time.monotonic()

    def leave(self, kind: str, entered: float, *, answered: bool = True) -> None:
        """Release a place.

        ``kind`` groups requests that take about the same time, such as a method. ``answered`` is False for a
        request that ended without an answer; its time says nothing about the distance.
        """
        now = time.monotonic()
        if self._owed:
            self._owed -= 1
        else:
            self._places.release()
        if not answered:
            return
        self._distance.note(self._times, kind, now - entered, now)
        self._answers += 1
        if self._answers >= self.size:
            self._look()

    def halve(self) -> None:
        """Report that the registry did not answer, or asked for fewer requests."""
        self._resize(self.size // 2)

    def _look(self) -> None:
        """Review the size: shrink it if there is a queue, double it if requests waited and there is none."""
        stretch, short = self._distance.stretch, self._short
        self._distance, self._answers, self._short = Distance(), 0, False
        if stretch > CROWDED:
            self._resize(self.size - self.size // 8)
        elif short and stretch < NEAR:
            self._resize(2 * self.size)

    def _resize(self, size: int) -> None:
        """Change the size. Places that are in use are withdrawn when they are released."""
        size = min(max(size, self._fewest), self._most)
        more, self.size = size - self.size, size
        # Growing first cancels withdrawals that are still pending.
        paid = min(self._owed, max(0, more))
        self._owed += max(0, -more) - paid
        for _ in range(max(0, more) - paid):
            self._places.release()
