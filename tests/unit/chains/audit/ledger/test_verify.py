"""Reading a ledger: what is true verifies, and every change to it is found, each under its code."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta

import orjson
import pytest

from chains.audit.ledger.close import close_day
from chains.audit.ledger.entries import Keys
from chains.audit.ledger.errors import LedgerError, LedgerMissing
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.forks import compare, compare_checkpoint
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.state import RunState
from chains.audit.ledger.walk import Trusted, walk_log
from chains.audit.ledger.writer import LogWriter
from signers.errors import VerificationError
from signers.formats.bundle import Bundle, build_bundle
from signers.keys.keyset import KeyStatus, ListedKey
from storage.record import IN_TOTO_PAYLOAD_TYPE
from tests.unit.chains.audit.ledger.made import (
    LATER,
    ORIGIN,
    RECEIPT,
    START,
    Clock,
    close_due,
    evidenced,
    fact,
    finished,
    four_days,
    listed,
    run,
    sealer_of,
    seen,
)

FIRST, SECOND, THIRD, FOURTH, FIFTH = (date(2025, 11, 26) + timedelta(days=number) for number in range(5))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledgers")
    four_days(folder / "log", sealer_of(folder))
    return folder


@pytest.fixture
def copy(original, tmp_path):
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path


def read(folder, *sealers, now=LATER):
    return read_ledger(folder / "log", listed(*(sealers or (sealer_of(folder),))), now)


def codes(state):
    return {(finding.code, finding.day) for finding in state.problems}


def lines_of(folder, day):
    return (folder / "log" / f"{day}.jsonl").read_bytes().splitlines(keepends=True)


def write_lines(folder, day, lines):
    (folder / "log" / f"{day}.jsonl").write_bytes(b"".join(lines))


def test_a_true_ledger_verifies(original):
    state = read(original)
    assert state.problems == ()
    assert [(day.day, day.is_closed, day.verified) for day in state.days] == [
        (FIRST, True, True),
        (SECOND, True, True),
        (THIRD, True, True),
        (FOURTH, True, True),
        (FIFTH, False, False),
    ]
    assert (state.since, state.until) == (START + timedelta(minutes=1), datetime(2025, 11, 30, tzinfo=UTC))
    assert state.is_sound


def test_the_balance_goes_from_day_to_day(original):
    days = read(original).days
    assert [(day.opened, day.still_open, day.pending) for day in days] == [
        (0, 2, 1),
        (2, 4, 2),
        (4, 4, 2),
        (4, 6, 3),
        (6, 8, 4),
    ]
    first = days[0].counts
    assert first == {"seen": 5, "finished": 3, "evidenced": 1, "skipped": 1}
    assert days[2].counts == {}
    assert days[2].entries == 0
    assert days[2].root == days[1].root


def test_every_run_is_told_with_its_state_times_and_receipts(original):
    runs = read(original).runs
    assert len(runs) == 20
    found = runs[run(0).uid]
    assert (found.state, found.receipts, found.run) == (RunState.EVIDENCED, (RECEIPT,), run(0))
    assert found.first_seen == START + timedelta(minutes=1)
    assert found.finished == found.decided == START + timedelta(minutes=6)
    assert found.created == datetime(2025, 11, 26, 7, 59, tzinfo=UTC)
    assert found.indexes == (0, 5, 6)
    assert (runs[run(11).uid].state, runs[run(11).uid].reason) == (RunState.SKIPPED, "left out")
    assert (runs[run(12).uid].state, runs[run(12).uid].succeeded) == (RunState.PENDING, True)
    assert runs[run(13).uid].state is RunState.OPEN


def test_the_statement_of_a_day_says_what_the_day_has(original):
    path = original / "log" / f"{SECOND}.bundle.json"
    statement = orjson.loads(Bundle.from_bytes(path.read_bytes()).envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [subject["name"] for subject in statement["subject"]] == [
        f"{SECOND}.jsonl",
        f"{SECOND}.open.jsonl",
    ]
    predicate = statement["predicate"]
    assert predicate["balance"] == {
        "openBefore": 2,
        "seen": 5,
        "finished": 3,
        "removed": 0,
        "openAfter": 4,
        "pendingBefore": 1,
        "decided": 2,
        "lost": 0,
        "pendingAfter": 2,
    }
    assert (predicate["tree"]["before"]["size"], predicate["tree"]["after"]["size"]) == (10, 20)
    assert predicate["sources"] == {"list": 0, "watch": 5}
    assert predicate["log"] == ORIGIN


def change_one(lines):
    return [lines[0].replace(b"build-10", b"build-99"), *lines[1:]]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lines: lines[1:], id="the first entry removed"),
        pytest.param(lambda lines: [*lines[:3], *lines[4:]], id="an entry removed"),
        pytest.param(lambda lines: lines[:-1], id="the last entry removed"),
        pytest.param(lambda lines: [], id="all entries removed"),
        pytest.param(lambda lines: [lines[1], lines[0], *lines[2:]], id="two entries exchanged"),
        pytest.param(lambda lines: [*lines[:-1], lines[-1][:-5]], id="the end cut off"),
        pytest.param(lambda lines: [*lines, lines[-1]], id="an entry twice"),
        pytest.param(change_one, id="a name changed"),
        pytest.param(
            lambda lines: [lines[0].replace(b"T08:01", b"T07:01"), *lines[1:]], id="an entry dated back"
        ),
    ],
)
def test_a_closed_day_that_was_changed_is_found_and_the_others_are_not_blamed(copy, change):
    write_lines(copy, SECOND, change(lines_of(copy, SECOND)))
    state = read(copy)
    assert {day for _, day in codes(state)} == {SECOND}
    assert ("entries", SECOND) in codes(state)
    assert [day.verified for day in state.days] == [True, False, True, True, False]
    assert state.until == datetime(2025, 11, 27, tzinfo=UTC)
    assert not state.is_sound


def reseal(folder, day, change, sealer):
    """Sign a changed statement with the ledger's own key, as somebody who holds it could."""
    path = folder / "log" / f"{day}.bundle.json"
    statement = orjson.loads(Bundle.from_bytes(path.read_bytes()).envelope.payload)
    change(statement)
    path.write_bytes(sealer.seal_now(orjson.dumps(statement), IN_TOTO_PAYLOAD_TYPE).bundle)


