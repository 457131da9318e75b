"""Whether and how long a run waits for an image that is not pushed yet, and what its annotation says
meanwhile.

The time counts from the run's end, so a restart does not begin it anew. A run that is being deleted waits for
ten minutes at most.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from typing import Any

from chains.attest.flow import gave_up
from chains.attest.outcome import Outcome
from chains.cluster.errors import ObjectRefused
from chains.controller.marks.marker import Marker
from chains.controller.marks.patches import note_patch
from chains.controller.memory.child_runs import ChildRuns
from chains.controller.work.awaited_images import WAITING, Waiting, looked_for, note_of
from chains.controller.work.retry import LONGEST_HOLD, age
from chains.controller.work.worklist import WorkList
from chains.tekton.runs import Job, label_of
from chains.tracing import note

_log = logging.getLogger("chains.patience")


class Patience:
    """The runs of one controller that wait."""

    def __init__(self, work: WorkList, child_runs: ChildRuns, marker: Marker) -> None:
        self._work, self._child_runs, self._marker = work, child_runs, marker
        self._waiting = Waiting(work.hasten)

    def __len__(self) -> int:
        return len(self._waiting)

    def left(self, job: Job, raw: Mapping[str, Any], longest: float, held: float) -> float:
        """Return how many seconds a run may still wait, if it may wait for ``longest`` seconds after its
        end, and its deletion is held up for ``held`` seconds already."""
        ended = age(raw["status"].get("completionTime"))
        if math.isinf(ended) or self._waiting.is_crowded_out(job):
            return 0.0
        return min(longest - max(0.0, ended), LONGEST_HOLD - held)

    async def may_wait(self, job: Job, raw: Mapping[str, Any], outcome: Outcome, left: float) -> bool:
        """Whether a run that failed because an image is absent waits for the image.

        A registry that refuses to say whether the image is there may not have the repository yet. That is
        possible only while the run's PipelineRun still runs. Raises
        :class:`chains.cluster.errors.ClusterError`.
        """
        if not outcome.absence or left <= 0:
            return False
        if outcome.absence == "possible" and not await self._child_runs.is_parent_running(raw):
            return False
        return self._waiting.begin(job, outcome.absence)

    async def wait(
        self, job: Job, raw: Mapping[str, Any], attested: Mapping[str, Any], outcome: Outcome, left: float
    ) -> None:
        """Put a run off until its image may be there. Its PipelineRun does not wait for it.

        Raises :class:`chains.cluster.errors.ClusterError`.
        """
        note(outcome_state=WAITING)
        if not self._waiting.is_noted(job):
            text = note_of(outcome, raw["status"]["completionTime"])
            with suppress(ObjectRefused):  # a run that has no room for the annotation waits without it
                await self._marker.patch(job, note_patch(raw["metadata"], text))
            self._waiting.noted(job)
            _log.info("run waits for its image", extra={"run": label_of(job), "reason": outcome.reason})
            if job.kind == "TaskRun":
                self._child_runs.keep(attested)
                self._child_runs.marked(raw["metadata"])
            self._waiting.wake(by=job)
        self._work.park(job, min(self._waiting.pause(job), left + 1))

    def told(
        self, job: Job, raw: Mapping[str, Any], outcome: Outcome, longest: float, held: float
    ) -> Outcome:
        """Return the outcome with how long an absent image was looked for in its reason."""
        if outcome.absence != "certain" or longest <= 0:
            return outcome
        why = ""
        if self._waiting.is_crowded_out(job):
            why = ", as too many runs wait for theirs"
        elif held >= LONGEST_HOLD:
            why = ", when its deletion could be held no longer"
        return gave_up(outcome, looked_for(age(raw["status"].get("completionTime")), why))

    def marked(self, job: Job) -> bool:
        """Note that a run is marked, wake others of its PipelineRun, and return whether it had waited."""
        waited = job in self._waiting
        self._waiting.forget(job)
        self._waiting.wake(by=job)
        return waited

    def family_of(self, job: Job) -> Container[str]:
        """Return the UIDs of the waiting runs that belong to the same PipelineRun as ``job``, or are it."""
        return self._waiting.family_of(job)

    def forget(self, job: Job) -> None:
        """Forget a run."""
        self._waiting.forget(job)

    def forget_all(self, unwanted: Callable[[Job], bool]) -> None:
        """Forget ``unwanted`` runs."""
        self._waiting.forget_all(unwanted)
