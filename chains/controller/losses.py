"""Reports finished runs that were deleted before they were attested: as a metric, a log line and an Event.

The watch reports a marked run exactly as a deleted one, because both leave it. So a run that left the watch
and is not known to be marked is read once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from chains.config.selection import Selection
from chains.controller.marks.patches import is_marked
from chains.controller.memory.fair_memory import FairMemory
from chains.controller.metrics import Metrics
from chains.tekton.runs import Job, label_of

_REMEMBERED = 10_000
_WHY = (
    "deleted after its end, before it was attested: somebody removed the finalizer that held it, or it was "
    "never held"
)
_log = logging.getLogger("chains.losses")


class Losses:
    """What became of the runs that left the watch. ``tell`` writes an Event: job, reason, message."""

    def __init__(self, metrics: Metrics, tell: Callable[[Job, str, str], Awaitable[None]]) -> None:
        self._metrics, self._tell = metrics, tell
        self._settled: FairMemory[Job, bool] = FairMemory(_namespace, most_entries=_REMEMBERED)
        """Runs that leave the watch because they are marked (True) or being marked (False)."""
        self._left: FairMemory[Job, bool] = FairMemory(_namespace, most_entries=_REMEMBERED)
        """Runs that left the watch unmarked; True if evidence was due."""

    def left(self, job: Job, raw: Mapping[str, Any], selection: Selection | None) -> bool:
        """Note that a finished run left the watch; ``raw`` is its last version.

        Returns whether it is to be looked at, because only a read tells whether it is gone.
        """
        settled = self._settled.get(job)
        if settled:
            return False
        is_due = not is_marked(raw["metadata"])
        if selection is not None:
            is_due = is_due and selection.is_ours(raw) and not selection.left_out(raw, datetime.now(UTC))
        self._left.put(job, is_due)
        return settled is None

    def has_left(self, job: Job) -> bool:
        """Whether a run left the watch and was not looked at since."""
        return job in self._left

    def marking(self, job: Job) -> None:
        """Note that a run is about to be marked: the watch may report it before the PATCH is answered."""
        self._settled.put(job, value=False)

    def marked(self, job: Job) -> None:
        """Note that a run is marked."""
        self._settled.put(job, value=True)
        self._left.pop(job)

    def not_marked(self, job: Job, *, is_due: bool | None = None) -> None:
        """Note that a run was not marked after all; for a run that is gone, whether evidence ``is_due``."""
        self._settled.pop(job)
        if is_due is not None:
            self._left.put(job, is_due)

    def there(self, job: Job) -> None:
        """Note that a run still exists, or belongs to another replica."""
        self._left.pop(job)

    async def gone(self, job: Job) -> None:
        """Note that a run is gone, and report it if it is lost."""
        if not self._left.pop(job):
            return
        self._metrics.count_lost(job.kind, job.namespace)
        _log.error("a run is lost", extra={"run": label_of(job), "uid": job.uid, "reason": _WHY})
        await self._tell(job, "RunLost", f"{label_of(job)} was {_WHY}; there is no evidence of it")


def _namespace(job: Job) -> str:
    return job.namespace