def set_balance(statement):
    statement["predicate"]["balance"]["finished"] += 1


def set_counts(statement):
    statement["predicate"]["entries"]["seen"] += 1


def set_root(statement):
    statement["predicate"]["tree"]["after"]["root"] = "00" * 32


def set_before(statement):
    statement["predicate"]["tree"]["before"]["size"] += 1


def set_closed(statement):
    statement["predicate"]["closed"] = "2025-11-27T12:00:00.000000Z"


def set_log(statement):
    statement["predicate"]["log"] = "chains.example.com/other"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(set_balance, "balance", id="balance"),
        pytest.param(set_counts, "counts", id="counts"),
        pytest.param(set_root, "tree", id="root"),
        pytest.param(set_before, "chain", id="tree before"),
        pytest.param(set_closed, "time", id="closed too early"),
        pytest.param(set_log, "statement", id="another log"),
    ],
)
def test_a_statement_that_does_not_say_what_the_entries_show_is_found_even_if_it_is_signed(
    copy, change, code
):
    reseal(copy, SECOND, change, sealer_of(copy))
    state = read(copy)
    assert (code, SECOND) in codes(state)
    # the day after names the envelope that was there before
    assert ("chain", THIRD) in codes(state)
    assert not state.days[1].verified


def test_a_closed_day_that_was_signed_again_breaks_the_chain_to_the_next(copy):
    path = copy / "log" / f"{SECOND}.jsonl"
    lines = lines_of(copy, SECOND)[:-1]
    for suffix in (".bundle.json", ".open.jsonl", ".checkpoint"):
        (copy / "log" / f"{SECOND}{suffix}").unlink()
    path.write_bytes(b"".join(lines))
    close_day(LogFolder(copy / "log"), SECOND, sealer_of(copy), LATER)
    state = read(copy)
    assert ("chain", THIRD) in codes(state)
    assert state.days[1].verified  # by itself it is well formed
    assert not state.days[2].verified


