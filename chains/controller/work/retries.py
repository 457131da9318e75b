"""The runs that are tried again: what went wrong with each, and when the next attempt is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from chains.controller.metrics import Metrics
from chains.controller.work.host_waits import HostWaits
from chains.controller.work.retry import LONGEST_HOLD, Trouble, age, recall
from chains.controller.work.worklist import WorkList
from chains.tekton.runs import Job, label_of
from chains.tracing import fail, note
from storage.limits.circuits import Circuits

_PATIENCE = 10
"""Attempts, a quarter of an hour, before want of memory, files or threads is held against a run."""
_log = logging.getLogger("chains.controller")


class Retries:
    """The troubles of one controller's runs. A run is tried again for ``retry_for`` seconds."""

    def __init__(self, work: WorkList, metrics: Metrics, circuits: Circuits, retry_for: float) -> None:
        self._work, self._metrics, self._retry_for = work, metrics, retry_for
        self._host_waits = HostWaits(circuits, work.hasten)
        self.troubles: dict[Job, Trouble] = {}
        """What went wrong with each run that is tried again."""
        self._held_since: dict[Job, float] = {}
        """When this process first looked at each run that is being deleted, seconds since 1970."""

    def trouble(self, job: Job, raw: Mapping[str, Any] | None = None) -> Trouble:
        """Return what is known of a run's trouble, which begins now if nothing is.

        ``raw`` is the run, which has a note of an earlier controller; None before the run was read.
        """
        found = self.troubles.get(job)
        if found is None or (raw and not found.recalled):
            now, before = time.time(), found or Trouble(time.time())
            raw = raw or {}
            passed = age((raw.get("status") or {}).get("completionTime"))
            found = recall(raw.get("metadata") or {}, now, now - passed if passed >= 0 else None)
            found.recalled, found.crashes, found.reason = bool(raw), before.crashes, before.reason
            found.since = min(found.since, before.since)
            found.attempts = max(found.attempts, before.attempts)
            self.troubles[job] = found
        return found

    def again(
        self,
        job: Job,
        trouble: Trouble,
        reason: str,
        longest: float = math.inf,
        *,
        slow: bool = False,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        """Look at a run again after a pause, or when one of the ``hosts`` that did not answer does.

        ``longest`` is the longest pause in seconds. A run that is ``slow`` goes to the slow lane.
        """
        delay = trouble.delay()
        if hosts:
            delay, slow = self._host_waits.wait(job, hosts, delay), self._host_waits.is_silent(hosts)
        delay = min(delay, longest)
        trouble.attempts += 1
        trouble.reason = reason
        self._metrics.retries.inc()
        note(outcome_state="again")
        fail(reason)
        _log.warning(
            "trying again later", extra={"run": label_of(job), "reason": reason, "seconds": round(delay, 1)}
        )
        self._work.later(job, delay, slow=slow)

    def broke(self, job: Job, error: Exception) -> None:
        """Look at a run again on which our own code failed, and count that against the run.

        An error of the machine is not the run's fault, unless it comes back for a quarter of an hour.
        """
        trouble = self.trouble(job)
        trouble.crashes += not is_the_machines(error) or trouble.attempts >= _PATIENCE
        self.again(job, trouble, f"unexpected {type(error).__name__}: {error}")

    def held(self, job: Job, raw: Mapping[str, Any]) -> float:
        """Return for how many seconds this process has held up the deletion of a run, negative infinity for a
        run that is not being deleted.

        The time before this process looked at the run does not count: if no controller ran, none of it was
        used to store evidence.
        """
        asked = age(raw["metadata"].get("deletionTimestamp"))
        if math.isinf(asked):
            return asked
        now = time.time()
        return min(asked, now - self._held_since.setdefault(job, now))

    def is_too_late(self, job: Job, raw: Mapping[str, Any]) -> bool:
        """Whether trying again has lasted too long, or holds up a deletion."""
        lasted = time.time() - self.trouble(job, raw).since
        return lasted > self._retry_for or self.held(job, raw) > LONGEST_HOLD

    def poison(self, job: Job) -> str:
        """Return how often and how a run broke the controller that is put aside; empty for any other."""
        trouble = self.troubles.get(job)
        if trouble is None or not trouble.is_poison:
            return ""
        return f"{trouble.crashes} attempts: {trouble.reason}"

    def begin_turn(self, job: Job) -> None:
        """Note that a run is being looked at, so it waits for no host."""
        self._host_waits.leave(job)

    def forget(self, job: Job) -> None:
        """Forget the trouble of a run that went well or is gone."""
        self.troubles.pop(job, None)

    def let_go(self, job: Job) -> None:
        """Forget a run that is marked, gone, or another replica's."""
        self.forget(job)
        self._held_since.pop(job, None)

    def forget_all(self, unwanted: Callable[[Job], bool]) -> None:
        """Forget ``unwanted`` runs."""
        self._host_waits.forget_all(unwanted)
        for known in (self.troubles, self._held_since):
            for job in [job for job in known if unwanted(job)]:
                known.pop(job)


def is_the_machines(error: Exception) -> bool:
    """Whether what failed unexpectedly says more about the machine than about the run."""
    return isinstance(error, (OSError, MemoryError)) or "can't start new thread" in str(error)
