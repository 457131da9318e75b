"""Runs whose image is yet to come: a task without a network cannot push what it builds, a later one does.

Such a run is looked at again when another run of its PipelineRun has ended, and now and then. It holds no
worker meanwhile and is in no trouble. Whoever may create runs may name images that never come, so what is
remembered is bounded: of the namespace with most the last ones give way, and fail with that reason.
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
"""Where the registry does not say whether the image is there: each look offers it credentials that it
refused, and some registries lock a user out."""
_MOST_DOUBLINGS = 20
_EXCERPT = 300


@dataclass(slots=True)
class _Wait:
    absence: Absence
    looks: int = 0
    is_noted: bool = False


class Waiting:
    """The runs that wait for an image, by job; ``hasten`` has one looked at now."""

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
        """Return the UIDs of the runs that wait of a run's PipelineRun, or of the PipelineRun itself."""
        return {each.uid for each in self._families.get(_child_runs(job), ())}

    def begin(self, job: Job, absence: Absence) -> bool:
        """Say that a run waits, or still does; False where others wait in its place."""
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
        """Whether a run is not to wait, since too many others do."""
        return job in self._crowded_out

    def is_noted(self, job: Job) -> bool:
        """Whether a run that waits says so itself."""
        known = self._waits.get(job)
        return known is not None and known.is_noted

    def noted(self, job: Job) -> None:
        """Say that a run that waits says so itself."""
        known = self._waits.get(job)
        if known is not None:
            known.is_noted = True

    def pause(self, job: Job) -> float:
        """Return the seconds until the next look at a run, and count that look."""
        known = self._waits.get(job) or _Wait("certain")
        looks, known.looks = min(known.looks, _MOST_DOUBLINGS), known.looks + 1
        if known.absence == "possible":
            return min(_LONGEST_REFUSED, _FIRST_REFUSED * _FACTOR_REFUSED**looks)
        return min(_LONGEST, _FIRST * _FACTOR**looks)

    def wake(self, by: Job) -> None:
        """Say that a run has ended: it may have pushed what others of its PipelineRun wait for."""
        for job in list(self._families.get(_child_runs(by), ())):
            known = self._waits.get(job)
            if known is not None and job != by and (known.absence == "certain" or by.kind == "PipelineRun"):
                known.looks = 0
                self._hasten(job)

    def forget(self, job: Job) -> None:
        """Let go of a run that waits no longer, if it did."""
        self._crowded_out.discard(job)
        if self._waits.pop(job) is not None:
            self._leave_family(job)

    def forget_all(self, unwanted: Callable[[Job], bool]) -> None:
        """Let go of ``unwanted`` runs."""
        for job in [job for job in {*self._waits, *self._crowded_out} if unwanted(job)]:
            self.forget(job)

    def _leave_family(self, job: Job) -> None:
        child_runs = self._families[_child_runs(job)]
        child_runs.discard(job)
        if not child_runs:
            del self._families[_child_runs(job)]


def _child_runs(job: Job) -> tuple[str, str]:
    """Return namespace and UID of the PipelineRun that a run belongs to, or is, or its own.

    Whoever creates a run names its owner, so a run of another namespace is not of the family.
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
    """Return in words until when an absent image was looked for, ``seconds`` after the run's end."""
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86_400, whole % 86_400 // 3600, whole % 3600 // 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    words = " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
    return f"; it was looked for until {words} after the run's end{why}"