def drop(folder, *days):
    for day in days:
        for path in (folder / "log").glob(f"{day}*"):
            path.unlink()


def test_a_dropped_day_is_found(copy):
    drop(copy, SECOND)
    state = read(copy)
    assert ("day-missing", SECOND) in codes(state)
    assert ("chain", THIRD) in codes(state)


def test_an_empty_day_cannot_be_dropped_either(copy):
    drop(copy, THIRD)
    assert {("day-missing", THIRD), ("chain", FOURTH)} <= codes(read(copy))


def test_a_dropped_beginning_is_found(copy):
    drop(copy, FIRST)
    assert ("day-missing", SECOND) in codes(read(copy))


def test_a_dropped_statement_is_found(copy):
    (copy / "log" / f"{SECOND}.bundle.json").unlink()
    assert ("day-missing", SECOND) in codes(read(copy))


def test_dropped_entries_of_a_closed_day_are_found(copy):
    (copy / "log" / f"{THIRD}.jsonl").unlink()
    assert ("day-missing", THIRD) in codes(read(copy))


def test_a_cut_end_is_found_by_a_checkpoint_or_a_copy_from_outside(copy, original):
    note = (original / "log" / f"{FOURTH}.checkpoint").read_bytes()
    drop(copy, FOURTH, FIFTH)
    trusted = Trusted(listed(sealer_of(copy)), LATER)
    cut, whole = (walk_log(LogFolder(each / "log"), trusted) for each in (copy, original))
    assert cut.findings == []  # the rest is well formed: only what is kept elsewhere shows it
    keys = [one.key for one in trusted.keys]
    assert [finding.code for finding in compare_checkpoint(cut, note, keys)] == ["truncated"]
    assert compare_checkpoint(whole, note, keys) == []
    assert compare(cut, whole) == []  # no fork: one is the beginning of the other


def test_two_histories_from_one_point_are_a_fork(tmp_path):
    sealer, sides = sealer_of(tmp_path), []
    for side in ("log", "other"):
        clock = Clock()
        writer = LogWriter(tmp_path / side, ORIGIN, clock)
        writer.append([seen(1)])
        clock.move(days=1)
        close_due(writer, sealer, clock.now)
        writer.append([evidenced(1) if side == "log" else fact("failed", 1, reason="it was not stored")])
        clock.move(days=1)
        close_due(writer, sealer, clock.now)
        writer.close(ends=False)
        sides.append(walk_log(LogFolder(tmp_path / side), Trusted(listed(sealer), LATER)))
    assert [side.findings for side in sides] == [[], []]
    (found,) = compare(*sides)
    assert (found.code, found.day) == ("fork", SECOND)
    assert "entry 2" in found.message
    keys = listed(sealer)[0].key
    note = (tmp_path / "other" / f"{SECOND}.checkpoint").read_bytes()
    (found,) = compare_checkpoint(sides[0], note, [keys])
    assert found.code == "fork"
    assert (
        compare_checkpoint(sides[0], (tmp_path / "other" / f"{FIRST}.checkpoint").read_bytes(), [keys]) == []
    )


def test_a_checkpoint_of_another_log_or_key_is_refused(original, tmp_path):
    walk = walk_log(LogFolder(original / "log"), Trusted(listed(sealer_of(original)), LATER))
    note = (original / "log" / f"{FIRST}.checkpoint").read_bytes()
    with pytest.raises(VerificationError, match="signed by none of the 1 given keys"):
        compare_checkpoint(walk, note, [listed(sealer_of(tmp_path, "stranger"))[0].key])
    walk.origin = "chains.example.com/other"
    with pytest.raises(
        VerificationError, match=r"the checkpoint is of 'chains\.example\.com/prod/share-0-of-1'"
    ):
        compare_checkpoint(walk, note, [listed(sealer_of(original))[0].key])


def test_another_key_does_not_count(original, tmp_path):
    state = read(original, sealer_of(tmp_path, "stranger"))
    assert ("signature", FIRST) in codes(state)
    assert not any(day.verified for day in state.days)
    assert state.until is None


