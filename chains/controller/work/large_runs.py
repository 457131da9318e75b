"""Which large runs are in work at a time. They take much memory, and any tenant can create them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from cachetools import LRUCache

from chains.cluster.paging import MOST_IN_WORK, MOST_OF_ONE
from chains.controller.memory.fair_memory import FairMemory
from chains.tekton.runs import Job

_REMEMBERED = 10_000
WAIT = 15.0
"""Seconds after which a waiting run asks again, if it was not woken before."""
_LEFT = 4 * WAIT
"""Seconds after which a run that has not asked again loses its place in the line."""


def _nobody(_: Job) -> None:
    """Wake nobody."""


class LargeRuns:
    """The large runs that are known, that wait, and that are in work.

    Next is the namespace whose last turn was longest ago, with its run that has waited longest. The run whose
    turn it is waits until there is room, and no run overtakes it. A heavy run is therefore served beside any
    number of light ones. The runs of one namespace take at most half of the room, so that there is some for
    another. A run heavier than that is in work alone. ``wake`` is called with the run whose turn it is.
    ``clock`` returns seconds.
    """

    def __init__(
        self, wake: Callable[[Job], None] = _nobody, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wake, self._clock = wake, clock
        self._known: FairMemory[Job, int] = FairMemory(lambda job: job.namespace, most_entries=_REMEMBERED)
        self._lines: dict[str, dict[Job, float]] = {}
        """The waiting runs by namespace, oldest first, and when each asked last."""
        self._turns: LRUCache[str, int] = LRUCache(_REMEMBERED)
        """The number of the last turn of a namespace."""
        self._number = itertools.count(1)
        self._in_work: dict[Job, int] = {}

    def weight(self, job: Job) -> int:
        """Return the weight of a run that was found to be large, 0 for any other."""
        return self._known.get(job) or 0

    def note(self, job: Job, weight: int) -> None:
        """Remember a run as large. A known run was heavier than expected and gets at least twice its
        weight."""
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
        """Count a run as in work and return True; False if it has to wait, which it does from then on."""
        self._lines.setdefault(job.namespace, {})[job] = self._clock()
        if job != self._next():
            return False
        self._leave(job)
        self._turns[job.namespace] = next(self._number)
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
                continue  # it waits for a run of its own namespace, so other namespaces do not wait for it
            return job if taken + weight <= MOST_IN_WORK else None
        return None

    def _drop_left(self) -> None:
        before = self._clock() - _LEFT
        for job in [job for line in self._lines.values() for job, asked in line.items() if asked < before]:
            self._leave(job)

    def _tell_next(self) -> None:
        if self._lines and (job := self._next()) is not None:
            self._wake(job)
