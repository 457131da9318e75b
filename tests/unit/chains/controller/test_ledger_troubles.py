"""The controller's ledger in trouble: disks that fail or hang, shares that are lost, days that cannot be closed."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest

from chains.audit.ledger.close import read_bundle, seal_day
from chains.audit.ledger.entries import Configured
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.lines import parse_entry, write_entry
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.writer import LogWriter
from chains.config.parse import parse_config
from chains.controller.ledger import recorder as recording
from chains.controller.ledger.begin import begin_ledger
from chains.controller.ledger.facts import names_that_fit
from chains.controller.ledger.keeper import Keeper
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.recorder import Place, Recorder
from chains.controller.metrics import Metrics
from chains.controller.process import _events
from chains.doctor.ledger import check_ledger
from chains.tekton.runs import Job
from storage.base import StoreOptions
from storage.errors import StoreError
from storage.open import open_store
from tests.unit.chains.audit.ledger.made import START, Clock, close_due, listed, sealer_of, seen
from tests.unit.chains.controller.test_ledger import (
    JOB,
    OTHER,
    Flow,
    kinds,
    ledger_in,
    outcome,
    parts_in,
    raw,
)

ORIGIN = "chains.example.com/test"
FIRST = date(2025, 11, 26)


async def written(recorder):
    """Return when the thread has taken everything that waits."""
    await recorder.settle(lambda: None)


def failing_once(monkeypatch, name, error):
    """Let a method of a writer fail once, after that it works."""
    method, left = getattr(LogWriter, name), [error]

    def fail(self, *given, **named):
        if left:
            raise left.pop()
        return method(self, *given, **named)

    monkeypatch.setattr(LogWriter, name, fail)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("a fault of ours")])
@pytest.mark.parametrize("name", ["__init__", "append"])
def test_whoever_waits_is_told_of_any_failure_and_the_thread_goes_on(tmp_path, monkeypatch, error, name):
    failing_once(monkeypatch, name, error)
    monkeypatch.setattr(recording, "_PAUSE", 0.0)

    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            with pytest.raises(LedgerError, match=str(error.args[-1])):
                await ledger.decided(JOB, raw(), outcome())
            assert str(error.args[-1]) in recorder.trouble
            recorder._retry_at.clear()
            await ledger.decided(JOB, raw(), outcome())
            assert recorder.trouble == ""

    asyncio.run(asyncio.wait_for(run(), 60))
    assert kinds(tmp_path) == ["seen", "finished", "evidenced", "heartbeat"]


def test_the_trouble_of_one_share_is_its_own_in_log_metrics_and_doctor(tmp_path, caplog):
    """The log of share 0 is damaged, that of share 1 another process writes; share 2 goes on."""
    place = Place(tmp_path / "ledger", ORIGIN, 3)
    for share in (0, 1):
        writer = place.open(share)
        writer.append([seen(share)])
        writer.close(ends=False)
    damaged = next(iter((tmp_path / "ledger" / "share-0-of-3").glob("*.jsonl")))
    damaged.write_text("{}\n")
    metrics, job = (
        Metrics(),
        {number: Job("TaskRun", "ci", f"r-{number}", f"uid-{number}") for number in range(3)},
    )
    other = place.open(1)

    async def run():
        keeper = begin_ledger(lambda one: int(one.uid[-1]), lambda: (0, 1, 2), 3, metrics)
        recorder, ledger = keeper._recorder, keeper.ledger
        recorder.move(place, ())
        ledger.is_on = True
        for share in (0, 1):
            with pytest.raises(LedgerError):
                await ledger.decided(job[share], raw(), outcome())
        await ledger.decided(job[2], raw(), outcome())
        assert sorted(recorder.troubles) == [0, 1]
        assert "line 1: not an entry of a ledger" in recorder.troubles[0]
        assert recorder.troubles[1].endswith("another process writes this ledger")
        # who waits for a share in its pause is told of that share, not of another
        with pytest.raises(LedgerError, match="another process writes this ledger"):
            await recorder.record(1, seen(9))
        assert shown(metrics) == {"0": 1.0, "1": 1.0, "2": 0.0}
        other.close(ends=False)
        recorder._retry_at.clear()
        await ledger.decided(job[1], raw(), outcome())
        assert (sorted(recorder.troubles), shown(metrics)) == ([0], {"0": 1.0, "1": 0.0, "2": 0.0})
        assert metrics.registry.get_sample_value("chains_ledger_unwritable") == 1.0
        # a share that another replica has now is no trouble of this one
        keeper.release(0)
        await written(recorder)
        assert (recorder.trouble, metrics.registry.get_sample_value("chains_ledger_unwritable")) == ("", 0.0)
        await keeper.close()

    def shown(metrics):
        return {
            str(one): metrics.registry.get_sample_value("chains_ledger_share_unwritable", {"share": str(one)})
            for one in range(3)
        }

    with caplog.at_level(logging.INFO, logger="chains.ledger"):
        asyncio.run(asyncio.wait_for(run(), 60))
    told = [(one.message, one.share) for one in caplog.records if hasattr(one, "share")]
    assert told == [
        ("the ledger cannot be written", 0),
        ("the ledger cannot be written", 1),
        ("the ledger can be written again", 1),
    ]
    data = {"ledger.folder": str(tmp_path / "ledger"), "ledger.origin": ORIGIN, "ledger.signer": "x.pem"}
    checks = {one.name: one for one in check_ledger(parse_config(data), datetime.now(UTC), in_pod=True)}
    assert {name: one.state for name, one in checks.items()} == {
        "ledger share-0-of-3": "failed",
        "ledger share-1-of-3": "ok",
        "ledger share-2-of-3": "ok",
    }
    assert "line 1: not an entry of a ledger" in checks["ledger share-0-of-3"].detail
    assert "chains ledger verify" in checks["ledger share-0-of-3"].next_step


def test_the_doctor_says_which_log_nobody_writes_and_which_day_nobody_signed(tmp_path):
    clock = Clock()
    place = Place(tmp_path, ORIGIN, 1, clock)
    writer = place.open(0)
    writer.append([seen(1)])
    writer.close(ends=False)
    data = {"ledger.folder": str(tmp_path), "ledger.origin": ORIGIN, "ledger.signer": "x.pem"}

    def check(folder=tmp_path, *, in_pod=True):
        config = parse_config(data | {"ledger.folder": str(folder)})
        return [(one.state, one.detail) for one in check_ledger(config, clock.now, in_pod=in_pod)]

    clock.move(minutes=10)
    assert check() == [("ok", "1 entry, the last at 2025-11-26T08:00:00.000000Z")]
    clock.move(minutes=11)
    assert check() == [
        ("warning", "1 entry, the last at 2025-11-26T08:00:00.000000Z: no controller writes it")
    ]
    clock.move(days=1)
    assert check() == [("warning", "1 entry; 2025-11-26 is over and not signed")]
    (tmp_path / "empty").mkdir()
    assert check(tmp_path / "empty")[0][0] == "ok"
    assert check(tmp_path / "away")[0][0] == "failed"
    assert check(tmp_path / "away", in_pod=False)[0][0] == "skipped"


def test_a_log_that_cannot_be_closed_keeps_nobody_waiting(tmp_path, monkeypatch):
    failing_once(monkeypatch, "close", OSError(5, "Input/output error"))

    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            ledger.saw(JOB, raw(ended=False), listed=False)
            recorder.release(0)
            await written(recorder)
            assert dict(recorder.writers) == {}

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_configuration_that_could_not_be_noted_is_noted_when_the_log_is_opened_again(tmp_path, monkeypatch):
    place = Place(tmp_path, ORIGIN, 1)

    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            await ledger.decided(JOB, raw(), outcome())
            failing_once(monkeypatch, "_write", LedgerError("the disk is full"))
            recorder.move(place, (Configured(START, "ab" * 32),))
            await written(recorder)
            assert recorder.trouble == "the disk is full"
            recorder._retry_at.clear()
            recorder.beat([0])
            await written(recorder)
            assert recorder.trouble == ""

    asyncio.run(asyncio.wait_for(run(), 60))
    assert kinds(tmp_path) == ["seen", "finished", "evidenced", "gap", "config", "heartbeat"]


def test_nothing_is_written_to_the_log_of_a_share_that_another_replica_has(tmp_path):
    log = tmp_path / "share-0-of-1"

    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            ledger.saw(JOB, raw(ended=False), listed=False)
            recorder.release(0)
            ledger.saw(OTHER, raw(ended=False), listed=False)
            ledger.gone(JOB, "it does not exist any more")
            for told in (
                ledger.sighted(OTHER, raw(ended=False)),
                ledger.decided(JOB, raw(), outcome()),
            ):
                with pytest.raises(LedgerError, match="share 0 was lost to another replica"):
                    await told
            await written(recorder)
            assert recorder.trouble == ""
            next_writer = LogWriter(log, f"{ORIGIN}/share-0-of-1")  # the log is free for its new holder
            assert next_writer.opened == 1
            next_writer.close()
            recorder.regain(0)
            await ledger.decided(JOB, raw(), outcome())

    asyncio.run(asyncio.wait_for(run(), 60))
    assert [kind for kind in kinds(tmp_path) if kind != "heartbeat"] == [
        "seen",
        "gap",
        "gap",
        "finished",
        "evidenced",
    ]


def test_the_ledger_follows_the_shares_that_are_lost_and_gained(tmp_path):
    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            keeper = Keeper(ledger, recorder, lambda: (0,), 1)
            work = SimpleNamespace(drop=lambda _: None)
            controller = SimpleNamespace(forget=lambda _: None)
            asked = []
            events = _events(work, controller, Metrics(), SimpleNamespace(ask=asked.append), keeper, 1)
            await ledger.decided(OTHER, raw(), outcome())
            events.lost(0)
            with pytest.raises(LedgerError, match="share 0 was lost"):
                await ledger.decided(JOB, raw(), outcome())
            events.gained(0)
            await ledger.decided(JOB, raw(), outcome())
            assert asked == [0]

    asyncio.run(asyncio.wait_for(run(), 60))
    assert kinds(tmp_path).count("evidenced") == 2


class Hanging:
    """Lets every write hang until it is told to go on."""

    def __init__(self, monkeypatch):
        self.hangs, self.goes_on = threading.Event(), threading.Event()
        append = LogWriter.append

        def wait(writer, facts):
            self.hangs.set()
            assert self.goes_on.wait(60)
            return append(writer, facts)

        monkeypatch.setattr(LogWriter, "append", wait)


def test_while_a_write_hangs_a_fact_waits_once_however_often_it_is_noted(tmp_path, monkeypatch):
    disk = Hanging(monkeypatch)

    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            ledger.saw(OTHER, raw(ended=False), listed=False)
            await asyncio.to_thread(disk.hangs.wait, 60)
            for _ in range(1000):
                ledger.saw(JOB, raw(ended=False), listed=False)
                ledger.saw(JOB, raw(), listed=False)
            assert recorder._queue.qsize() == 2
            disk.goes_on.set()
            await written(recorder)
            ledger.gone(JOB, "it does not exist any more")  # another fact of the run is noted

    asyncio.run(asyncio.wait_for(run(), 60))
    assert kinds(tmp_path) == ["seen", "seen", "finished", "removed", "heartbeat"]


def test_the_end_does_not_wait_for_a_disk_that_hangs(tmp_path, monkeypatch, caplog):
    disk = Hanging(monkeypatch)
    monkeypatch.setattr(recording, "_CLOSING", 0.01)
    threads = []

    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            threads.append(recorder._thread)
            ledger.saw(JOB, raw(ended=False), listed=False)
            await asyncio.to_thread(disk.hangs.wait, 60)

    with caplog.at_level(logging.ERROR, "chains.ledger"):
        asyncio.run(asyncio.wait_for(run(), 60))
    assert threads[0].is_alive()
    assert threads[0].daemon, "it does not keep the process"
    assert [one.message for one in caplog.records] == ["the ledger was not closed: its disk does not answer"]
    disk.goes_on.set()
    threads[0].join(60)
    assert kinds(tmp_path) == ["seen", "heartbeat"]


@pytest.mark.parametrize(("took", "pause"), [(0.01, 1.0), (3.0, 30.0)])
def test_the_pause_after_a_failure_grows_with_the_work_of_an_attempt(tmp_path, monkeypatch, took, pause):
    clock = SimpleNamespace(used=7.0, monotonic=lambda: 100.0, thread_time=lambda: clock.used)
    monkeypatch.setattr(recording, "time", clock)

    def read_for_long(self, share):
        clock.used += took
        raise LedgerError("the disk is full")

    monkeypatch.setattr(Place, "open", read_for_long)

    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            with pytest.raises(LedgerError, match="the disk is full"):
                await ledger.decided(JOB, raw(), outcome())
            assert recorder._retry_at == {0: pytest.approx(100.0 + pause)}

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["a"] * 500, ("a",) * 500),
        (["a"] * 501, (*["a"] * 499, "2 more")),
        (["a" * 253] * 600, (*["a" * 253] * 124, "476 more")),
        ([], ()),
    ],
    ids=["as many as fit", "one too many", "too long together", "none"],
)
def test_more_names_than_an_entry_holds_are_counted_and_the_entry_is_read_again(names, kept):
    assert names_that_fit(names) == kept
    entry = Configured(START, "ab" * 32, names_that_fit(names))
    assert parse_entry(write_entry(entry)) == entry


@asynccontextmanager
async def two_logs(clock):
    recorder = Recorder()
    held = (0, 1)
    keeper = Keeper(Ledger(recorder, lambda _: 0, lambda: held), recorder, lambda: held, 2, clock=clock)
    try:
        yield keeper, recorder
    finally:
        await keeper.close()


def closed(folder):
    """Return the days that are closed in each of the two logs."""
    logs = [LogFolder(folder / "ledger" / f"share-{share}-of-2") for share in range(2)]
    return [[day for day in log.days() if log.is_closed(day)] for log in logs]


def test_a_damaged_log_leaves_no_day_of_another_log_unsigned(tmp_path, caplog):
    clock = Clock()

    async def run():
        store = open_store(f"file:{tmp_path / 'store'}", StoreOptions())
        async with two_logs(clock) as (keeper, _):
            keeper.take(Flow(parts_in(tmp_path, store), {}))
            await keeper.look()
            (tmp_path / "ledger" / "share-0-of-2" / f"{FIRST}.jsonl").write_bytes(b"damaged\n")
            clock.move(days=1)
            await keeper.look()
            await keeper.look()
            return [run.origin.namespace async for run in store.list_runs()]

    assert asyncio.run(asyncio.wait_for(run(), 60)) == ["share-1-of-2"]
    assert closed(tmp_path) == [[], [FIRST]]
    told = [one.message for one in caplog.records if one.levelno == logging.ERROR]
    assert told == ["a day of the ledger cannot be closed"], "each reason is told once"


class Away:
    """A store that does not answer."""

    url = "s3://away"

    async def put(self, _):
        raise StoreError("s3://away: does not answer")


def test_a_store_that_does_not_answer_leaves_no_day_unsigned(tmp_path):
    clock = Clock()

    async def run():
        async with two_logs(clock) as (keeper, _):
            keeper.take(Flow(parts_in(tmp_path, Away()), {}))
            await keeper.look()
            clock.move(days=1)
            await keeper.look()
            assert keeper.closed_until == datetime(2025, 11, 27, tzinfo=UTC)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert closed(tmp_path) == [[FIRST], [FIRST]]
    assert list((tmp_path / "ledger").rglob("*.stored.json")) == []


@pytest.mark.parametrize("is_fast", [True, False], ids=["it has closed the day", "it signs the day still"])
def test_a_day_whose_log_is_given_up_while_it_is_signed_is_left_to_the_next_writer(
    tmp_path, monkeypatch, is_fast
):
    clock = Clock()
    path = tmp_path / "ledger" / "share-0-of-2"
    statements = []

    async def run():
        async with two_logs(clock) as (keeper, recorder):

            def seal_slowly(log, day, sealer, at, **rest):
                made = seal_day(log, day, sealer, at, **rest)
                if log.path == path:
                    recorder.release(0)
                    given_up = threading.Event()
                    recorder._queue.put(given_up.set)
                    assert given_up.wait(60)
                    other = LogWriter(path, f"{ORIGIN}/share-0-of-2", clock)
                    if is_fast:
                        statements.extend(close_due(other, sealer, clock.now))
                    other.append([seen(1)])
                    other.close(ends=False)
                return made

            monkeypatch.setattr("chains.controller.ledger.keeper.seal_day", seal_slowly)
            keeper.take(Flow(parts_in(tmp_path), {}))
            await keeper.look()
            clock.move(days=1)
            await keeper.look()
            files = {file.name: file.read_bytes() for file in path.iterdir()}
            await keeper.look()
            assert {file.name: file.read_bytes() for file in path.iterdir()} == files

    asyncio.run(asyncio.wait_for(run(), 60))
    if not is_fast:
        assert closed(tmp_path) == [[], [FIRST]]
        other = LogWriter(path, f"{ORIGIN}/share-0-of-2", clock)
        statements.extend(close_due(other, sealer_of(tmp_path), clock.now))
        other.close(ends=False)
    assert [read_bundle(LogFolder(path), FIRST)[1]] == statements
    assert closed(tmp_path) == [[FIRST], [FIRST]]
    state = read_ledger(tmp_path / "ledger", listed(sealer_of(tmp_path)), datetime.now(UTC))
    assert state.problems == ()
