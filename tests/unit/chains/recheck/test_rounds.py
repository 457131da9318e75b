"""Rounds that go wrong: an API server that is away, no policies, a round that takes too long, the end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from chains.cluster.access import Access
from chains.cluster.client import Cluster
from chains.cluster.leader import ClusterLease, Leader
from chains.policy.opened import OpenedPolicy
from chains.recheck import rounds as module
from chains.recheck.metrics import RecheckMetrics
from chains.recheck.rounds import EARLY, Recheck, RecheckOptions
from tests.faults.verify.forge import NOW, Shelf, form_b
from tests.testbed.ports import free_ports
from tests.unit.chains.policy.made import document, opened, tekton
from tests.unit.chains.preflight.made import Tags

INTERVAL = 60.0


class Made:
    """A re-check of a cluster that is away, with clocks of the test's own."""

    def __init__(self, cluster: Cluster, policies: list[OpenedPolicy] | None) -> None:
        self.registry, self.time = CollectorRegistry(), 0.0
        self.leader = Leader(ClusterLease(cluster, "chains-admission", "chains-recheck", {}), "this")
        self.recheck = Recheck(
            cluster,
            [Shelf(form_b(tekton()))],
            Tags(),
            lambda: policies,
            self.leader,
            RecheckMetrics(self.registry, INTERVAL),
            RecheckOptions(INTERVAL, "chains-admission"),
            clock=lambda: self.time,
            now=lambda: NOW,
        )

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"chains_recheck_{name}", labels)


def with_cluster_away(work: Callable[[Made], Awaitable[None]], *, has_policies: bool = True) -> Made:
    """Do ``work`` where nothing listens at the API server's address."""
    policies = opened(document()) if has_policies else None

    async def run() -> Made:
        async with Cluster(Access(f"http://127.0.0.1:{free_ports(1)[0]}")) as cluster:
            made = Made(cluster, policies)
            await work(made)
            return made

    return asyncio.run(run())


async def two_rounds(made: Made) -> None:
    assert [await made.recheck.round() for _ in range(2)] == [False, False]


def test_an_api_server_that_is_away_fails_the_round_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = with_cluster_away(two_rounds)
    assert made.metric("failures_total", what="round") == 2
    assert made.metric("last_complete_seconds") == 0
    assert made.metric("right_missing", right="list pods") == 0
    (record,) = [one for one in caplog.records if one.name == "chains.recheck"]
    assert record.message == "re-check: the round failed"
    assert "GET /api/v1/pods" in record.__dict__["reason"]


def test_without_policies_in_force_nothing_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    made = with_cluster_away(two_rounds, has_policies=False)
    assert made.metric("failures_total", what="round") == 2
    assert [one.__dict__["reason"] for one in caplog.records if one.name == "chains.recheck"] == [
        "no policies are in force"
    ]


def test_without_the_lease_nothing_is_done_and_the_end_comes_at_once() -> None:
    async def work(made: Made) -> None:
        running = asyncio.create_task(made.recheck.run())
        while made.metric("failures_total", what="lease") == 0:  # noqa: ASYNC110 - a condition, without an event
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    made = with_cluster_away(work)
    assert made.metric("leads") == 0
    assert made.metric("failures_total", what="round") == 0


def test_a_round_that_is_under_way_ends_with_the_process_and_the_lease_is_given_up() -> None:
    """A server that answers about the Lease, and leaves the list of pods without an answer."""
    lease: dict[str, object] = {}
    asked, ended, holders = asyncio.Event(), asyncio.Event(), []

    async def take(request: web.Request) -> web.Response:
        if request.method == "GET" and not lease:
            return web.json_response({"message": "not found"}, status=404)
        if request.method != "GET":
            lease.update(await request.json())
            lease["metadata"] = {"name": "chains-recheck", "resourceVersion": "1"}
            holders.append(json.loads(json.dumps(lease))["spec"]["holderIdentity"])
        return web.json_response(lease, status=200)

    async def silent(_: web.Request) -> web.Response:
        asked.set()
        await ended.wait()
        return web.json_response({"items": []})

    async def run() -> None:
        application = web.Application()
        application.router.add_route("GET", "/api/v1/pods", silent)
        application.router.add_route("*", "/apis/{rest:.*}", take)
        runner = web.AppRunner(application)
        await runner.setup()
        (port,) = free_ports(1)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            async with Cluster(Access(f"http://127.0.0.1:{port}")) as cluster:
                made = Made(cluster, opened(document()))
                running = asyncio.create_task(made.recheck.run())
                await asked.wait()
                assert made.metric("leads") == 1
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                assert not made.leader.is_held
                assert made.metric("leads") == 0
        finally:
            ended.set()
            await runner.cleanup()

    asyncio.run(run())
    assert holders == ["this", None]


