"""The writer: what is acknowledged is on disk, in whole lines, once, in order of time, by one process."""

from __future__ import annotations

import errno
import os
from datetime import UTC, date, datetime, timedelta

import pytest

from chains.audit.ledger.entries import EntryKind, GapEntry, Heartbeat
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.lines import parse_entry
from chains.audit.ledger.writer import LogWriter
from chains.errors import UsageError
from tests.unit.chains.audit.ledger.made import (
    ORIGIN,
    RECEIPT,
    START,
    Clock,
    close_due,
    evidenced,
    fact,
    finished,
    run,
    sealer_of,
    seen,
)

DAY = START.date()


def entries(folder, day=DAY):
    return [parse_entry(line.removesuffix(b"\n")) for line in LogFolder(folder).lines(day)]


def kinds(folder, day=DAY):
    return [entry.kind.value for entry in entries(folder, day)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ledger"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def writer(folder, clock):
    writer = LogWriter(folder, ORIGIN, clock)
    yield writer
    writer.close(ends=False)


def test_a_run_is_seen_finished_and_decided(writer, folder, clock):
    for made in (seen(1), finished(1), evidenced(1)):
        assert writer.append([made]) == [None]
        clock.move(seconds=1)
    found = entries(folder)
    assert [entry.kind for entry in found] == ["seen", "finished", "evidenced"]
    assert [entry.at for entry in found] == [START + timedelta(seconds=number) for number in range(3)]
    assert {entry.run for entry in found} == {run(1)}
    assert found[1].succeeded is True
    assert found[2].receipts == (RECEIPT,)
    assert (writer.opened, writer.pending, writer.size) == (0, 0, 3)


def test_a_decision_about_a_run_that_was_never_seen_makes_all_of_its_entries(writer, folder):
    writer.append(
        [evidenced(1, created="2025-11-26T07:59:00Z", completed="2025-11-26T08:00:00Z", succeeded=False)]
    )
    found = entries(folder)
    assert [entry.kind for entry in found] == ["seen", "finished", "evidenced"]
    assert (found[0].created, found[1].completed, found[1].succeeded) == (
        "2025-11-26T07:59:00Z",
        "2025-11-26T08:00:00Z",
        False,
    )
    assert found[2] == evidenced(1)


def test_what_the_log_has_already_makes_no_second_entry(writer, folder):
    for made in (
        seen(1),
        seen(1),
        finished(1),
        finished(1),
        seen(1),
        evidenced(1),
        evidenced(1),
        finished(1),
        seen(1),
    ):
        assert writer.append([made]) == [None]
    assert kinds(folder) == ["seen", "finished", "evidenced"]
    assert writer.standing(run(1).uid) == "decided"


def test_another_decision_about_a_decided_run_is_an_entry(writer, folder):
    writer.append([fact("failed", 1, reason="registry is away"), evidenced(1)])
    assert kinds(folder) == ["seen", "finished", "failed", "evidenced"]


def test_a_removed_run_has_an_entry_only_if_it_was_not_decided(writer, folder):
    writer.append([fact("removed", 1), seen(2), fact("removed", 2), finished(3), fact("removed", 3)])
    writer.append([evidenced(4), fact("removed", 4)])
    assert [(entry.kind.value, entry.run.name) for entry in entries(folder)] == [
        ("seen", "build-2"),
        ("removed", "build-2"),
        ("seen", "build-3"),
        ("finished", "build-3"),
        ("removed", "build-3"),
        ("seen", "build-4"),
        ("finished", "build-4"),
        ("evidenced", "build-4"),
    ]
    assert (writer.opened, writer.pending) == (0, 0)


def test_a_fact_that_cannot_be_written_does_not_keep_others_from_it(writer, folder):
    told = writer.append([seen(1), fact("failed", 2, reason="x" * 70_000), seen(3)])
    assert [error is None for error in told] == [True, False, True]
    assert "at most 65536" in str(told[1])
    assert {entry.run.name for entry in entries(folder)} == {"build-1", "build-2", "build-3"}
    assert kinds(folder) == ["seen", "seen", "finished", "seen"]


def test_a_second_writer_is_refused_until_the_first_ends(writer, folder, clock):
    with pytest.raises(LedgerError, match="another process writes this ledger"):
        LogWriter(folder, ORIGIN, clock)
    writer.append([seen(1)])
    writer.close()
    again = LogWriter(folder, ORIGIN, clock)
    assert again.opened == 1
    again.close(ends=False)


def test_a_file_system_without_locks_is_told_as_that(folder, clock, monkeypatch):
    def without(_file, _flags):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("chains.audit.ledger.writer.fcntl.flock", without)
    with pytest.raises(LedgerError, match="No locks available"):
        LogWriter(folder, ORIGIN, clock)


def test_a_ledger_keeps_its_name(writer, folder, clock):
    writer.close(ends=False)
    with pytest.raises(
        LedgerError, match=r"it is the ledger of chains.example.com/prod/share-0-of-1, not of other"
    ):
        LogWriter(folder, "other", clock)


@pytest.mark.parametrize("origin", ["", "a b", "https://a/b", "a+b", "/a", "a//b", "a\nb", "ä"])
def test_a_log_has_a_name_that_checkpoints_can_hold(folder, clock, origin):
    with pytest.raises(UsageError, match="no name of a log"):
        LogWriter(folder, origin, clock)


def test_a_writer_that_begins_again_says_since_when_nobody_wrote(folder, clock):
    writer = LogWriter(folder, ORIGIN, clock)
    writer.append([seen(1), finished(2)])
    writer.close()
    clock.move(hours=2)
    again = LogWriter(folder, ORIGIN, clock)
    assert (again.opened, again.pending, again.size) == (1, 1, 5)
    again.close(ends=False)
    assert kinds(folder) == ["seen", "seen", "finished", "heartbeat", "gap"]
    heartbeat, gap = entries(folder)[-2:]
    assert heartbeat == Heartbeat(START, 1, 1, ends=True)
    assert gap == GapEntry(clock.now, START, clock.now, "the ledger was not written")


def test_a_first_writer_knows_of_no_gap(writer, folder):
    assert writer.size == 0
    assert kinds(folder) == []


def test_a_torn_last_line_is_cut_off_and_told_as_a_gap(folder, clock):
    writer = LogWriter(folder, ORIGIN, clock)
    writer.append([seen(1)])
    writer.close(ends=False)
    path = folder / f"{DAY}.jsonl"
    whole = path.read_bytes()
    for length in (1, 20, len(whole) - 1):
        path.write_bytes(whole + whole[:length])
        again = LogWriter(folder, ORIGIN, clock)
        assert again.opened == 1
        again.close(ends=False)
        assert path.read_bytes().startswith(whole)
        assert entries(folder)[-1].reason == (
            f"the ledger was not written; {length} bytes of a line that was not acknowledged were cut off"
        )
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda lines: [lines[1], lines[0]], "line 1: finished of TaskRun", id="reordered"),
        pytest.param(lambda lines: lines[1:], "line 1: finished of TaskRun", id="removed"),
        pytest.param(lambda lines: [lines[0], lines[0]], "seen before", id="repeated"),
        pytest.param(lambda lines: [b"x\n", *lines], "line 1: not an entry", id="no entry"),
        pytest.param(lambda lines: [b"x" * 70_000 + b"\n", *lines], "longer than 65536", id="a long line"),
    ],
)
def test_a_damaged_open_day_is_never_written_to(folder, clock, change, message):
    writer = LogWriter(folder, ORIGIN, clock)
    writer.append([seen(1), finished(1)])
    writer.close(ends=False)
    path = folder / f"{DAY}.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=message):
        LogWriter(folder, ORIGIN, clock)
    assert path.read_bytes() == before


