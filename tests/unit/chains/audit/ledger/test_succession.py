"""Logs that follow each other when the number of shares changes: nothing is lost, cut off, dropped or exchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, time
from pathlib import Path

import orjson
import pytest

from chains.audit.ledger.close import close_day, end_of
from chains.audit.ledger.entries import Ended, Succeeds
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import LogFolder, find_logs
from chains.audit.ledger.lines import write_entry
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.replay import ONE_DAY
from chains.audit.ledger.succession import log_of, parse_name, predecessors
from chains.audit.ledger.writer import LogWriter
from chains.audit.population.known import Population
from chains.audit.population.ledger import add_ledger
from chains.cli.main import run as chains
from tests.unit.chains.audit.ledger.changed_shares import NAME, Shared, begun, names_of, the_log
from tests.unit.chains.audit.ledger.made import LATER, Clock, evidenced, listed, run, sealer_of, seen

ROOT = Path(__file__).parents[5]


def read(folder):
    return read_ledger(folder / "ledger", listed(sealer_of(folder)), LATER)


def states(state):
    return {uid: one.state.value for uid, one in state.runs.items()}


def expected(opened, decided):
    return {run(one).uid: "open" for one in opened} | {run(one).uid: "evidenced" for one in decided}


def verified(folder, shared, *, demand=True):
    """Assert that everything verifies up to yesterday, by the library and by the command."""
    state = read(folder)
    assert state.problems == ()
    if demand:
        assert state.until == datetime.combine(shared.clock.now.date(), time(), UTC)
    public = folder / "ledger.pub"
    public.write_bytes(shared.sealer.signer.public_pem)
    last = (shared.clock.now.date() - ONE_DAY).isoformat()
    words = ["ledger", "verify", str(folder / "ledger"), "--key", str(public)]
    assert chains([*words, "--until", last] if demand else words) == 0
    return state


@pytest.mark.parametrize(
    "counts", [(2, 3), (2, 1), (2, 3, 2), (2, 5, 1, 2)], ids=["grow", "shrink", "back", "often"]
)
def test_after_changes_of_the_number_of_shares_the_ledger_verifies_and_goes_on(tmp_path, counts):
    shared = begun(tmp_path)
    for number, shares in enumerate(counts[1:], 2):
        shared.begin(shares)
        shared.look()
        shared.look()  # nothing is said twice
        shared.tell(range(number * 20, number * 20 + 5), seen)
        shared.next_day()
    shared.tell(range(4, 8), evidenced)  # open in the first logs, decided in the last
    shared.next_day()
    shared.stop()
    state = verified(tmp_path, shared)
    opened = [
        *range(8, 12),
        *(one for number in range(2, len(counts) + 1) for one in range(number * 20, number * 20 + 5)),
    ]
    assert states(state) == expected(opened, range(8))
    # each log that ended names those that go on, and they name it with its head
    for log in find_logs(tmp_path / "ledger"):
        end, own = end_of(log), log.origin()
        assert (end is None) == (
            log.path.name in {log_of(tmp_path / "ledger", one, counts[-1]).name for one in range(counts[-1])}
        )
        for name in end.successors if end is not None else ():
            lines = b"\n".join(
                line
                for file in (tmp_path / "ledger" / name.rpartition("/")[2]).glob("????-??-??.jsonl")
                for line in [file.read_bytes()]
            )
            assert lines.count(b'"kind":"succeeds","log":"' + own.encode() + b'"') == 1
    if counts == (2, 3, 2):
        assert names_of(tmp_path / "ledger")[:2] == ["share-0-of-2", "share-0-of-2.2"]


def test_the_time_until_others_go_on_is_a_gap_and_an_ended_log_is_no_silence(tmp_path):
    shared = begun(tmp_path)
    last = shared.clock.now
    shared.clock.move(hours=3)
    shared.begin(3)
    shared.look()
    shared.tell(range(20, 30), seen)
    begin = shared.clock.now
    shared.next_day()
    shared.stop()
    state = verified(tmp_path, shared)
    gaps = [gap for gap in state.gaps if gap.reason.startswith("the number of shares changed")]
    assert {gap.log for gap in gaps} == {f"{NAME}/share-0-of-2", f"{NAME}/share-1-of-2"}
    assert max(gap.start for gap in gaps) == last
    assert all(gap.until <= begin for gap in gaps)
    with Population() as population:
        source = add_ledger(state, "ledger", population, begin)
        assert not any("not even a heartbeat" in gap.reason for gap in source.gaps)


def test_a_replica_that_is_down_during_the_change_makes_its_log_later(tmp_path):
    shared = begun(tmp_path)
    shared.begin(3, held=range(2))  # nobody has the third share
    shared.look()
    shared.next_day()
    # its log is named by those that ended, and it does not exist: it was dropped, or nobody wrote it
    assert [one.code for one in read(tmp_path).problems] == ["succession"] * 2
    shared.begin(3)
    shared.look()
    shared.next_day()
    shared.stop()
    verified(tmp_path, shared)


def test_a_change_back_before_all_logs_had_begun_leaves_no_log_without_successor(tmp_path):
    shared = begun(tmp_path)
    shared.begin(3, held=range(1))  # shares 1 and 2 of 3 never began
    shared.look()
    shared.begin(2)
    shared.look()
    shared.look()
    shared.next_day()
    shared.stop()
    state = verified(tmp_path, shared)
    assert {name.rpartition("/")[2] for name in state.ended} == {
        "share-0-of-2", "share-1-of-2", "share-0-of-3", "share-1-of-3", "share-2-of-3",
    }  # fmt: skip
    assert states(state) == expected(range(4, 12), range(4))


def test_a_log_that_another_process_still_writes_is_ended_when_it_is_free(tmp_path):
    shared = begun(tmp_path)
    old = shared.writers.pop(1)
    shared.begin(3)
    assert end_of(old.log) is None
    from chains.audit.ledger.succession import end_others
    from chains.controller.permit import share_of_uid

    ended, errors = end_others(shared.folder, NAME, 3, share_of_uid, shared.clock)
    assert [log.path.name for log in ended] == ["share-0-of-2"]
    assert errors == []
    old.close(ends=False)
    shared.look()
    shared.next_day()
    shared.stop()
    verified(tmp_path, shared)


@pytest.mark.parametrize("number", [1, 2, 5, 8, 11, 14, 17, 20, 23])
def test_a_change_that_is_killed_at_any_write_is_completed_by_the_next_process(tmp_path, number):
    shared = begun(tmp_path)
    shared.stop()
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.chains.audit.ledger.changed_shares", str(tmp_path), str(number),
         shared.clock.now.isoformat()],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (-9, ""), done.stderr
    shared.clock.move(days=1, hours=1)
    shared.begin(3)
    shared.look()
    shared.tell(range(20, 24), seen)
    shared.next_day()
    shared.stop()
    state = verified(tmp_path, shared)
    assert states(state) == expected([*range(4, 12), *range(20, 24)], range(4))


@pytest.fixture
def changed(tmp_path):
    """A ledger that changed from two shares to three; the day of the change and the next are closed."""
    shared = begun(tmp_path)
    shared.begin(3)
    shared.look()
    shared.next_day()
    shared.tell(range(40, 46), seen)
    shared.next_day()
    shared.stop()
    verified(tmp_path, shared)
    return tmp_path


def findings(folder):
    return {(one.code, one.log.rpartition("/")[2]) for one in read(folder).problems}


@pytest.mark.parametrize("name", ["share-0-of-2", "share-1-of-3"])
def test_a_log_that_is_dropped_is_missed_by_the_others(changed, name):
    shutil.rmtree(changed / "ledger" / name)
    code = 1
    assert chains(["ledger", "verify", str(changed / "ledger"), "--key", str(changed / "ledger.pub")]) == code
    others = (
        {"share-0-of-3", "share-1-of-3", "share-2-of-3"}
        if name.endswith("2")
        else {"share-0-of-2", "share-1-of-2"}
    )
    assert findings(changed) == {("succession", one) for one in others}
    assert all(f"{NAME}/{name}, " in one.message for one in read(changed).problems)


def test_one_log_alone_can_be_verified(changed):
    for name in ("share-0-of-2", "share-1-of-3"):
        assert read_ledger(changed / "ledger" / name, listed(sealer_of(changed)), LATER).problems == ()


def resign(log, sealer, lines):
    """Write a log of one day again, with other lines, and sign it with the ledger's own key."""
    first = log.days()[0]
    for path in log.path.glob("????-??-??*"):
        path.unlink()
    log.file(first, ".jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    close_day(log, first, sealer, LATER)


def test_a_link_that_is_left_out_or_forged_is_found_even_with_the_ledgers_own_key(changed):
    log, sealer = the_log(changed, "share-1-of-3"), sealer_of(changed)
    first, second = log.days()[:2]
    lines = list(log.whole_lines(first))
    link = next(line for line in lines if b'"succeeds"' in line and b"share-0-of-2" in line)
    # without the key: the day is not what was signed
    log.file(first, ".jsonl").write_bytes(b"".join(line + b"\n" for line in lines if line != link))
    assert ("entries", "share-1-of-3") in findings(changed)
    # with the key, both days again: the other log still names this one
    later = list(log.whole_lines(second))
    forged = orjson.dumps(orjson.loads(link) | {"root": "00" * 32}, option=orjson.OPT_SORT_KEYS)
    for changed_lines, expects in (
        ([line for line in lines if line != link], "and does not say so"),
        ([forged if line == link else line for line in lines], "the end of the log"),
    ):
        resign(log, sealer, changed_lines)
        log.file(second, ".jsonl").write_bytes(b"".join(line + b"\n" for line in later))
        close_day(log, second, sealer, LATER)
        assert findings(changed) == {("succession", "share-1-of-3")}
        assert expects in read(changed).problems[0].message


def test_a_predecessor_whose_end_is_cut_off_or_signed_again_is_found(changed):
    log, sealer = the_log(changed, "share-0-of-2"), sealer_of(changed)
    (day,) = log.days()
    lines = list(log.whole_lines(day))
    assert isinstance(end_of(log), Ended)
    resign(log, sealer, lines[:-1])
    assert findings(changed) == {("succession", f"share-{one}-of-3") for one in range(3)}
    assert {one.message.partition(", ")[2] for one in read(changed).problems} >= {"whose end is missing"}
    left_out = next(line for line in reversed(lines) if b'"kind":"seen"' in line)
    resign(log, sealer, [line for line in lines if line != left_out])  # everything else as it was
    assert findings(changed) == {("succession", f"share-{one}-of-3") for one in range(3)}
    assert "the end of the log" in read(changed).problems[0].message


def test_a_link_to_a_log_that_names_others_is_found(changed):
    log, sealer = the_log(changed, "share-0-of-2"), sealer_of(changed)
    lines = list(log.whole_lines(log.days()[0]))
    end = end_of(log)
    resign(log, sealer, [*lines[:-1], write_entry(Ended(end.at, end.successors[1:]))])
    assert ("succession", "share-0-of-3") in findings(changed)
    assert any(one.message.endswith("which names other logs") for one in read(changed).problems)


def test_nothing_follows_the_end_of_a_log(changed):
    log = the_log(changed, "share-0-of-2")
    clock = Clock(LATER)
    writer = LogWriter(log.path, log.origin(), clock)
    with pytest.raises(LedgerError, match="a heartbeat entry follows the end of the log"):
        raise writer.append([writer.heartbeat()])[0]
    writer.close(ends=False)
    day = log.days()[0]
    extra = write_entry(seen(99).__class__(end_of(log).at, seen(99).kind, run(99)))
    with log.file(day, ".jsonl").open("ab") as file:
        file.write(extra + b"\n")
    assert any("a seen entry follows the end of the log" in one.message for one in read(changed).problems)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("share-0-of-1", (0, 1, 1)), ("share-12-of-20.3", (12, 20, 3)), ("share-0-of-1.", None), ("backfill-1", None),
        ("share-x-of-1", None), ("share-0-of-1.0x", None),
    ],
)  # fmt: skip
def test_a_log_has_its_share_in_its_name(name, found):
    log = parse_name(name)
    assert (log and (log.share, log.shares, log.time)) == found
    if log is not None:
        assert log.name == name


