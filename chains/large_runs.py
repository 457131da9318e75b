"""Which large runs are in work at a time: they take much memory, whoever made them large."""

from __future__ import annotations

from chains.fair_memory import FairMemory
from chains.paging import MOST_IN_WORK, MOST_OF_ONE
from chains.worklist import Job

_REMEMBERED = 10_000


class LargeRuns:
    """Large runs that are known, and those in work. A namespace cannot keep all others waiting.

    A run that has to wait is known by then, so that it is not read again until there is room.
    """

    def __init__(self) -> None:
        self._known: FairMemory[Job, int] = FairMemory(lambda job: job.namespace, most_entries=_REMEMBERED)
        self._in_work: dict[Job, int] = {}

    def knows(self, job: Job) -> bool:
        """Whether a run was found to be large."""
        return self._known.get(job) is not None

    def note(self, job: Job, weight: int) -> None:
        """Remember a run as large."""
        self._known.put(job, min(max(weight, 1), MOST_OF_ONE))

    def forget(self, job: Job) -> None:
        """Forget a run that is done or gone."""
        self._known.pop(job)

    def begin(self, job: Job) -> bool:
        """Count a run as in work; False where it has to wait for others."""
        weight = self._known.get(job) or MOST_OF_ONE
        beside = sum(one for other, one in self._in_work.items() if other.namespace == job.namespace)
        if beside + weight > MOST_OF_ONE or sum(self._in_work.values()) + weight > MOST_IN_WORK:
            return False
        self._in_work[job] = weight
        return True

    def end(self, job: Job) -> None:
        """Count a run as in work no more."""
        self._in_work.pop(job, None)
