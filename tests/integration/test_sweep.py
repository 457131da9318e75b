"""The list of what is not marked, from a real API server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.controller.sweep import Sweep
from chains.controller.work.worklist import FRESH
from chains.tekton.runs import Job
from tests.interop.attested import run_of, slug
from tests.owners import owned
from tests.testbed.cluster import ApiServer

pytestmark = pytest.mark.server


def test_unmarked_runs_of_the_shares_are_offered_page_by_page_now_and_then(
    api_server: ApiServer, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chains.cluster.paging.PAGE", 2)
    namespace = api_server.create_namespace(slug(request))
    for number in range(7):
        run = run_of("registry.example.com/app", "sha256:" + "ab" * 32, f"run-{number}")
        run["metadata"] |= {"namespace": namespace, "ownerReferences": owned("owner") if number == 3 else []}
        run["metadata"]["labels"] = {"provenance.chains/done": "true"} if number == 5 else {}
        api_server.create_run(run)
    offered: list[tuple[Job, int]] = []

    async def look() -> None:
        async with Cluster(find_access(str(api_server.kubeconfig(tmp_path)))) as cluster:
            sweep = Sweep(
                cluster, [namespace], lambda job, lane, _: offered.append((job, lane)),
                lambda job: int(job.name == "run-6"), lambda: [0], interval=0.1,
            )  # fmt: skip
            assert await sweep.look({1}) == 1
            assert [job.name for job, _ in offered] == ["run-6"]
            expected = [offered[0][0], Job("TaskRun", namespace, "vanished", "uid-of-none")]
            offered.clear()
            with_missing = Sweep(
                cluster, [namespace], lambda job, lane, _: offered.append((job, lane)),
                lambda job: int(job.name == "run-6"), lambda: [0],
                missing=lambda _share, found, _listed: [job for job in expected if job.uid not in found],
            )  # fmt: skip
            assert await with_missing.look({1}) == 1
            assert [job.name for job, _ in offered] == ["run-6", "vanished"]
            offered.clear()
            running = asyncio.create_task(sweep.run())
            while len(offered) < 5:  # noqa: ASYNC110 - what is waited for is the looking
                await asyncio.sleep(0.01)
            sweep.ask(1)
            while offered[-1][0].name != "run-6":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            running.cancel()

    asyncio.run(asyncio.wait_for(look(), 120))
    assert [job.name for job, _ in offered[:5]] == [f"run-{number}" for number in range(5)]
    assert [job.owner for job, _ in offered[:5]] == ["", "", "", "owner", ""]
    assert {lane for _, lane in offered} == {FRESH}, "made just now, so it cannot have ended long ago"
