"""The workers of the controller: they take runs from the work list, and each run has one turn at a time.

How many workers there are follows :mod:`chains.controller.work.crew`. A run whose turn keeps a worker from
other namespaces for too long gives way, see :class:`chains.controller.work.turns.Crowd`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from chains.controller.crashes.trial import Trial
from chains.controller.metrics import Metrics
from chains.controller.permit import Permit, PermitLost
from chains.controller.work.crew import Crew, Growth, part_of
from chains.controller.work.worklist import WorkList
from chains.tekton.runs import Job
from storage.limits.askers import asker
from storage.limits.distance import Distance


class RunHandler(Protocol):
    """What is done with a run that a worker took."""

    async def take_turn(self, job: Job) -> None:
        """Look at the run. Is cancelled when the run has to give way."""

    def gave_way(self, job: Job) -> None:
        """Put off the run, whose turn was cancelled."""

    def let_go(self, job: Job) -> None:
        """Forget the run, which another replica works on."""

    def set_apart(self, job: Job) -> None:
        """Leave the run to the trial, which works on it in a process of its own."""


def always() -> bool:
    """Permit everything, as is right where no other replica works on the same runs."""
    return True


def admit_all(_: Job) -> Permit | None:
    """Admit every run for as long as its turn lasts."""
    return always


class Workers:
    """Hands the jobs of a work list to a ``handler``, as many at once as ``growth`` says.

    ``admit`` is asked before a run's turn: None drops the run, else :meth:`check` asks the permit again.
    """

    def __init__(
        self,
        work: WorkList,
        handler: RunHandler,
        metrics: Metrics,
        growth: Growth,
        distance: Distance,
        *,
        admit: Callable[[Job], Permit | None] = admit_all,
        trial: Trial | None = None,
    ) -> None:
        self._work, self._handler, self._metrics = work, handler, metrics
        self._admit, self._trial = admit, trial
        self._wanted, self._hired = growth.fewest, 0
        self._crew = Crew(growth, distance, lambda: work.is_short, self._resize)
        self._permits: dict[Job, Permit] = {}
        self._turns: dict[Job, asyncio.Timeout] = {}
        metrics.workers.set(growth.fewest)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._hire()
            group.create_task(self._crew.run())
            group.create_task(self._make_room())
            if self._trial is not None:
                group.create_task(self._trial.run())

    def check(self, job: Job, when: str) -> None:
        """Raise :class:`PermitLost` where this replica may not store or write anything of a run any more."""
        if not self._permits.get(job, always)():
            raise PermitLost(f"its share was lost before {when}")

    def let_finish(self, job: Job) -> None:
        """Let a run keep its worker to the end of this turn: it does not have to give way."""
        self._turns.pop(job, None)

    def _resize(self, workers: int) -> None:
        self._wanted = workers
        self._metrics.workers.set(workers)
        few = part_of(workers)
        self._work.resize(workers, backlog_workers=few, slow=few)
        self._hire()

    def _hire(self) -> None:
        while self._hired < self._wanted:
            self._hired += 1
            self._group.create_task(self._worker())

    async def _worker(self) -> None:
        try:
            # a worker that is not wanted any more leaves after its current run
            while self._hired <= self._wanted:
                await self._work_once()
        finally:
            self._hired -= 1

    async def _work_once(self) -> None:
        job = await self._work.take()
        try:
            permit = self._admit(job)
            if permit is None:
                self._handler.let_go(job)
            elif self._trial is None:
                self._permits[job] = permit
                await self._take_turn(job)
            elif self._trial.journal.is_apart(job):
                self._handler.set_apart(job)
                self._trial.line_up(job)
            else:
                self._permits[job] = permit
                # noted on disk first: if the run ends this process, the next one knows which run it was
                with self._trial.journal.in_work(job):
                    await self._take_turn(job)
        finally:
            self._permits.pop(job, None)
            self._crew.ended()
            self._work.done(job)

    async def _take_turn(self, job: Job) -> None:
        asker.set(job.namespace)
        try:
            async with asyncio.timeout(None) as turn:  # its end is set when the run has to give way
                self._turns[job] = turn
                await self._handler.take_turn(job)
        except TimeoutError:
            self._metrics.gave_way.inc()
            self._handler.gave_way(job)
        finally:
            self._turns.pop(job, None)

    async def _make_room(self) -> None:
        """End the turns of runs that have to give way, but not of one that is being marked."""
        while True:
            for job in await self._work.crowded():
                if (turn := self._turns.get(job)) is not None:
                    turn.reschedule(asyncio.get_running_loop().time())
