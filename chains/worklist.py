"""What the controller still has to do: keys alone, fresh runs before the backlog, failed ones again later.

Bodies stay in the cluster until their turn comes, so memory follows the work in flight and not the cluster.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from chains.errors import ChainsError

LEAVING, FRESH, BACKLOG = -1, 0, 1
"""Lanes: runs that are held although somebody deletes them, runs that just ended, all others."""
_LISTING_SECONDS, _LONGEST_LISTING = 0.5, 30.0
"""How long after a listed run the next one is expected, and for how long a list is waited for at most."""
_LIVE_SECONDS = 10.0
"""How long after a fresh run the next one is expected."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run to look at: Tekton's kind, namespace, name and UID.

    ``owner`` is the UID of the PipelineRun that owns a TaskRun, empty for a run of its own.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    owner: str = field(default="", compare=False)


Permit = Callable[[], bool]
"""Says at any moment whether what was begun may still be stored and marked."""


class PermitLost(ChainsError):  # noqa: N818 - what happened, and no error of the run
    """Another replica may work on the run by now: nothing of it is to be stored or marked here."""


class Uses:
    """Counts who uses a thing that is to be closed after them."""

    def __init__(self) -> None:
        self._count, self._unused = 0, asyncio.Event()
        self._unused.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one more user for the length of the block."""
        self._count += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._unused.set()

    async def ended(self, seconds: float) -> None:
        """Wait until nobody uses it, for ``seconds`` at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._unused.wait(), seconds)


