"""The queue between the controller and an index: bounded, never in the way of a run, and quiet."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from chains.attest.outcome import SIGNED, Outcome
from chains.attest.stores import Entry, EntryState
from chains.controller.feed import feed as feeding
from chains.controller.feed.feed import AT_ONCE, MOST_COPIES, Feed
from chains.controller.metrics import Metrics
from chains.tekton.runs import Job
from storage.child_process import ChildProcess, start_process

ANSWERS = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"fed": len(json.loads(line)["runs"]), "pieces": 1}), flush=True)
"""
"""A process that adds all runs."""


@dataclass
class _Config:
    index_url: str


@dataclass
class _Flow:
    config: _Config


def flow(url: str = "index.db") -> Any:
    return _Flow(_Config(url))


def job(number: int) -> Job:
    return Job("TaskRun", "ci", f"run-{number}", f"uid-{number}", "")


def outcome(copies: int = 1) -> Outcome:
    entries = tuple(
        Entry("provenance", "oci", "att", f"sha256:{number:064x}", EntryState.STORED, f"place {number}")
        for number in range(copies)
    )
    return Outcome("taskrun/ci/run", "uid", SIGNED, entries=entries)


@dataclass
class Started:
    """Starts one program after the other, the last one again and again."""

    programs: list[str]
    number: int = field(default=0)

    def __call__(self, url: str) -> Awaitable[ChildProcess]:
        program = self.programs[min(self.number, len(self.programs) - 1)]
        self.number += 1
        return start_process(sys.executable, "-c", program)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_GATHER", 0.0)
    monkeypatch.setattr(feeding, "_PAUSES", (0.0,) * 5)


def value(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(name) or 0.0


def while_running(feed: Feed, condition: Callable[[], bool]) -> None:
    """Run the feed until a condition holds."""

    async def work() -> None:
        running = asyncio.create_task(feed.run())
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - metrics tell nobody
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    carry_out(work())


def carry_out(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_marked_runs_are_added_in_groups() -> None:
    metrics = Metrics()
    feed = Feed(metrics, Started([ANSWERS]))
    feed.take(flow())
    for number in range(AT_ONCE + 5):
        feed.offer(job(number), outcome())
    assert value(metrics, "chains_index_runs_waiting") == AT_ONCE + 5
    assert value(metrics, "chains_index_lag_seconds") >= 0
    while_running(feed, lambda: value(metrics, "chains_index_runs_fed_total") == AT_ONCE + 5)
    assert value(metrics, "chains_index_runs_waiting") == 0
    assert value(metrics, "chains_index_lag_seconds") == 0
    assert value(metrics, "chains_index_errors_total") == 0


def test_what_is_too_much_is_dropped_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    feed = Feed(metrics, Started([ANSWERS]), most=3)
    feed.take(flow())
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            feed.offer(job(number), outcome())
    assert value(metrics, "chains_index_runs_waiting") == 3
    assert value(metrics, "chains_index_runs_dropped_total") == 7
    assert len(caplog.records) == 1


def test_without_an_index_nothing_waits() -> None:
    metrics = Metrics()
    feed = Feed(metrics, Started([]))
    feed.offer(job(1), outcome())
    feed.take(flow("index.db"))
    feed.offer(job(2), outcome())
    feed.take(flow(""))
    assert value(metrics, "chains_index_runs_waiting") == 0
    assert value(metrics, "chains_index_runs_dropped_total") == 0


def test_a_run_without_evidence_is_not_named_and_of_many_copies_the_first_are() -> None:
    feed = Feed(Metrics(), Started([]))
    feed.take(flow())
    feed.offer(job(1), outcome(0))
    assert list(feed._waiting) == []
    feed.offer(job(2), outcome(MOST_COPIES + 1))
    ((_, uid, copies),) = feed._waiting
    assert (uid, len(copies), copies[0]) == ("uid-2", MOST_COPIES, (f"sha256:{0:064x}", "place 0"))


@pytest.mark.parametrize(
    "broken",
    [
        "raise SystemExit(3)",
        "input(); print('no json', flush=True); input()",
        "input(); print('[]', flush=True); input()",
        'input(); print(\'{"error": "the index is away"}\', flush=True); input()',
        "input(); print('{\"fed\": 7}', flush=True); input()",
        "input(); print('x' * 1000000, flush=True); input()",
    ],
    ids=["ends", "no json", "no object", "an error", "another number", "too long"],
)
def test_a_process_that_fails_loses_no_run_and_is_told_once(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    # a process that goes on after its answer ends with the next line
    feed = Feed(metrics, Started([broken, broken, ANSWERS]))
    feed.take(flow())
    for number in range(5):
        feed.offer(job(number), outcome())
    with caplog.at_level(logging.WARNING):
        while_running(feed, lambda: value(metrics, "chains_index_runs_fed_total") == 5)
    assert value(metrics, "chains_index_errors_total") >= 2
    told = [getattr(one, "reason", "") for one in caplog.records if one.name == "chains.index-feed"]
    assert len(told) == len(set(told))
    assert value(metrics, "chains_index_runs_waiting") == 0


def test_an_index_that_another_process_writes_is_no_error() -> None:
    metrics = Metrics()
    busy = "import json, sys\nsys.stdin.readline(); print('{\"busy\": true}', flush=True)\n"
    feed = Feed(metrics, Started([busy + ANSWERS.replace("import json, sys\n", "")]))
    feed.take(flow())
    feed.offer(job(1), outcome())
    while_running(feed, lambda: value(metrics, "chains_index_runs_fed_total") == 1)
    assert value(metrics, "chains_index_errors_total") == 0


def test_another_index_is_written_by_another_process() -> None:
    metrics, started = Metrics(), Started([ANSWERS])
    feed = Feed(metrics, started)

    async def work() -> None:
        running = asyncio.create_task(feed.run())
        async with asyncio.timeout(60):
            for number, url in enumerate(("one.db", "one.db", "two.db"), 1):
                feed.take(flow(url))
                feed.offer(job(number), outcome())
                while value(metrics, "chains_index_runs_fed_total") < number:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    carry_out(work())
    assert started.number == 2


def test_the_url_of_the_index_is_no_argument_which_every_process_could_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, started = "postgresql://chains:secret@db.example.com/index", []
    monkeypatch.setattr(feeding, "start_process", lambda *program, env: started.append((program, env)))
    feeding.start_feeder(url)
    ((program, env),) = started
    assert env["CHAINS_INDEX"] == url
    assert not any("secret" in part for part in program)
