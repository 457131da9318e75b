"""Runs whose image is not pushed yet: a task without a network cannot push what it builds, a later task does.

Such a run is looked at again when another run of its PipelineRun has ended, and after growing pauses.
Meanwhile it holds no worker and does not count as failed. A tenant can name images that never come, so the
number of waiting runs is bounded. The namespace with the most waiting runs loses its latest ones, which fail
with that reason.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import orjson

from chains.attest.outcome import Outcome
from chains.controller.memory.fair_memory import FairMemory
from chains.tekton.runs import Job
from storage.record import Absence

WAITING = "waiting"
"""The state of such a run in its annotation ``chains.tekton.dev/outcome``."""
MOST = 2000
"""Runs that wait at a time."""
_FIRST, _FACTOR, _LONGEST = 2.0, 1.5, 60.0
_FIRST_REFUSED, _FACTOR_REFUSED, _LONGEST_REFUSED = 30.0, 2.0, 600.0
"""Pauses if the registry does not say whether the image is there. Each attempt sends credentials that it
refused, and some registries lock such an account."""
_MOST_DOUBLINGS = 20
_EXCERPT = 300


@dataclass(slots=True)
class _Wait:
    absence: Absence
    looks: int = 0
    is_noted: bool = False


class Waiting:
    """The runs that wait for an image, by job. ``hasten`` is called with a run to look at it now."""

    def __init__(self, hasten: Callable[[Job], None], most: int = MOST) -> None:
        self._hasten = hasten
        self._waits: FairMemory[Job, _Wait] = FairMemory(
            lambda job: job.namespace, most_entries=most, keeps_first=True
        )
        self._families: dict[tuple[str, str], set[Job]] = {}
        self._crowded_out: set[Job] = set()

    def __len__(self) -> int:
        return len(self._waits)

    def __contains__(self, job: Job) -> bool:
        return job in self._waits

    def family_of(self, job: Job) -> Container[str]:
        """Return the UIDs of the waiting runs that belong to the same PipelineRun as ``job``, or are it."""
        return {each.uid for each in self._families.get(_child_runs(job), ())}

    def begin(self, job: Job, absence: Absence) -> bool:
        """Note that a run waits, or still waits; False if too many others wait."""
        known = self._waits.get(job)
        if known is not None:
            known.absence = absence
            return True
        self._families.setdefault(_child_runs(job), set()).add(job)
        for gone, _ in self._waits.put(job, _Wait(absence)):
            self._leave_family(gone)
            self._crowded_out.add(gone)
            self._hasten(gone)
        return job in self._waits

    def is_crowded_out(self, job: Job) -> bool:
        """Whether a run may not wait because too many others do."""
        return job in self._crowded_out

    def is_noted(self, job: Job) -> bool:
        """Whether the annotation of a waiting run says that it waits."""
        known = self._waits.get(job)
        return known is not None and known.is_noted

    def noted(self, job: Job) -> None:
        """Note that the annotation of a waiting run says that it waits."""
        known = self._waits.get(job)
        if known is not None:
            known.is_noted = True

    def pause(self, job: Job) -> float:
        """Return the seconds until the next attempt for a run, and count the attempt."""
        known = self._waits.get(job) or _Wait("certain")
        looks, known.looks = min(known.looks, _MOST_DOUBLINGS), known.looks + 1
        if known.absence == "possible":
            return min(_LONGEST_REFUSED, _FIRST_REFUSED * _FACTOR_REFUSED**looks)
        return min(_LONGEST, _FIRST * _FACTOR**looks)

    def wake(self, by: Job) -> None:
        """Wake the runs that wait in the PipelineRun of ``by``, which has ended and may have pushed their
        image."""
        for job in list(self._families.get(_child_runs(by), ())):
            known = self._waits.get(job)
            if known is not None and job != by and (known.absence == "certain" or by.kind == "PipelineRun"):
                known.looks = 0
                self._hasten(job)

    def forget(self, job: Job) -> None:
        """Forget a run."""
        self._crowded_out.discard(job)
        if self._waits.pop(job) is not None:
            self._leave_family(job)

    def forget_all(self, unwanted: Callable[[Job], bool]) -> None:
        """Forget ``unwanted`` runs."""
        for job in [job for job in {*self._waits, *self._crowded_out} if unwanted(job)]:
            self.forget(job)

    def _leave_family(self, job: Job) -> None:
        child_runs = self._families[_child_runs(job)]
        child_runs.discard(job)
        if not child_runs:
            del self._families[_child_runs(job)]


def _child_runs(job: Job) -> tuple[str, str]:
    """Return namespace and UID of the run's PipelineRun, or of the run itself if it has none.

    A tenant can name any owner in a run, so the namespace is part of the key: a run of another namespace does
    not belong to the PipelineRun.
    """
    return job.namespace, job.owner or job.uid


def note_of(outcome: Outcome, ended: str) -> str:
    """Return the annotation's text for a run that waits and ended at ``ended``, an RFC 3339 time."""
    absent = sorted({entry.subject for entry in outcome.entries if entry.absence and entry.subject})
    told: dict[str, Any] = {
        "state": WAITING,
        "uid": outcome.uid,
        "since": ended,
        "absent": absent[:10],
        "reason": outcome.reason[:_EXCERPT],
    }
    return orjson.dumps(told).decode()


def looked_for(seconds: float, why: str = "") -> str:
    """Return the text that says until when an absent image was looked for, ``seconds`` after the run's
    end."""
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86_400, whole % 86_400 // 3600, whole % 3600 // 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    words = " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
    return f"; it was looked for until {words} after the run's end{why}"
