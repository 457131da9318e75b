"""A run that leaves the watch is lost if evidence was due and nobody marked it, and each is told once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains.config.selection import Selection
from chains.controller.losses import Losses
from chains.controller.metrics import Metrics
from chains.tekton.runs import Job

Json = Any
JOB = Job("TaskRun", "ci", "r", "u")
RUN: Json = {
    "metadata": {"name": "r", "namespace": "ci", "uid": "u"},
    "status": {"completionTime": "2026-01-02T03:04:05Z"},
}
MARKED: Json = {"metadata": {**RUN["metadata"], "annotations": {"chains.tekton.dev/signed": "true"}}}


class Told:
    """Losses, and what was told of them."""

    def __init__(self) -> None:
        self.metrics, self.events = Metrics(), list[tuple[Job, str, str]]()
        self.losses = Losses(self.metrics, self._tell)

    async def _tell(self, job: Job, reason: str, message: str) -> None:
        self.events.append((job, reason, message))

    def gone(self) -> int:
        """Say that the run is gone; return how many losses are counted in all."""
        asyncio.run(self.losses.gone(JOB))
        text = self.metrics.text().decode()
        counted = text.count('chains_runs_lost_total{kind="taskrun",namespace="ci"} 1.0')
        assert len(self.events) == counted
        return counted


def test_a_finished_run_that_is_gone_is_lost_and_told_once() -> None:
    told = Told()
    assert told.losses.left(JOB, RUN, Selection())
    assert told.gone() == 1
    assert told.gone() == 1
    ((job, reason, message),) = told.events
    assert (job, reason) == (JOB, "RunLost")
    assert message.startswith("taskrun/ci/r was deleted after its end, before it was attested: ")


def test_a_run_that_we_mark_leaves_the_watch_and_is_not_asked_for() -> None:
    told = Told()
    told.losses.marking(JOB)
    assert not told.losses.left(JOB, RUN, Selection()), "the watch was faster than the answer"
    told.losses.marked(JOB)
    assert not told.losses.left(JOB, RUN, Selection())
    assert told.gone() == 0


def test_a_run_that_is_still_there_is_not_lost() -> None:
    told = Told()
    assert told.losses.left(JOB, RUN, Selection())
    told.losses.there(JOB)
    assert told.gone() == 0


@pytest.mark.parametrize(
    ("raw", "selection"),
    [
        (MARKED, Selection()),
        ({**RUN, "spec": {"managedBy": "example.com/other"}}, Selection()),
        (RUN, Selection(labels="team=a")),
        (RUN, Selection(since="2026-02-01T00:00:00Z")),
    ],
    ids=["marked by somebody else", "of another manager", "left out", "put off"],
)
def test_a_run_of_which_no_evidence_was_due_is_asked_for_and_not_lost(
    raw: Json, selection: Selection
) -> None:
    told = Told()
    assert told.losses.left(JOB, raw, selection)
    assert told.gone() == 0


def test_before_there_is_a_configuration_evidence_is_due() -> None:
    told = Told()
    assert told.losses.left(JOB, RUN, None)
    assert told.gone() == 1


@pytest.mark.parametrize(("is_due", "count"), [(True, 1), (False, 0)], ids=["failed", "stored"])
def test_a_run_that_is_gone_when_it_is_marked_is_lost_unless_its_evidence_is_stored(
    is_due: bool, count: int
) -> None:
    told = Told()
    told.losses.left(JOB, RUN, Selection())
    told.losses.marking(JOB)
    told.losses.not_marked(JOB, is_due=is_due)
    assert told.gone() == count


def test_a_mark_that_could_not_be_written_settles_nothing() -> None:
    told = Told()
    told.losses.marking(JOB)
    told.losses.left(JOB, RUN, Selection())
    told.losses.not_marked(JOB)
    assert told.gone() == 1, "it went while the API server was away"
    told.losses.marking(JOB)
    told.losses.not_marked(JOB)
    assert told.losses.left(JOB, RUN, Selection())
