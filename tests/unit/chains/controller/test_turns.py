"""Runs that hang hold no worker that others wait for, and what they had begun is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from chains.attest.flow import Flow
from chains.attest.stores import Stores
from chains.config.parse import parse_config
from chains.controller.metrics import Metrics
from chains.controller.reconcile import Controller, HowToWork
from chains.controller.work.worklist import FRESH, WorkList
from chains.tekton.runs import Job
from storage.base import Store
from storage.record import Findings, Origin, Receipt, Record, Stored
from tests.unit.chains.controller.test_reconcile import RUN, flow

Json = Any
WORKERS = 8


def of(namespace: str, number: int) -> Job:
    return Job("TaskRun", namespace, f"r{number}", f"{namespace}-{number}")


class ManyRuns:
    """An API server that has every run that is asked for."""

    def __init__(self) -> None:
        self.marked: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.stalls = asyncio.Event()

    async def get(self, path: str, **_: Any) -> Json:
        *_, namespace, _, name = path.split("/")
        metadata = RUN["metadata"] | {
            "namespace": namespace, "name": name, "uid": f"{namespace}-{name[1:]}", "labels": self.labels,
        }  # fmt: skip
        return {**RUN, "metadata": metadata}

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        *_, namespace, _, name = path.split("/")
        self.marked[f"{namespace}-{name[1:]}"] = body["metadata"]["annotations"]["chains.tekton.dev/signed"]


class Silent(Store):
    """A store that never answers for some namespaces, until it is told to."""

    url = "silent:"

    def __init__(self, *namespaces: str) -> None:
        self.silent, self.begun = set(namespaces), list[tuple[Origin, bytes]]()
        self.answers = asyncio.Event()
        self.held = 0

    async def put(self, record: Record) -> Stored:
        self.begun.append((record.origin, record.payload))
        if record.origin.namespace in self.silent:
            self.held += 1
            try:
                await self.answers.wait()
            finally:
                self.held -= 1
        return Stored((Receipt(self.url, "dsse", "", "there", ""),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        return Findings()


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chains.controller.work.turns.PATIENCE", 0.0)
    monkeypatch.setattr("chains.controller.work.turns.SHORTEST_TURN", 0.0)
    monkeypatch.setattr("chains.controller.work.worklist._LOOK_SECONDS", 0.0)


class Work:
    """A controller at work on runs whose store may be silent."""

    def __init__(self, *silent: str) -> None:
        config = parse_config({"artifacts.taskrun.storage": "oci", "artifacts.oci.signer": "none"})
        self.cluster, self.store, self.metrics = ManyRuns(), Silent(*silent), Metrics()
        base = flow()
        in_force = replace(base, flow=Flow(config, base.flow.sealers, Stores({"oci": [self.store]})))
        self.work = WorkList(workers=WORKERS, slow=WORKERS // 4)
        self.controller = Controller(
            self.cluster, self.work, lambda: in_force, self.metrics, HowToWork(workers=WORKERS)
        )

    def gave_way(self) -> float:
        return self.metrics.registry.get_sample_value("chains_runs_gave_way_total") or 0.0

    async def through(self, story: Any) -> None:
        task = asyncio.create_task(self.controller.run())
        try:
            await asyncio.wait_for(story, 20)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_another_namespace_is_served_though_every_worker_waits_for_a_silent_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chains.controller.work.retry.Trouble.delay", lambda self: 0.0)

    async def story(it: Work) -> None:
        for number in range(40):
            it.work.offer(of("loud", number), FRESH)
        await until(lambda: it.work.in_work == WORKERS)
        for number in range(20):
            it.work.offer(of("quiet", number), FRESH)
            await until(lambda number=number: it.cluster.marked.get(f"quiet-{number}") == "true")
        assert not any(uid.startswith("loud") for uid in it.cluster.marked)
        assert it.gave_way() >= 1
        it.store.answers.set()
        await until(lambda: len(it.cluster.marked) == 60)
        assert set(it.cluster.marked.values()) == {"true"}, "who gave way is not forgotten"
        await until(lambda: not it.work.slow)

    async def main() -> None:
        it = Work("loud")
        await it.through(story(it))

    asyncio.run(main())


def test_who_hangs_alone_keeps_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(it: Work) -> None:
        for number in range(40):
            it.work.offer(of("loud", number), FRESH)
        await until(lambda: it.work.in_work == WORKERS)
        for _ in range(200):
            await asyncio.sleep(0)
        assert it.gave_way() == 0
        it.store.answers.set()
        await until(lambda: len(it.cluster.marked) == 40)

    async def main() -> None:
        it = Work("loud")
        await it.through(story(it))

    asyncio.run(main())


def test_a_run_that_gave_way_is_attested_later_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something may have been stored of it: another statement must not stand beside that."""
    monkeypatch.setattr("chains.controller.work.retry.Trouble.delay", lambda self: 0.0)

    async def story(it: Work) -> None:
        for number in range(WORKERS):
            it.work.offer(of("loud", number), FRESH)
        await until(lambda: it.store.held >= WORKERS)
        it.work.offer(of("quiet", 0), FRESH)
        await until(lambda: "quiet-0" in it.cluster.marked)
        it.cluster.labels = {"results.tekton.dev/record": "1"}
        it.store.silent.clear()
        it.store.answers.set()
        await until(lambda: len(it.cluster.marked) == WORKERS + 1)
        assert it.gave_way() >= 1
        # provenance and execution report of each run, however often they were sent
        assert len(set(it.store.begun)) == 2 * (WORKERS + 1)
        assert len(it.store.begun) > 2 * (WORKERS + 1)

    async def main() -> None:
        it = Work("loud")
        await it.through(story(it))

    asyncio.run(main())


def test_a_mark_is_never_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(it: Work) -> None:
        written, patched = asyncio.Event(), it.cluster.patch

        async def slow(path: str, body: Mapping[str, Any]) -> None:
            if "/loud/" in path:
                await written.wait()
            await patched(path, body)

        it.cluster.patch = slow  # type: ignore[method-assign]
        for number in range(WORKERS):
            it.work.offer(of("loud", number), FRESH)
        await until(lambda: it.work.in_work == WORKERS and len(it.store.begun) == 2 * WORKERS)
        it.work.offer(of("quiet", 0), FRESH)
        for _ in range(200):
            await asyncio.sleep(0)
        assert it.gave_way() == 0
        written.set()
        await until(lambda: len(it.cluster.marked) == WORKERS + 1)
        assert it.gave_way() == 0

    async def main() -> None:
        it = Work()
        await it.through(story(it))

    asyncio.run(main())