def test_entries_of_succession_are_canonical():
    entry = Succeeds(LATER, f"{NAME}/share-0-of-2", 7, "ab" * 32)
    assert write_entry(entry) == (
        b'{"at":"2025-12-31T00:00:00.000000Z","kind":"succeeds","log":"chains.example.com/prod/share-0-of-2",'
        b'"root":"' + b"ab" * 32 + b'","size":7}'
    )


@pytest.mark.parametrize("long", [0, 5000, 60_000])
@pytest.mark.parametrize("torn", [b"", b'{"at":"2025'])
def test_the_last_whole_line_is_read_however_long_it_is(tmp_path, long, torn):
    log, day = LogFolder(tmp_path), datetime(2025, 11, 26, tzinfo=UTC).date()
    assert log.last_line(day) == b""
    for lines in (
        [b"x" * (long + 1)],
        [b"first", b"y" * (long + 1)],
        [b"z" * 64_000, b"second", b"y" * (long + 1)],
    ):
        log.file(day, ".jsonl").write_bytes(b"".join(line + b"\n" for line in lines) + torn)
        assert log.last_line(day) == lines[-1]
    log.file(day, ".jsonl").write_bytes(torn)
    assert log.last_line(day) == b""


def test_a_log_is_read_again_only_if_another_one_ended(tmp_path, monkeypatch):
    shared = begun(tmp_path)
    shared.begin(3)
    shared.look()
    known = set()
    assert predecessors(shared.folder, shared.writers[1].log, known) == []
    assert known == {f"{NAME}/share-0-of-2", f"{NAME}/share-1-of-2"}
    monkeypatch.setattr(LogFolder, "whole_lines", lambda *_: pytest.fail("the log was read"))
    assert predecessors(shared.folder, shared.writers[1].log, known) == []
    shared.stop()


def test_a_folder_that_is_no_log_ends_nothing(tmp_path):
    shared = Shared(tmp_path, Clock())
    (shared.folder / "lost+found").mkdir()
    other = LogWriter(shared.folder / "elsewhere", "other.example.com/x", shared.clock)
    other.append([seen(1)])
    other.close(ends=False)
    shared.begin(1)
    shared.look()
    assert end_of(LogFolder(shared.folder / "elsewhere")) is None
    shared.stop()
