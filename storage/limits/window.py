"""How many requests are under way to one registry: more the farther it is, see
:mod:`storage.limits.distance`."""

from __future__ import annotations

import asyncio
import time

from storage.limits.distance import CROWDED, NEAR, Distance, HostTimes

FEWEST, MOST = 32, 128


class Window:
    """Places for requests to one registry, given in the order in which they were asked for."""

    def __init__(self, fewest: int = FEWEST, most: int = MOST) -> None:
        self._fewest, self._most = fewest, most
        self.size = fewest
        self._places = asyncio.Semaphore(fewest)
        self._owed = 0  # places that will not be given again, since the window shrank while they were used
        self._times, self._distance = HostTimes(), Distance()
        self._answers = 0
        self._short = False
        """Whether somebody waited for a place since the last look."""

    async def enter(self) -> float:
        """Wait for a place; returns what :meth:`leave` has to be given."""
        self._short = self._short or self._places.locked()
        await self._places.acquire()
        return time.monotonic()

    def leave(self, kind: str, entered: float, *, answered: bool = True) -> None:
        """Give a place back.

        ``kind`` is what takes the same time whenever it is asked for, such as a method. What was not
        ``answered`` tells nothing of the distance: a request may end before anybody was asked.
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
        """Say that the registry did not answer, or asked for fewer requests."""
        self._resize(self.size // 2)

    def _look(self) -> None:
        stretch, short = self._distance.stretch, self._short
        self._distance, self._answers, self._short = Distance(), 0, False
        if stretch > CROWDED:
            self._resize(self.size - self.size // 8)
        elif short and stretch < NEAR:
            self._resize(2 * self.size)

    def _resize(self, size: int) -> None:
        size = min(max(size, self._fewest), self._most)
        more, self.size = size - self.size, size
        paid = min(self._owed, max(0, more))
        self._owed += max(0, -more) - paid
        for _ in range(max(0, more) - paid):
            self._places.release()
