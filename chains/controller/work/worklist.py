"""The queue of runs to look at: fresh runs before the backlog, failed runs again after a pause.

The queue holds keys only. The objects stay in the cluster until their turn, so memory depends on the runs in
work and not on the size of the cluster. Namespaces are served in turn. A namespace that occupies the workers
has to give some of them up when others wait, see :meth:`WorkList.crowded`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator

from chains.controller.work.lanes import Lane
from chains.controller.work.turns import Crowd
from chains.tekton.runs import Job

LEAVING, FRESH, BACKLOG, SLOW = -1, 0, 1, 2
"""Lanes: runs being deleted that our finalizer holds; runs that just ended; all other runs; and runs whose
last attempt was of no use, because their registry did not answer or because they held a worker that others
needed."""
_ORDER = (LEAVING, FRESH, SLOW, BACKLOG)
"""The lanes in the order in which they are served. Few slow runs are in work at a time, so that the slow lane
may come before the backlog."""
_LISTING_SECONDS, _LONGEST_LISTING = 0.5, 30.0
"""Seconds without a listed run after which a list counts as read; seconds after which it counts as read
anyway."""
_LIVE_SECONDS = 10.0
"""Seconds after a fresh run during which another one is expected."""
_LOOK_SECONDS = 0.25
"""Seconds between two checks whether a namespace has waited too long."""


class WorkList:
    """A queue that holds each job once, first in first out for each lane and namespace.

    ``rate`` returns how many jobs of the backlog may begin in a second; 0 is no limit. While fresh runs
    arrive, at most ``backlog_workers`` jobs of the backlog are in work. Otherwise a fresh run would get a
    worker at once but still be slow, because the backlog keeps the registry and the API server busy. The same
    limit holds while runs are listed: the watch starts after the list, and more work would delay it.

    ``workers`` is how many workers take jobs. If several namespaces have jobs, a namespace that already has
    its share of the workers comes after the others, in whatever lane. At most ``slow`` jobs of the slow lane
    are in work. ``clock`` returns seconds.
    """

    def __init__(
        self,
        rate: Callable[[], float] = lambda: 0.0,
        backlog_workers: float = math.inf,
        *,
        workers: float = math.inf,
        slow: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._next_backlog, self._clock = rate, 0.0, clock
        self._backlog_workers, self._last_fresh = backlog_workers, -math.inf
        self._workers, self._most_slow = workers, slow
        self._listing_since = self._listed = -math.inf
        self._lanes: dict[Job, int] = {}  # of ready jobs; an entry in the queue of another lane is outdated
        self._ready = {lane: Lane[Job](self._stands_in(lane)) for lane in _ORDER}
        self._later: dict[Job, tuple[float, int]] = {}  # when a waiting job is ready, and its lane then
        self._times: list[tuple[float, int, Job]] = []  # a heap of the same; entries may be outdated
        self._known: dict[Job, float] = {}  # end of the run, or when it was offered, in seconds since 1970
        self._home: dict[Job, int] = {}  # of jobs in the slow lane: the lane they came from
        self._working: dict[Job, tuple[int, float, float]] = {}  # lane, end of the run, begin of the turn
        self._held: dict[str, int] = {}  # jobs in work, by namespace
        self._active: dict[str, int] = {}  # jobs in work or ready, by namespace
        self._in_lane = dict.fromkeys(_ORDER, 0)  # jobs in work, by lane
        self._again: dict[Job, tuple[int, float | None]] = {}
        self._number = itertools.count()
        self._takers: deque[asyncio.Future[Job]] = deque()
        self._timer: asyncio.Handle | None = None
        self._wakes = (
            math.inf
        )  # at what time of the loop the timer fires; the handles of other loops may not say it
        self._crowd: Crowd[Job] = Crowd()
        self._pressed = asyncio.Event()
        self._parked: set[Job] = set()  # jobs that wait for something outside, such as an image
        self._soon: set[Job] = set()  # jobs in work that were hastened meanwhile
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """Return how many jobs wait, without parked ones."""
        return len(self._lanes) + len(self._later) - len(self._parked)

    def _stands_in(self, lane: int) -> Callable[[Job], bool]:
        return lambda job: self._lanes.get(job) == lane

    def offer(self, job: Job, lane: int = FRESH, since: float | None = None) -> None:
        """Add a job, unless it is known. A job in work is looked at once more afterwards.

        A job in a later lane moves to ``lane``. A job that waits for a later time, or in the slow lane, goes
        on waiting, unless its run is being deleted or has ended since. ``since`` is when the run ended, in
        seconds since 1970, None for a run in progress.
        """
        if job in self._working:
            self._again[job] = lane, since
            return
        known = self._known.get(job)
        if known is None:
            self._known[job] = time.time() if since is None else since
            self._line_up(lane, job)
            return
        ready = self._lanes.get(job)
        if ready is None or ready == SLOW:
            # the pause was decided when nobody deleted the run, or before it ended: it holds no longer
            if lane == LEAVING or since not in (None, known):
                self._known[job] = known if since is None else since
                before = self._stop_waiting(job)
                self._line_up(min(lane, before), job)
        elif lane < ready:
            # the run was listed while it ran, and so waits in the backlog; it has ended since
            self._known[job] = known if since is None else since
            self._line_up(lane, job)

    def listing(self) -> None:
        """Note that runs are being listed."""
        now = self._clock()
        if now > self._listed + _LISTING_SECONDS:
            self._listing_since = now
        self._listed = now

    def _line_up(self, lane: int, job: Job) -> None:
        namespace = job.namespace
        if job not in self._lanes:
            self._active[namespace] = self._active.get(namespace, 0) + 1
        self._lanes[job] = lane
        self._ready[lane].add(namespace, job)
        if self._takers:
            self._hand_out()
        self._pressed.set()

    def later(self, job: Job, seconds: float, *, slow: bool = False) -> None:
        """Add a job that is looked at after ``seconds``, in the lane it came from or in the slow lane."""
        if job in self._known:
            return
        turn = self._working.get(job)
        lane, self._known[job], _ = turn or (BACKLOG, time.time(), 0.0)
        lane = self._home.pop(job, lane)
        if slow:
            self._home[job], lane = lane, SLOW
        if job in self._soon:
            self._soon.discard(job)
            lane, seconds = self._home.pop(job, lane), 0.0
        self._later[job] = self._clock() + seconds, lane
        if turn is None:
            self._await(job)
            if self._takers:
                self._hand_out()

    def park(self, job: Job, seconds: float) -> None:
        """Add a job that waits for something outside, and so counts as no backlog.

        It is looked at when it is hastened, or in the slow lane after ``seconds``.
        """
        if job not in self._known:
            self._parked.add(job)
            self.later(job, seconds, slow=True)

    def _await(self, job: Job) -> None:
        """Schedule a waiting job. A job in work is scheduled when it is done."""
        heapq.heappush(self._times, (self._later[job][0], next(self._number), job))
        self._pressed.set()

    def hasten(self, job: Job) -> None:
        """Make a job that waits for a later time, or in the slow lane, ready now, in its own lane.

        A job in work is ready right afterwards, if it is to be looked at again.
        """
        if job in self._later or self._lanes.get(job) == SLOW:
            lane = self._stop_waiting(job)
            if job in self._working:
                self._later[job] = self._clock(), lane
            else:
                self._line_up(lane, job)
        elif job in self._working:
            self._soon.add(job)

    def _stop_waiting(self, job: Job) -> int:
        """Remove a job from the waiting jobs and return its own lane."""
        _, lane = self._later.pop(job, (0.0, BACKLOG))
        return self._home.pop(job, lane)

    def withdraw(self, job: Job) -> float | None:
        """Forget a job that waits; return in how many seconds it would be ready, None if it did not wait."""
        found = self._later.get(job)
        self.drop(lambda each: each == job)
        return None if found is None else max(0.0, found[0] - self._clock())

    def drop(self, unwanted: Callable[[Job], bool]) -> int:
        """Forget waiting jobs that are ``unwanted``, and return how many. Jobs in work go on."""
        before = len(self)
        for job in [job for job in self._known if unwanted(job)]:
            del self._known[job]
            self._stop_waiting(job)
            self._parked.discard(job)
            if self._lanes.pop(job, None) is not None:
                _less(self._active, job.namespace)
        for lane in self._ready.values():
            lane.forget(unwanted)
        self._times = [entry for entry in self._times if entry[-1] in self._later]
        heapq.heapify(self._times)
        for job in [job for job in self._again if unwanted(job)]:
            del self._again[job]
        return before - len(self)

    async def take(self) -> Job:
        """Wait for the next job and return it. It counts as in work until :meth:`done`."""
        job, until = self._next(self._clock())
        if job is not None:
            return job
        taker: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._takers.append(taker)
        self._wake_at(until)
        try:
            return await taker
        except asyncio.CancelledError:
            if taker.done() and not taker.cancelled():
                self._take_back(taker.result())
            raise

    def _take_back(self, job: Job) -> None:
        """Put back a job that was handed to a taker that was cancelled."""
        lane, since, _ = self._working[job]
        self._known.setdefault(job, since)
        self._lanes[job] = lane
        self._active[job.namespace] += 1
        self._ready[lane].give_back(job.namespace, job)
        self.done(job)

    def _hand_out(self) -> None:
        """Hand jobs that may begin now to waiting takers."""
        now = self._clock()
        while self._takers:
            if self._takers[0].done():
                self._takers.popleft()
                continue
            job, until = self._next(now)
            if job is None:
                self._wake_at(until)
                return
            self._takers.popleft().set_result(job)

    def _wake_at(self, until: float) -> None:
        """Hand out again at ``until``, unless an earlier time is set already."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, until - self._clock())
        if self._timer is not None and self._wakes > at:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and at < math.inf:
            self._timer, self._wakes = loop.call_at(at, self._woken), at

    def _woken(self) -> None:
        self._timer = None
        self._hand_out()

    def _next(self, now: float) -> tuple[Job | None, float]:
        """Begin the next job and return it, or None; and when to look again."""
        until = self._let_come(now) if self._times else math.inf
        share = self._workers / (len(self._active) or 1)
        chosen: tuple[int, str] | None = None
        for lane, ready in self._ready.items():
            if not ready.queues or (lane == SLOW and self._in_lane[SLOW] >= self._most_slow):
                continue
            if lane == BACKLOG and (held_back := self._held_back(now)) is not None:
                until = min(until, held_back)
                continue
            turn = ready.next(self._held, share)
            if turn is not None and (chosen is None or turn[1] < share):
                chosen = lane, turn[0]
                if turn[1] < share:
                    break
        if chosen is None:
            return None, until
        return self._begin(*chosen, now), until

    def _let_come(self, now: float) -> float:
        """Make jobs ready whose time has come; return when the next one is due."""
        while self._times and self._times[0][0] <= now:
            at, _, job = heapq.heappop(self._times)
            if self._later.get(job, (math.inf, 0))[0] == at:
                lane = self._later.pop(job)[1]
                self._lanes[job] = lane
                self._active[job.namespace] = self._active.get(job.namespace, 0) + 1
                self._ready[lane].add(job.namespace, job)
        return self._times[0][0] if self._times else math.inf

    def _begin(self, lane: int, namespace: str, now: float) -> Job:
        job = self._ready[lane].take(namespace)
        del self._lanes[job]
        self._parked.discard(job)
        self._working[job] = lane, self._known.pop(job), now
        self._held[namespace] = self._held.get(namespace, 0) + 1
        self._in_lane[lane] += 1
        if self._crowd.waiting:
            self._crowd.serve(namespace)
        if lane <= FRESH:
            self._last_fresh = now
        elif lane == BACKLOG and (rate := self._rate()) > 0:
            # up to one second of the rate may be caught up, so that a busy event loop still reaches the rate
            self._next_backlog = max(self._next_backlog, now - 1) + 1 / rate
        self._idle.clear()
        return job

    def _held_back(self, now: float) -> float | None:
        """Return until when the backlog has to wait, None if a job of it may begin."""
        return self._few_until() if self._is_full(now) else self._put_off(now)

    def _is_full(self, now: float) -> bool:
        """Whether the backlog has all workers that it may have while fresh runs arrive or runs are listed."""
        return self._in_lane[BACKLOG] >= self._backlog_workers and now < self._few_until()

    def _few_until(self) -> float:
        listing = min(self._listed + _LISTING_SECONDS, self._listing_since + _LONGEST_LISTING)
        return max(self._last_fresh + _LIVE_SECONDS, listing)

    def _put_off(self, now: float) -> float | None:
        """Return until when the backlog waits because of its rate, None if it does not."""
        return self._next_backlog if self._rate() > 0 and now < self._next_backlog else None

    def done(self, job: Job) -> None:
        """End a job's turn. A job that was offered meanwhile is added again."""
        turn = self._working.pop(job, None)
        if turn is not None:
            self._in_lane[turn[0]] -= 1
            _less(self._held, job.namespace)
            _less(self._active, job.namespace)
            self._crowd.gone(job)
        if not self._working:
            self._idle.set()
        self._soon.discard(job)
        if self._later and job in self._later:
            self._await(job)
        elif self._home and job not in self._lanes:
            self._home.pop(job, None)
        if self._again and (again := self._again.pop(job, None)) is not None:
            self.offer(job, *again)
        if self._takers:
            self._hand_out()

    async def idle(self) -> None:
        """Wait until nothing is in work."""
        await self._idle.wait()

    async def crowded(self) -> list[Job]:
        """Wait until a namespace has waited too long for a worker, and return the jobs that have to give way.

        Each job is returned once, and none of the slow lane, see :class:`chains.controller.work.turns.Crowd`.
        """
        while not (found := self.give_way()):
            if not self._lanes and not self._times:
                self._pressed.clear()
                await self._pressed.wait()
            await asyncio.sleep(_LOOK_SECONDS)
        return found

    def give_way(self) -> list[Job]:
        """Return the jobs that have to give way now, see :meth:`crowded`."""
        now = self._clock()
        self._let_come(now)
        turns = (
            (job.namespace, job, begun) for job, (lane, _, begun) in self._working.items() if lane != SLOW
        )
        return self._crowd.look(now, self._waiting(now), turns)

    def _waiting(self, now: float) -> Iterator[str]:
        """Yield the namespaces that wait for a worker and for nothing else."""
        none_free = all(taker.done() for taker in self._takers)
        if none_free:
            yield from self._ready[LEAVING].namespaces()
            yield from self._ready[FRESH].namespaces()
        if (none_free or self._is_full(now)) and self._put_off(now) is None:
            yield from self._ready[BACKLOG].namespaces()

    @property
    def oldest(self) -> float:
        """Seconds since the end of the run that waits longest, without parked runs."""
        now = time.time()
        oldest = min((since for job, since in self._known.items() if job not in self._parked), default=now)
        return max(0.0, now - oldest)

    @property
    def slow(self) -> int:
        """How many jobs wait in the slow lane, or for it, without parked ones."""
        return len(self._home.keys() - self._parked)

    def working(self) -> Iterator[Job]:
        """Yield the jobs that are in work now."""
        return iter(self._working)

    def resize(self, workers: int, *, backlog_workers: float, slow: float) -> None:
        """Set how many workers take jobs from now on, and how many of them may have the backlog and slow
        jobs."""
        self._workers, self._backlog_workers, self._most_slow = workers, backlog_workers, slow
        if self._takers:
            self._hand_out()

    @property
    def is_short(self) -> bool:
        """Whether jobs are ready while no worker is free."""
        if any(not taker.done() for taker in self._takers):
            return False
        held_back = self._held_back(self._clock()) is not None
        idle = {SLOW, BACKLOG} if held_back else {SLOW}
        return any(ready.queues for lane, ready in self._ready.items() if lane not in idle)

    @property
    def in_work(self) -> int:
        """How many jobs are in work now."""
        return len(self._working)


def _less(counts: dict[str, int], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
