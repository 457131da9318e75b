"""Backfill against an API server that forgets a list, and whose runs change under its hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from chains.cluster.errors import ListExpired, ObjectChanged
from chains.controller.operations import Done, backfill
from chains.tekton.runs import Job

Json = Any


def run(name: str, **metadata: Json) -> Json:
    return {
        "metadata": {
            "name": name, "namespace": "ns", "uid": name, "resourceVersion": "1",
            "creationTimestamp": "2026-01-02T03:04:05Z", **metadata,
        },
        "status": {"conditions": [{"type": "Succeeded", "status": "True"}]},
    }  # fmt: skip


class Forgetful:
    """Forgets the first list after its first page; the first patch finds a newer object."""

    def __init__(self, *runs: Json) -> None:
        self.runs, self.lists, self.patches = runs, 0, list[Json]()

    async def list(self, path: str, selector: str, *, outlines: bool) -> AsyncIterator[Json]:
        if path.endswith("pipelineruns"):
            return
        self.lists += 1
        for number, each in enumerate(self.runs):
            if number and self.lists == 1:
                raise ListExpired("410")
            yield each

    async def get(self, path: str, **_: Any) -> Json:
        found = next(each for each in self.runs if path.endswith(each["metadata"]["name"]))
        return {**found, "metadata": {**found["metadata"], "resourceVersion": "2"}}

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        self.patches.append(body["metadata"])
        if body["metadata"]["resourceVersion"] == "1":
            raise ObjectChanged("409")


class Attests:
    def __init__(self) -> None:
        self.jobs: list[str] = []

    async def handle(self, job: Job) -> bool:
        self.jobs.append(job.name)
        return True


def test_every_run_is_taken_once_though_a_list_expires_and_a_run_changes() -> None:
    off = run(
        "off",
        labels={"provenance.chains/done": "put-off"},
        annotations={"chains.tekton.dev/signed": "skipped", "chains.tekton.dev/transparency-upload": "true"},
    )
    cluster, controller = Forgetful(run("first"), off, run("last")), Attests()

    async def work() -> list[Done]:
        return [done async for done in backfill(cluster, controller, ["ns"], None)]  # type: ignore[arg-type]

    found = asyncio.run(work())
    assert [done.state for done in found] == ["attested"] * 3
    assert controller.jobs == ["first", "off", "last"]
    assert [patch["resourceVersion"] for patch in cluster.patches] == ["1", "2"]
    assert cluster.patches[1]["annotations"] == {"chains.tekton.dev/signed": None}