class WorkList:
    """A queue without doubles. Of one lane, what came first goes first; a later time makes a job wait.

    ``rate`` is asked how many jobs of the backlog may be begun in a second; 0 is no limit. While fresh runs
    come, ``beside_fresh`` jobs of the backlog are in work at most: a fresh one that has a worker at once is
    still slow where all others keep registry and API server busy. While runs are listed, the backlog waits:
    what is watched comes after the list, and would come late.
    """

    def __init__(self, rate: Callable[[], float] = lambda: 0.0, beside_fresh: float = math.inf) -> None:
        self._rate, self._next_backlog = rate, 0.0
        self._beside_fresh, self._last_fresh, self._old_in_work = beside_fresh, -math.inf, 0
        self._listing_since = self._listed = -math.inf
        self._ready: list[tuple[int, int, Job]] = []
        self._lanes: dict[Job, int] = {}  # of those that are ready; an entry of another lane is outdated
        self._waiting: list[tuple[float, int, int, Job]] = []
        self._known: dict[Job, float] = {}  # since when, in seconds since 1970
        self._working: dict[Job, tuple[int, float]] = {}
        self._again: dict[Job, tuple[int, float | None]] = {}
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._lanes) + len(self._waiting)

    def offer(self, job: Job, lane: int = FRESH, since: float | None = None) -> None:
        """Add a job, unless it is there; one in work is done once more afterwards.

        One that is in a later lane changes to ``lane``; one that waits for a later time goes on waiting,
        unless its run is leaving, or has ended since.
        ``since`` is when its run ended, in seconds since 1970; a run in progress has none.
        """
        if job in self._working:
            self._again[job] = lane, since
        elif job not in self._known:
            self._known[job] = time.time() if since is None else since
            self._line_up(lane, next(self._order), job)
        elif lane < self._lanes.get(job, lane):
            # it was listed while it ran, behind the backlog, and has ended since
            self._known[job] = self._known[job] if since is None else since
            self._line_up(lane, next(self._order), job)
        elif lane == LEAVING or since not in (None, self._known[job]):
            # its pause was for something else: nobody deleted it then, or it had not ended
            self._known[job] = self._known[job] if since is None else since
            self.hasten(job)

    def listing(self) -> None:
        """Say that runs are being listed."""
        now = time.monotonic()
        if now > self._listed + _LISTING_SECONDS:
            self._listing_since = now
        self._listed = now

    def _line_up(self, lane: int, order: int, job: Job) -> None:
        self._lanes[job] = lane
        heapq.heappush(self._ready, (lane, order, job))
        self._changed.set()

    def later(self, job: Job, seconds: float) -> None:
        """Add a job that is not looked at before ``seconds`` have passed, in the lane it was taken from."""
        if job in self._known:
            return
        lane, self._known[job] = self._working.get(job) or (BACKLOG, time.time())
        heapq.heappush(self._waiting, (time.monotonic() + seconds, lane, next(self._order), job))
        self._changed.set()

    def hasten(self, job: Job) -> None:
        """Let a job that waits for a later time be looked at now."""
        for entry in self._waiting:
            if entry[-1] == job:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
                self._line_up(*entry[1:])
                return

    def drop(self, unwanted: Callable[[Job], bool]) -> int:
        """Forget the jobs that wait and are ``unwanted``; those in work go on. Returns how many."""
        before = len(self)
        self._ready = [entry for entry in self._ready if not unwanted(entry[-1])]
        self._waiting = [entry for entry in self._waiting if not unwanted(entry[-1])]
        heapq.heapify(self._ready)
        heapq.heapify(self._waiting)
        for job in [job for job in self._known if unwanted(job)]:
            del self._known[job]
            self._lanes.pop(job, None)
        for job in [job for job in self._again if unwanted(job)]:
            del self._again[job]
        return before - len(self)

    async def take(self) -> Job:
        """Wait for the next job; it counts as in work until :meth:`done`."""
        while True:
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, lane, order, job = heapq.heappop(self._waiting)
                self._line_up(lane, order, job)
            while self._ready and self._lanes.get(self._ready[0][2]) != self._ready[0][0]:
                heapq.heappop(self._ready)
            until = self._held_back(now) if self._ready else None
            if self._ready and until is None:
                lane, _, job = heapq.heappop(self._ready)
                del self._lanes[job]
                self._count_taken(lane, now)
                self._working[job] = lane, self._known.pop(job)
                self._idle.clear()
                return job
            self._changed.clear()
            times = [self._waiting[0][0]] if self._waiting else []
            times += [until] if until is not None else []
            try:
                await asyncio.wait_for(self._changed.wait(), min(times) - now if times else None)
            except TimeoutError:
                continue

    def _held_back(self, now: float) -> float | None:
        """Return until when the next job has to wait; None if it may be begun."""
        if self._ready[0][0] <= FRESH:
            return None
        listing = min(self._listed + _LISTING_SECONDS, self._listing_since + _LONGEST_LISTING)
        if now < listing:
            return listing
        if self._old_in_work >= self._beside_fresh and now < self._last_fresh + _LIVE_SECONDS:
            return self._last_fresh + _LIVE_SECONDS
        return self._next_backlog if self._rate() > 0 and now < self._next_backlog else None

    def _count_taken(self, lane: int, now: float) -> None:
        if lane <= FRESH:
            self._last_fresh = now
            return
        self._old_in_work += 1
        if (rate := self._rate()) > 0:
            # a second's worth may be made up for, so that a slow loop still reaches the rate
            self._next_backlog = max(self._next_backlog, now - 1) + 1 / rate

    def done(self, job: Job) -> None:
        """Say that a job is out of work; what was offered meanwhile comes again."""
        lane, _ = self._working.pop(job, (FRESH, 0.0))
        if lane == BACKLOG:
            self._old_in_work -= 1
            if self._old_in_work < self._beside_fresh:
                self._changed.set()
        if not self._working:
            self._idle.set()
        again = self._again.pop(job, None)
        if again is not None:
            self.offer(job, *again)

    async def idle(self) -> None:
        """Wait until nothing is in work."""
        await self._idle.wait()

    @property
    def oldest(self) -> float:
        """Seconds since the end of the run that waits longest."""
        return max(0.0, time.time() - min(self._known.values())) if self._known else 0.0

    def working(self) -> Iterator[Job]:
        """Yield the jobs that are in work now."""
        return iter(self._working)

    @property
    def in_work(self) -> int:
        """How many jobs are in work now."""
        return len(self._working)