def test_a_round_that_takes_longer_than_the_interval_is_counted_and_the_next_one_follows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(made: Made) -> None:
        begun: list[float] = []
        done = asyncio.Event()

        async def long_round() -> bool:
            begun.append(made.time)
            made.time += INTERVAL + 1
            if len(begun) == 3:
                done.set()
                await asyncio.Event().wait()
            return True

        made.recheck.round = long_round  # type: ignore[method-assign]
        running = asyncio.create_task(made.recheck._rounds())
        await done.wait()
        running.cancel()
        assert begun == [0, INTERVAL + 1, 2 * (INTERVAL + 1)]

    caplog.set_level(logging.WARNING)
    made = with_cluster_away(work)
    assert made.metric("overruns_total") == 2
    assert "a round of re-check takes longer than the interval" in caplog.messages


def test_a_change_of_policies_begins_the_next_round_early_but_not_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.0)
    caplog.set_level(logging.INFO)

    async def work(made: Made) -> None:
        begun: list[float] = []
        policies: list[OpenedPolicy] = opened(document())

        async def short_round() -> bool:
            begun.append(made.time)
            return True

        async def at(seconds: float) -> list[float]:
            made.time = seconds
            for _ in range(20):
                await asyncio.sleep(0)
            return begun

        made.recheck._policies = lambda: policies
        made.recheck.round = short_round  # type: ignore[method-assign]
        running = asyncio.create_task(made.recheck._rounds())
        assert await at(0) == [0]
        assert await at(INTERVAL - 1) == [0], "nothing changed"
        assert await at(INTERVAL) == [0, INTERVAL]
        policies = opened(document(mode="warn"))
        assert await at(INTERVAL + EARLY - 0.1) == [0, INTERVAL]
        assert await at(INTERVAL + EARLY) == [0, INTERVAL, INTERVAL + EARLY]
        # the round has seen the change: the next one is due after the interval
        assert await at(2 * INTERVAL + EARLY - 0.1) == [0, INTERVAL, INTERVAL + EARLY]
        assert len(await at(2 * INTERVAL + EARLY)) == 4
        running.cancel()

    with_cluster_away(work)
    assert [one for one in caplog.messages if "begins early" in one] == [
        "a round of re-check begins early: other policies or lists are in force"
    ]


def test_the_time_of_the_last_round_is_that_of_the_lease() -> None:
    async def work(made: Made) -> None:
        made.leader.note = "2026-01-02T03:04:05Z"
        await made.recheck._step()
        assert made.metric("last_complete_seconds") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
        made.leader.note = "yesterday"
        await made.recheck._step()

    made = with_cluster_away(work)
    assert made.metric("failures_total", what="lease") == 2
    assert made.metric("interval_seconds") == INTERVAL


def test_a_fault_of_the_lease_is_counted_and_does_not_end_admission(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fault() -> None:
        raise KeyError("resourceVersion")

    async def work(made: Made) -> None:
        monkeypatch.setattr(made.leader, "step", fault)
        await made.recheck._step()
        await made.recheck._step()

    made = with_cluster_away(work)
    assert made.metric("failures_total", what="lease") == 2
    (record,) = [one for one in caplog.records if one.name == "chains.recheck"]
    assert re.fullmatch(
        r"lease chains-admission/chains-recheck: unexpected KeyError: 'resourceVersion' in fault, "
        r"line \d+ of test_rounds\.py; please report it",
        record.__dict__["reason"],
    )
