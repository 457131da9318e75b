"""Which large runs are in work at a time: they take much memory, whoever made them large."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from chains.cluster.paging import MOST_IN_WORK, MOST_OF_ONE
from chains.controller.memory.fair_memory import FairMemory
from chains.tekton.runs import Job
from storage.limits.bounded import Bounded

_REMEMBERED = 10_000
WAIT = 15.0
"""Seconds after which a run that waits asks again, if nobody told it that it is its turn."""
_LEFT = 4 * WAIT
"""Seconds after which one that has not asked any more keeps nobody waiting."""


def _nobody(_: Job) -> None:
    """Tell nobody."""


class LargeRuns:
    """Large runs that are known, those that wait and those in work.

    The namespace goes first whose last turn was longest ago, with its run that has waited longest. Whose turn
    it is waits until there is room for it, and nobody overtakes it: so a heavy run comes to its turn beside
    any number of light ones. The runs of one namespace take a half of the room, so that there is some when
    another one comes; a run heavier than that goes alone, when nothing else is in work. ``wake`` is told
    whose turn it is; ``clock`` is in seconds.
    """

    def __init__(
        self, wake: Callable[[Job], None] = _nobody, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wake, self._clock = wake, clock
        self._known: FairMemory[Job, int] = FairMemory(lambda job: job.namespace, most_entries=_REMEMBERED)
        self._lines: dict[str, dict[Job, float]] = {}
        """Who waits, by namespace, oldest first; and when each asked last."""
        self._turns: Bounded[str, int] = Bounded(_REMEMBERED)
        """The number of the last turn of a namespace."""
        self._number = itertools.count(1)
        self._in_work: dict[Job, int] = {}

    def weight(self, job: Job) -> int:
        """Return what a run that was found to be large counts for; 0 for any other."""
        return self._known.get(job) or 0

    def note(self, job: Job, weight: int) -> None:
        """Remember a run as large; one that is known turned out to be heavier, and counts twice at least."""
        self._known.put(job, min(max(weight, 2 * self.weight(job), 1), MOST_IN_WORK))

    def forget(self, job: Job) -> None:
        """Forget a run that is done or gone."""
        self._known.pop(job)
        self._leave(job)
        self._tell_next()

    def forget_all(self, unwanted: Callable[[Job], bool]) -> None:
        """Forget ``unwanted`` runs."""
        waiting = [job for line in self._lines.values() for job in line]
        for job in {job for job in (*self._known, *waiting) if unwanted(job)}:
            self.forget(job)

    def begin(self, job: Job) -> bool:
        """Count a run as in work; False where it has to wait for others, which it does from then on."""
        self._lines.setdefault(job.namespace, {})[job] = self._clock()
        if job != self._next():
            return False
        self._leave(job)
        self._turns.put(job.namespace, next(self._number))
        self._in_work[job] = self._counts(job)
        self._tell_next()
        return True

    def end(self, job: Job) -> None:
        """Count a run as in work no more."""
        self._in_work.pop(job, None)
        self._tell_next()

    def _leave(self, job: Job) -> None:
        line = self._lines.get(job.namespace)
        if line is not None:
            line.pop(job, None)
            if not line:
                del self._lines[job.namespace]

    def _counts(self, job: Job) -> int:
        return self.weight(job) or MOST_IN_WORK

    def _next(self) -> Job | None:
        """Return the run that may begin now, None where none may."""
        self._drop_left()
        taken = sum(self._in_work.values())
        for namespace in sorted(self._lines, key=lambda name: self._turns.get(name) or 0):
            job = next(iter(self._lines[namespace]))
            weight = self._counts(job)
            if weight > MOST_OF_ONE:
                return None if taken else job
            beside = sum(one for other, one in self._in_work.items() if other.namespace == namespace)
            if beside and beside + weight > MOST_OF_ONE:
                continue  # it waits for its own namespace, which is no reason for others to wait
            return job if taken + weight <= MOST_IN_WORK else None
        return None

    def _drop_left(self) -> None:
        before = self._clock() - _LEFT
        for job in [job for line in self._lines.values() for job, asked in line.items() if asked < before]:
            self._leave(job)

    def _tell_next(self) -> None:
        if self._lines and (job := self._next()) is not None:
            self._wake(job)