def test_a_revoked_key_does_not_count_and_a_retired_one_does(original):
    (key,) = listed(sealer_of(original))
    for status, is_sound in ((KeyStatus.REVOKED, False), (KeyStatus.RETIRED, True)):
        keys = [ListedKey(key.key, None, START, status)]
        assert read_ledger(original / "log", keys, LATER).is_sound is is_sound


def test_without_a_key_nothing_is_verified_and_nothing_is_wrong(original):
    state = read_ledger(original / "log", [], LATER)
    assert state.problems == ()
    assert not any(day.verified for day in state.days)


def test_a_key_that_signs_runs_must_not_sign_the_ledger(tmp_path):
    sealer, clock = sealer_of(tmp_path), Clock()
    writer = LogWriter(tmp_path / "log", ORIGIN, clock)
    writer.append([Keys(START, (sealer.signer.keyid, "SHA256:other"), sealer.signer.keyid), seen(1)])
    clock.move(days=1)
    close_due(writer, sealer, clock.now)
    writer.close(ends=False)
    assert codes(read(tmp_path)) == {("key", FIRST)}


@pytest.mark.parametrize("suffix", [".bundle.json", ".checkpoint"])
def test_a_damaged_statement_or_checkpoint_is_found(copy, suffix):
    (copy / "log" / f"{SECOND}{suffix}").write_bytes(b"{}")
    code = {".bundle.json": "statement", ".checkpoint": "checkpoint"}[suffix]
    assert (code, SECOND) in codes(read(copy))


def test_a_checkpoint_of_another_day_is_found(copy):
    log = copy / "log"
    (log / f"{SECOND}.checkpoint").write_bytes((log / f"{FIRST}.checkpoint").read_bytes())
    assert codes(read(copy)) == {("checkpoint", SECOND)}


def test_a_statement_under_the_name_of_another_day_is_found(copy):
    log = copy / "log"
    (log / f"{SECOND}.bundle.json").write_bytes((log / f"{FIRST}.bundle.json").read_bytes())
    assert ("statement", SECOND) in codes(read(copy))


def test_a_signed_bundle_that_is_no_day_statement_is_found(copy):
    path = copy / "log" / f"{SECOND}.bundle.json"
    envelope = Bundle.from_bytes(path.read_bytes()).envelope
    sealed = sealer_of(copy).seal_now(b'{"_type":"https://in-toto.io/Statement/v1"}', IN_TOTO_PAYLOAD_TYPE)
    path.write_bytes(sealed.bundle)
    assert ("statement", SECOND) in codes(read(copy))
    path.write_bytes(build_bundle(envelope, envelope.signatures[0].keyid))
    assert read(copy).is_sound


def test_a_line_that_is_being_written_is_not_read_and_nothing_is_wrong(copy):
    path = copy / "log" / f"{FIFTH}.jsonl"
    whole = read(copy)
    path.write_bytes(path.read_bytes()[:-3])
    state = read(copy)
    assert state.problems == ()
    assert state.days[-1].entries == whole.days[-1].entries - 1
    assert all(day.verified for day in state.days[:-1])


def test_a_run_that_was_removed_is_told(tmp_path):
    clock = Clock()
    writer = LogWriter(tmp_path / "log", ORIGIN, clock)
    writer.append([seen(1), fact("removed", 1, reason="deleted"), finished(2), fact("removed", 2)])
    clock.move(days=1)
    close_due(writer, sealer_of(tmp_path), clock.now)
    writer.close(ends=False)
    state = read(tmp_path)
    assert state.problems == ()
    assert {uid[-1]: run.state for uid, run in state.runs.items()} == {"1": "removed", "2": "removed"}
    assert state.days[0].counts == {"seen": 2, "finished": 1, "removed": 2, "lost": 1}


def test_a_run_in_two_logs_is_told_once_by_its_later_entry(tmp_path):
    sealer, clock = sealer_of(tmp_path), Clock()
    for share, facts in (("share-0-of-1", [seen(1)]), ("share-0-of-2", [evidenced(1)])):
        clock.move(minutes=1)
        writer = LogWriter(tmp_path / "log" / share, f"chains.example.com/{share}", clock)
        writer.append(facts)
        writer.close(ends=False)
    state = read(tmp_path, sealer)
    found = state.runs[run(1).uid]
    assert (found.state, found.first_seen) == (RunState.EVIDENCED, START + timedelta(minutes=1))
    assert found.log == "chains.example.com/share-0-of-2"


