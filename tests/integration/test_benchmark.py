"""The benchmark against Tekton Chains does what it says, with both controllers, on a handful of runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench.admission import main as measured_admission
from tests.bench.bench_cluster import BenchmarkError, open_cluster
from tests.bench.controllers import percentile, report, text
from tests.bench.measure import Bench, Result, batch, live
from tests.bench.sides import OURS, PEER, SAME_WORK
from tests.bench.stores import measured as measured_stores
from tests.testbed.cluster import ApiServer
from tests.testbed.images import Registry

pytestmark = pytest.mark.server
RUNS = 20
T = Any


@pytest.fixture
def measured(
    api_server: ApiServer, referrers_registry: Registry, tmp_path: Path
) -> Callable[[Callable[[Bench], Awaitable[T]]], T]:
    async def measure(work: Callable[[Bench], Awaitable[T]]) -> T:
        async with open_cluster(api_server) as cluster:
            return await work(Bench(api_server, referrers_registry, cluster, tmp_path))

    return lambda work: asyncio.run(measure(work))


def test_both_controllers_do_the_same_work_and_are_compared(
    measured: Callable[..., list[Result]], peer_controller: Path
) -> None:
    async def both(bench: Bench) -> list[Result]:
        return [await batch(bench, side, "tuned", RUNS, tuned=True) for side in (OURS, PEER)]

    results = measured(both)
    for result in results:
        assert (result.runs, result.attestations, result.latency) == (RUNS, 2 * RUNS, [])
        assert result.per_second > result.from_start > 0
        assert result.peak > 10
        assert result.processes >= 1
        assert set(result.cpu) == {"controller", "etcd", "api server", "registry"}
        assert result.cpu["controller"] > 0
    compared = report(results)["compared"]
    assert [item["mode"] for item in compared] == ["tuned"]
    for name in ("runs/s from the start", "runs/s from the first mark"):
        assert compared[0]["ratio"][name] == pytest.approx(
            compared[0]["ours"][name] / compared[0]["peer"][name], abs=0.01
        )
    assert "tuned, peer: 20 runs" in text(results)


@pytest.mark.usefixtures("kafka_program")
@pytest.mark.parametrize("name", ["s3", "oci", "kafka", "archivista"])
def test_stores_are_measured_beside_the_plain_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", os.environ.copy())  # it sets variables of its servers
    rows = measured_stores(name, 2, 1)
    assert set(rows) == {name, "plain"}
    for puts, gets in (row for several in rows.values() for row in several):
        assert puts > 0
        assert (gets > 0) is (name != "kafka")


def test_a_live_test_tells_how_soon_each_run_was_signed(measured: Callable[..., Result]) -> None:
    result = measured(lambda bench: live(bench, OURS, backlog=0, seconds=1, per_second=5))
    assert (result.runs, len(result.latency), result.attestations) == (6, 5, 12)
    assert 0 < percentile(result.latency, 50) <= percentile(result.latency, 95) < 10


def test_an_attestation_that_is_missing_leaves_no_figure(measured: Callable[..., Result]) -> None:
    unsigned = SAME_WORK | {"artifacts.oci.signer": "none"}
    with pytest.raises(BenchmarkError, match="the registry has 1 attestations and signatures, expected 2"):
        measured(lambda bench: batch(bench, OURS, "tuned", 2, tuned=True, config=unsigned))


def test_admission_is_measured_and_each_answer_is_the_expected_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", os.environ.copy())
    arguments = ["--images", "4", "--reviews", "40", "--distinct", "8", "--connections", "2", "--rate", "200"]
    assert measured_admission(arguments) == 0
    told = capsys.readouterr().out
    assert told.count("kept: 2 connections") == 2
    assert "distinct: 8 images without evidence" in told
