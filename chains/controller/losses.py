"""Tells of finished runs that were deleted before they were attested: counted, logged, and as an Event.

The watch says of a run that was marked what it says of one that was deleted: it is not in the watch any more.
What is not known to be marked here is therefore asked for once.
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
    "deleted after its end, before it was attested: somebody took off the finalizer that held it, or it was "
    "never held"
)
_log = logging.getLogger("chains.losses")


class Losses:
    """What became of the runs that left the watch; ``tell`` writes an Event: job, reason, message."""

    def __init__(self, metrics: Metrics, tell: Callable[[Job, str, str], Awaitable[None]]) -> None:
        self._metrics, self._tell = metrics, tell
        self._settled: FairMemory[Job, bool] = FairMemory(_namespace, most_entries=_REMEMBERED)
        """That they are marked (True), or being marked, is why they leave the watch."""
        self._left: FairMemory[Job, bool] = FairMemory(_namespace, most_entries=_REMEMBERED)
        """Left the watch unmarked; True for one of which evidence was due."""

    def left(self, job: Job, raw: Mapping[str, Any], selection: Selection | None) -> bool:
        """Note that a finished run is not in the watch any more, as it was last.

        Returns whether it is to be looked at, since only asking tells whether it is gone.
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
        """Say that a run is about to be marked: the watch may be faster than the answer."""
        self._settled.put(job, value=False)

    def marked(self, job: Job) -> None:
        """Say that a run is marked."""
        self._settled.put(job, value=True)
        self._left.pop(job)

    def not_marked(self, job: Job, *, is_due: bool | None = None) -> None:
        """Say that a run was not marked after all; of one that is gone, whether evidence ``is_due``."""
        self._settled.pop(job)
        if is_due is not None:
            self._left.put(job, is_due)

    def there(self, job: Job) -> None:
        """Say that a run is still there, or nobody's here any more."""
        self._left.pop(job)

    async def gone(self, job: Job) -> None:
        """Say that a run is gone, and tell it if it is lost."""
        if not self._left.pop(job):
            return
        self._metrics.count_lost(job.kind, job.namespace)
        _log.error("a run is lost", extra={"run": label_of(job), "uid": job.uid, "reason": _WHY})
        await self._tell(job, "RunLost", f"{label_of(job)} was {_WHY}; there is no evidence of it")


def _namespace(job: Job) -> str:
    return job.namespace