def test_a_decided_run_that_comes_again_is_open_again(tmp_path):
    writer = LogWriter(tmp_path / "log", ORIGIN, Clock())
    writer.append([evidenced(1)])
    writer._decided.clear()  # as after days and a restart
    writer.append([seen(1)])
    writer.close(ends=False)
    assert read(tmp_path).runs[run(1).uid].state is RunState.OPEN


def test_a_folder_without_a_ledger_is_no_ledger(tmp_path):
    with pytest.raises(LedgerMissing, match="there is no ledger in it"):
        read_ledger(tmp_path, [], LATER)
    with pytest.raises(LedgerMissing, match="there is no such folder"):
        read_ledger(tmp_path / "nowhere", [], LATER)


def test_days_from_two_ages_are_not_read(copy):
    (copy / "log" / "0001-01-01.jsonl").touch()
    with pytest.raises(LedgerError, match="more than is read"):
        read(copy)


def test_days_are_closed_in_order_after_they_are_over_and_once(tmp_path):
    sealer, clock = sealer_of(tmp_path), Clock()
    writer = LogWriter(tmp_path / "log", ORIGIN, clock)
    writer.append([seen(1)])
    with pytest.raises(LedgerError, match="is not over"):
        close_day(writer.log, FIRST, sealer, clock.now)
    clock.move(days=2)
    with pytest.raises(LedgerError, match="days are closed in order"):
        close_day(writer.log, SECOND, sealer, clock.now)
    assert [statement.day for statement in close_due(writer, sealer, clock.now)] == [FIRST, SECOND]
    with pytest.raises(LedgerError, match="is closed already"):
        close_day(writer.log, FIRST, sealer, clock.now)
    writer.close(ends=False)


def test_what_was_read_from_a_mark_is_told_apart_from_what_the_controller_decided(tmp_path):
    writer = LogWriter(tmp_path / "log", ORIGIN, Clock())
    for number, is_late in ((0, True), (1, False)):
        writer.append([seen(number), finished(number), fact("skipped", number, is_late=is_late)])
    writer.close()
    runs = read(tmp_path, now=START).runs
    found = {number: (runs[run(number).uid].state, runs[run(number).uid].is_from_mark) for number in (0, 1)}
    assert found == {0: (RunState.SKIPPED, True), 1: (RunState.SKIPPED, False)}


@pytest.mark.parametrize("order", ["log-a, log-b", "log-b, log-a"])
def test_a_mark_that_repeats_a_decision_in_another_log_takes_nothing_from_it(tmp_path, order):
    """Two processes wrote of one run: one decided it, the other read its mark later. The names of the logs must not matter."""
    first, second = order.split(", ")
    clock = Clock()
    for name, facts in (
        (second, [seen(1)]),
        (first, [evidenced(1)]),
        (second, [fact("evidenced", 1, is_late=True)]),
    ):
        clock.move(minutes=1)
        writer = LogWriter(tmp_path / "log" / name, f"chains.example.com/{name}", clock)
        writer.append(facts)
        writer.close(ends=False)
    found = read(tmp_path).runs[run(1).uid]
    assert (found.state, found.is_from_mark, found.receipts) == (RunState.EVIDENCED, False, (RECEIPT,))


def test_a_mark_that_says_something_else_than_the_decision_is_told_as_a_mark(tmp_path):
    clock = Clock()
    for name, facts in (("a", [evidenced(1)]), ("b", [fact("failed", 1, is_late=True, reason="said so")])):
        clock.move(minutes=1)
        writer = LogWriter(tmp_path / "log" / name, f"chains.example.com/{name}", clock)
        writer.append(facts)
        writer.close(ends=False)
    found = read(tmp_path).runs[run(1).uid]
    assert (found.state, found.is_from_mark, found.reason) == (RunState.FAILED, True, "said so")
