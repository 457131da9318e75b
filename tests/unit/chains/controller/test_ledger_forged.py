"""Somebody who may write to the folder of the ledger, and has no key, changes a day that is not closed yet."""

from __future__ import annotations

import asyncio

import pytest

from chains.audit.ledger.close import seal_day
from chains.audit.ledger.entries import EntryKind, GapEntry, Heartbeat
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.lines import parse_entry, write_entry
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.writer import LogWriter
from chains.controller.ledger.keeper import Keeper
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.recorder import Recorder
from tests.unit.chains.audit.ledger.made import LATER, ORIGIN, Clock, evidenced, listed, sealer_of, seen
from tests.unit.chains.controller.test_ledger import Flow, parts_in


def forged_heartbeat(lines):
    last = parse_entry(lines[-1].rstrip(b"\n"))
    return [*lines, write_entry(Heartbeat(last.at, 1, 0)) + b"\n"]


FORGERIES = {
    "a heartbeat added": forged_heartbeat,
    "a run left out": lambda lines: [line for line in lines if b"build-2" not in line],
    "the end cut off": lambda lines: lines[:-1],
    "everything gone": lambda _: [],
    "a reason changed": lambda lines: [line.replace(b"build-3", b"build-9") for line in lines],
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_day_that_somebody_else_changed_is_not_signed_and_one_put_back_is(tmp_path, name):
    clock, sealer = Clock(), sealer_of(tmp_path)
    writer = LogWriter(tmp_path / "log", ORIGIN, clock)
    writer.append([seen(1), seen(2), evidenced(1)])
    clock.move(minutes=5)
    writer.append([seen(3), writer.heartbeat()])
    (day,) = writer.log.days()
    path = writer.log.file(day, ".jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    clock.move(days=1)
    writer.append([seen(4)])
    writer.end_day(day)
    path.write_bytes(b"".join(FORGERIES[name](lines)))
    with pytest.raises(LedgerError, match="somebody else changed it since it was written"):
        seal_day(writer.log, day, sealer, clock.now, written=writer.head_of)
    path.write_bytes(b"".join(lines))
    seal_day(writer.log, day, sealer, clock.now, written=writer.head_of).write(writer.log)
    writer.close(ends=False)
    assert read_ledger(tmp_path / "log", listed(sealer), LATER).problems == ()


def test_entries_of_a_day_on_which_the_writer_wrote_none_are_not_signed(tmp_path):
    clock, sealer = Clock(), sealer_of(tmp_path)
    writer = LogWriter(tmp_path / "log", ORIGIN, clock)
    writer.append([seen(1)])
    (first,) = writer.log.days()
    clock.move(days=2)
    writer.end_day(first)
    seal_day(writer.log, first, sealer, clock.now, written=writer.head_of).write(writer.log)
    second = first.replace(day=first.day + 1)
    writer.log.file(second, ".jsonl").write_bytes(
        write_entry(Heartbeat(Clock().now.replace(day=second.day), 1, 0)) + b"\n"
    )
    with pytest.raises(LedgerError, match="expected 1 entries"):
        seal_day(writer.log, second, sealer, clock.now, written=writer.head_of)
    writer.log.file(second, ".jsonl").unlink()
    seal_day(writer.log, second, sealer, clock.now, written=writer.head_of).write(writer.log)
    writer.close(ends=False)


def test_the_keeper_closes_no_changed_day_and_says_why(tmp_path, caplog):
    clock = Clock()

    async def work():
        recorder = Recorder()
        keeper = Keeper(Ledger(recorder), recorder, lambda: (0,), 1, clock=clock)
        keeper.take(Flow(parts_in(tmp_path), {}))
        await keeper.look()
        await recorder.record(0, seen(1))
        await recorder.record(0, seen(2))
        log = recorder.writers[0].log
        (day,) = log.days()
        path = log.file(day, ".jsonl")
        whole = path.read_bytes()
        path.write_bytes(b"".join(line for line in whole.splitlines(keepends=True) if b"build-2" not in line))
        clock.move(days=1)
        await keeper.look()
        assert not log.is_closed(day)
        path.write_bytes(whole)
        await keeper.look()
        assert log.is_closed(day)
        await keeper.close()

    asyncio.run(asyncio.wait_for(work(), 60))
    reasons = [one.reason for one in caplog.records if one.message == "a day of the ledger cannot be closed"]
    assert len(reasons) == 1
    assert "somebody else changed it since it was written" in reasons[0]


def test_a_process_that_stood_still_tells_the_gap_and_one_that_wrote_tells_none(tmp_path):
    clock = Clock()
    writer = LogWriter(tmp_path / "log", ORIGIN, clock)
    writer.append([seen(1)])
    clock.move(minutes=20)
    assert [one.kind for one in writer.beat()] == [EntryKind.HEARTBEAT]
    last = Clock().now
    clock.move(minutes=1)
    gap, alive = writer.beat()
    assert isinstance(gap, GapEntry)
    assert (gap.start, gap.until, alive.kind) == (last, clock.now, EntryKind.HEARTBEAT)
    assert writer.append([gap, alive]) == [None, None]
    writer.close(ends=False)
    state = read_ledger(tmp_path / "log", [], LATER)
    assert [(one.start, one.until) for one in state.gaps] == [(last, clock.now)]
