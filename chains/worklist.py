"""What the controller still has to do: keys alone, fresh runs before the backlog, failed ones again later.

Bodies stay in the cluster until their turn comes, so memory follows the work in flight and not the cluster.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from dataclasses import dataclass

FRESH, BACKLOG = 0, 1


@dataclass(frozen=True, slots=True)
class Job:
    """One run to look at: Tekton's kind, namespace, name and UID."""

    kind: str
    namespace: str
    name: str
    uid: str


class WorkList:
    """A queue without doubles. Of one lane, what came first goes first; a later time makes a job wait."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, Job]] = []
        self._waiting: list[tuple[float, int, int, Job]] = []
        self._known: dict[Job, float] = {}
        self._working: set[Job] = set()
        self._again: dict[Job, int] = {}
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._ready) + len(self._waiting)

    def offer(self, job: Job, lane: int = FRESH) -> None:
        """Add a job, unless it is there; one in work is done once more afterwards."""
        if job in self._working:
            self._again[job] = lane
        elif job not in self._known:
            self._known[job] = time.monotonic()
            heapq.heappush(self._ready, (lane, next(self._order), job))
            self._changed.set()

    def later(self, job: Job, seconds: float, lane: int = FRESH) -> None:
        """Add a job that is not looked at before ``seconds`` have passed."""
        self._known.setdefault(job, time.monotonic())
        heapq.heappush(self._waiting, (time.monotonic() + seconds, lane, next(self._order), job))
        self._changed.set()

    async def take(self) -> Job:
        """Wait for the next job; it counts as in work until :meth:`done`."""
        while True:
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, lane, order, job = heapq.heappop(self._waiting)
                heapq.heappush(self._ready, (lane, order, job))
            if self._ready:
                job = heapq.heappop(self._ready)[2]
                self._known.pop(job, None)
                self._working.add(job)
                self._idle.clear()
                return job
            self._changed.clear()
            timeout = self._waiting[0][0] - now if self._waiting else None
            try:
                await asyncio.wait_for(self._changed.wait(), timeout)
            except TimeoutError:
                continue

    def done(self, job: Job) -> None:
        """Say that a job is out of work; what was offered meanwhile comes again."""
        self._working.discard(job)
        if not self._working:
            self._idle.set()
        lane = self._again.pop(job, None)
        if lane is not None:
            self.offer(job, lane)

    async def idle(self) -> None:
        """Wait until nothing is in work."""
        await self._idle.wait()

    @property
    def oldest(self) -> float:
        """Seconds for which the job that waits longest has waited."""
        return time.monotonic() - min(self._known.values()) if self._known else 0.0

    @property
    def in_work(self) -> int:
        """How many jobs are in work now."""
        return len(self._working)