def test_each_utc_day_has_a_file_of_its_own(writer, folder, clock):
    clock.now = datetime(2025, 11, 26, 23, 59, 59, 999_999, tzinfo=UTC)
    writer.append([seen(1)])
    clock.move(microseconds=1)
    writer.append([finished(1)])
    assert kinds(folder, date(2025, 11, 26)) == ["seen"]
    assert kinds(folder, date(2025, 11, 27)) == ["finished"]


def test_times_never_go_back_and_an_entry_says_that_the_clock_did(writer, folder, clock):
    writer.append([seen(1)])
    clock.move(days=-3)
    writer.append([seen(2)])
    writer.append([seen(3)])
    clock.now = START + timedelta(seconds=5)
    writer.append([seen(4)])
    found = entries(folder)
    assert [entry.kind for entry in found] == ["seen", "gap", "seen", "seen", "seen"]
    assert [entry.at for entry in found] == [START, START, START, START, clock.now]
    assert found[1] == GapEntry(
        START,
        START - timedelta(days=3),
        START,
        "the clock went back: until it comes to this time again, entries have this time",
    )


def test_a_clock_that_goes_back_a_little_is_no_news(writer, folder, clock):
    writer.append([seen(1)])
    clock.move(milliseconds=-900)
    writer.append([seen(2)])
    assert kinds(folder) == ["seen", "seen"]
    assert entries(folder)[1].at == START


def test_a_closed_day_is_never_written_to_even_if_the_clock_goes_back_into_it(tmp_path, folder, clock):
    sealer = sealer_of(tmp_path)
    writer = LogWriter(folder, ORIGIN, clock)
    writer.append([seen(1)])
    clock.move(days=1)
    close_due(writer, sealer, clock.now)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    clock.move(hours=-20)
    writer.append([finished(1)])
    writer.close(ends=False)
    again = LogWriter(folder, ORIGIN, clock)
    again.append([evidenced(1)])
    again.close(ends=False)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: after[name] for name in before} == before
    assert kinds(folder, date(2025, 11, 27)) == [
        "gap",  # the clock went back
        "finished",
        "gap",  # to the second writer, too
        "gap",  # and nobody wrote in between
        "evidenced",
    ]


