"""How many runs are in work at once: more if registries are far, as long as memory allows it.

A run in work mostly waits for a registry's answers. The farther the registry, the more runs have to be in
work to use the processor. With a near registry more runs only take memory. How far a registry is, is
measured, see :mod:`storage.limits.distance`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from storage.limits.distance import CROWDED, NEAR, Distance

FEWEST, MOST = 64, 512
"""Workers at the start, and at most, if the number is not configured."""
MOST_RESIDENT = 160 * 1024 * 1024
"""Bytes of this process's memory above which workers leave, down to the number at the start."""
_FEW = 4
_WINDOW = 1.0
"""Seconds between two decisions."""
_LOOK = 0.05
"""Seconds between two measurements of how late the event loop is."""
_BUSY, _LATE = 0.75, 0.02
"""Processor time as a part of one core, and lateness of the event loop in seconds, from which on the
processor is the limit and more workers are of no use."""


def part_of(workers: int) -> int:
    """Return how many of the workers may have jobs of the backlog while fresh runs arrive, and slow jobs."""
    return max(1, workers // _FEW)


@dataclass(frozen=True, slots=True)
class Seen:
    """The measurements of one window."""

    ended: int
    """Turns that ended, with whatever outcome."""
    wanted: bool
    """Whether runs waited for a worker during the whole window."""
    busy: float
    """Processor time of this process, as a part of one core."""
    late: float
    """Median lateness of the event loop in seconds."""
    stretch: float
    """Time of the answers divided by the best time of their hosts; 1 is as fast as the best."""
    resident: int = 0
    """Bytes of memory."""


@dataclass(slots=True)
class Growth:
    """Decides on the ``number`` of workers, from ``fewest`` to ``most``."""

    fewest: int
    most: int
    number: int = 0

    def __post_init__(self) -> None:
        self.number = self.fewest

    def look(self, seen: Seen) -> int:
        """Return the number of workers after a window."""
        if seen.resident > MOST_RESIDENT or seen.stretch > CROWDED:
            self.number -= self.number // 8
        elif not seen.wanted:
            self.number -= self.number // 16
        elif seen.ended and seen.busy < _BUSY and seen.late < _LATE and seen.stretch < NEAR:
            self.number *= 2
        self.number = min(max(self.number, self.fewest), self.most)
        return self.number


class Crew:
    """Measures, and calls ``resize`` with the number of workers when it changes.

    ``wanted`` returns whether runs wait for a worker now.
    """

    def __init__(
        self,
        growth: Growth,
        distance: Distance,
        wanted: Callable[[], bool],
        resize: Callable[[int], None],
    ) -> None:
        self._growth, self._distance, self._wanted, self._resize = growth, distance, wanted, resize
        self._ended = 0

    def ended(self) -> None:
        """Count a turn that ended."""
        self._ended += 1

    async def run(self) -> None:
        """Measure and decide until cancelled."""
        while self._growth.most > self._growth.fewest:
            before = self._growth.number
            seen = await self._watch()
            if self._growth.look(seen) != before:
                self._resize(self._growth.number)

    async def _watch(self) -> Seen:
        loop, distance = asyncio.get_running_loop(), self._distance
        begun, processor, ended = loop.time(), time.process_time(), self._ended
        before = replace(distance)
        wanted, late = True, []
        while loop.time() < begun + _WINDOW:
            due = loop.time() + _LOOK
            await asyncio.sleep(_LOOK)
            late.append(loop.time() - due)
            wanted = wanted and self._wanted()
        seconds = loop.time() - begun
        return Seen(
            ended=self._ended - ended,
            wanted=wanted,
            busy=(time.process_time() - processor) / seconds,
            late=sorted(late)[len(late) // 2],
            stretch=distance.since(before).stretch,
            resident=resident(),
        )


def resident() -> int:
    """Return the resident memory of this process in bytes, 0 if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