class FullDisk:
    """Takes the first bytes of a write and then has no room, as a full disk does."""

    def __init__(self, monkeypatch):
        self.room, self._write = None, os.write
        monkeypatch.setattr("chains.audit.ledger.writer.os.write", self.write)

    def write(self, file, data):
        if self.room is None:
            return self._write(file, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return self._write(file, part)


def test_a_full_disk_is_an_error_and_leaves_no_half_entry(writer, folder, monkeypatch):
    writer.append([seen(1)])
    path = folder / f"{DAY}.jsonl"
    whole = path.read_bytes()
    disk = FullDisk(monkeypatch)
    for room in (0, 1, len(whole), len(whole) + 10):
        disk.room = room
        with pytest.raises(LedgerError, match="No space left on device"):
            writer.append([finished(1), seen(2)])
        assert path.read_bytes().endswith(b"}\n")
        # all that may be new is a gap, which is a group of its own
        assert [kind for kind in kinds(folder) if kind != "gap"] == ["seen"]
    disk.room = None
    assert writer.append([finished(1), seen(2)]) == [None, None]
    assert [kind for kind in kinds(folder) if kind != "gap"] == ["seen", "finished", "seen"]
    assert kinds(folder)[1] == "gap"
    assert (writer.opened, writer.pending) == (1, 1)


def test_a_disk_that_does_not_flush_acknowledges_nothing(writer, folder, monkeypatch):
    writer.append([seen(1)])
    whole = (folder / f"{DAY}.jsonl").read_bytes()

    def broken(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr("chains.audit.ledger.writer.os.fdatasync", broken)
        with pytest.raises(LedgerError, match="Input/output error"):
            writer.append([seen(2)])
    assert (folder / f"{DAY}.jsonl").read_bytes() == whole
    writer.append([seen(2)])
    assert kinds(folder) == ["seen", "gap", "seen"]


def failing(number, before=lambda *_: None):
    def fail(*given):
        before(*given)
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("name", "number"),
    [("os.truncate", errno.EIO), ("Path.exists", errno.ESTALE), ("os.fstat", errno.EACCES)],
)
def test_an_error_of_the_disk_while_a_log_is_opened_is_told_and_lets_the_log_go(
    folder, clock, monkeypatch, name, number
):
    first = LogWriter(folder, ORIGIN, clock)
    first.append([seen(1)])
    first.close(ends=False)
    with (folder / f"{DAY}.jsonl").open("ab") as file:
        file.write(b'{"at": "torn')
    with monkeypatch.context() as patched:
        patched.setattr(f"chains.audit.ledger.writer.{name}", failing(number))
        with pytest.raises(LedgerError, match=os.strerror(number)):
            LogWriter(folder, ORIGIN, clock)
    again = LogWriter(folder, ORIGIN, clock)
    again.close(ends=False)
    assert again.opened == 1
    assert [kind for kind in kinds(folder) if kind != "gap"] == ["seen"]


def test_a_file_that_cannot_be_closed_is_told_and_the_log_is_let_go(folder, clock, monkeypatch):
    writer = LogWriter(folder, ORIGIN, clock)
    writer.append([seen(1)])
    with monkeypatch.context() as patched:
        patched.setattr("chains.audit.ledger.writer.os.close", failing(errno.EIO, os.close))
        with pytest.raises(LedgerError, match="Input/output error"):
            writer.close(ends=False)
    LogWriter(folder, ORIGIN, clock).close(ends=False)
    assert kinds(folder) == ["seen", "gap"]


def test_decided_runs_of_yesterday_are_known_after_a_restart(tmp_path, folder, clock):
    writer = LogWriter(folder, ORIGIN, clock)
    writer.append([evidenced(1), seen(2)])
    clock.move(days=1)
    close_due(writer, sealer_of(tmp_path), clock.now)
    writer.close(ends=False)
    again = LogWriter(folder, ORIGIN, clock)
    assert (again.standing(run(1).uid), again.standing(run(2).uid), again.standing("x")) == (
        "decided",
        "open",
        "",
    )
    again.append([seen(1), evidenced(1), seen(2)])
    assert [entry.run.name for entry in again.undecided()] == ["build-2"]
    again.close(ends=False)
    assert kinds(folder, clock.now.date()) == ["gap"]


def test_a_log_without_its_name_is_refused(writer, folder, clock):
    writer.append([seen(1)])
    writer.close(ends=False)
    (folder / "origin").unlink()
    with pytest.raises(LedgerError, match="it has days of a ledger, but no file origin"):
        LogWriter(folder, ORIGIN, clock)


def test_a_removed_kind_is_one_of_the_kinds_of_runs():
    assert fact("removed", 1).kind is EntryKind.REMOVED
