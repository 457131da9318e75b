"""The commands ``ledger``: exit codes, and what people and programs read."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest

from chains.audit.ledger.close import close_day
from chains.audit.ledger.entries import Configured, EntryKind, GapEntry, RunEntry
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.stored import record_of
from chains.audit.ledger.writer import LogWriter
from chains.cli.main import run as chains
from chains.text import plain
from storage.base import StoreOptions
from storage.open import open_store
from tests.unit.chains.audit.ledger.made import LATER, ORIGIN, Clock, four_days, run, sealer_of, seen

UID = run(0).uid
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r\nchains: VERIFIED\u202e\u2066\u200b\u2028\u2029\ufeff\u0085"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledgers")
    sealer = sealer_of(folder)
    four_days(folder / "ledger" / "share-0-of-1", sealer)
    (folder / "ledger.pub").write_bytes(sealer.signer.public_pem)
    (folder / "other.pub").write_bytes(sealer_of(folder, "other").signer.public_pem)
    return folder


@pytest.fixture
def call(original, tmp_path, monkeypatch, capsys):
    """Run a command in a folder with a copy of the ledger."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def call(*words):
        code = chains(list(words))
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_a_ledger_whose_last_day_waits_to_be_closed_is_not_decided(call):
    code, out, _ = call("ledger", "verify", "ledger", "--key", "ledger.pub")
    assert code == 4
    assert out.splitlines() == [
        f"{ORIGIN}: 4 of 4 closed days verified, 2025-11-26 to 2025-11-29, 30 entries; 1 day not closed yet",
        f"not closed: {ORIGIN} 2025-11-30: it is over, and nobody has signed it yet",
        "verified until 2025-11-30T00:00:00Z; 20 runs, 0 gaps of the watch",
    ]


def test_a_ledger_of_closed_days_verifies(call, tmp_path):
    (tmp_path / "ledger" / "share-0-of-1" / "2025-11-30.jsonl").unlink()
    assert call("ledger", "verify", "ledger", "--key", "ledger.pub")[0] == 0
    code, out, _ = call("ledger", "verify", "ledger", "--key", "ledger.pub", "--output", "json")
    told = json.loads(out)
    assert (code, told["exitCode"], told["problems"], told["until"]) == (0, 0, [], "2025-11-30T00:00:00Z")
    assert [(day["day"], day["verified"], day["size"]) for day in told["days"]] == [
        ("2025-11-26", True, 10),
        ("2025-11-27", True, 20),
        ("2025-11-28", True, 20),
        ("2025-11-29", True, 30),
    ]
    assert told["runs"] == {"evidenced": 3, "skipped": 3, "pending": 3, "open": 6}


def test_a_ledger_is_undecided_if_it_does_not_reach_the_day_that_is_demanded(call, tmp_path):
    (tmp_path / "ledger" / "share-0-of-1" / "2025-11-30.jsonl").unlink()
    words = ("ledger", "verify", "ledger", "--key", "ledger.pub", "--until")
    assert call(*words, "2025-11-29")[0] == 0
    code, _, err = call(*words, "2025-11-30")
    assert (code, "not verified up to the end of 2025-11-30" in err) == (4, True)
    assert call(*words, "soon")[0] == 2


def test_a_changed_ledger_is_wrong_and_the_line_says_where(call, tmp_path):
    path = tmp_path / "ledger" / "share-0-of-1" / "2025-11-27.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    code, out, _ = call("ledger", "verify", "ledger", "--key", "ledger.pub")
    assert code == 1
    assert f"entries: {ORIGIN} 2025-11-27: " in out
    code, out, _ = call("ledger", "verify", "ledger", "--key", "ledger.pub", "--output", "json")
    assert code == json.loads(out)["exitCode"] == 1
    assert {(one["code"], one["day"]) for one in json.loads(out)["problems"]} >= {("entries", "2025-11-27")}


def test_another_key_does_not_verify(call):
    code, out, _ = call("ledger", "verify", "ledger", "--key", "other.pub")
    assert code == 1
    assert "0 of 4 closed days verified" in out


def test_the_key_is_demanded(call):
    code, _, err = call("ledger", "verify", "ledger")
    assert code == 2
    assert "pass --key PUB" in err


def test_the_key_may_come_from_the_environment(call, monkeypatch):
    monkeypatch.setenv("CHAINS_LEDGER_KEY", "ledger.pub")
    assert call("ledger", "verify", "ledger")[0] == 4


def test_no_ledger_and_no_closed_day_are_no_evidence(call, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = call("ledger", "verify", "empty", "--key", "ledger.pub")
    assert (code, "there is no ledger in it" in err) == (3, True)
    writer = LogWriter(tmp_path / "empty" / "log", ORIGIN, Clock())
    writer.append([seen(1)])
    writer.close(ends=False)
    code, _, err = call("ledger", "verify", "empty", "--key", "ledger.pub")
    assert (code, "nothing in it is signed" in err) == (3, True)


def test_a_copy_and_a_checkpoint_from_elsewhere_show_a_cut_end(call, tmp_path, original):
    log = tmp_path / "ledger" / "share-0-of-1"
    shutil.copytree(original / "ledger", tmp_path / "copy")
    note = log / "2025-11-29.checkpoint"
    shutil.copy(note, tmp_path / "kept.checkpoint")
    for day in ("2025-11-29", "2025-11-30"):
        for path in log.glob(f"{day}*"):
            path.unlink()
    words = ("ledger", "verify", "ledger", "--key", "ledger.pub")
    assert call(*words)[0] == 0  # the rest is well formed
    assert call(*words, "--against", "copy")[0] == 0  # and the beginning of the copy: no fork
    assert call(*words, "--until", "2025-11-29")[0] == 4
    code, out, _ = call(*words, "--against", "kept.checkpoint")
    assert code == 1
    assert "truncated" in out
    assert "its end was cut off" in out


def test_a_store_with_the_statements_shows_a_cut_end_another_history_and_what_it_lacks(call, tmp_path):
    log = LogFolder(tmp_path / "ledger" / "share-0-of-1")
    (log.path / "2025-11-30.jsonl").unlink()
    days = log.days()

    async def put(url, day):
        async with open_store(url, StoreOptions()) as store:
            assert not (await store.put(record_of(log, day))).failures

    for day in days:
        asyncio.run(put("file:store", day))
    words = (
        "ledger",
        "verify",
        "ledger",
        "--key",
        "ledger.pub",
        "--against",
        "file:store",
        "--output",
        "json",
    )

    def codes():
        code, out, _ = call(*words)
        return code, [(one["code"], one["day"]) for one in json.loads(out)["problems"]]

    assert codes() == (0, [])
    # the last day signed again, with the ledger's own key
    (log.path / "2025-11-29.bundle.json").unlink()
    close_day(log, days[-1], sealer_of(tmp_path), LATER)
    assert codes() == (1, [("fork", "2025-11-29")])
    for path in log.path.glob("2025-11-29*"):
        path.unlink()
    assert codes() == (1, [("truncated", "2025-11-29")])
    shutil.rmtree("store")
    asyncio.run(put("file:store", days[0]))
    assert codes() == (1, [("not-stored", "2025-11-27"), ("not-stored", "2025-11-28")])


def test_what_has_nothing_to_do_with_the_ledger_is_wrong_usage(call, tmp_path):
    (tmp_path / "strange.checkpoint").write_text("example.com/x\n1\nAAAA\n\n")
    words = ("ledger", "verify", "ledger", "--key", "ledger.pub", "--against")
    code, _, err = call(*words, "strange.checkpoint")
    assert (code, "which is no log of this ledger" in err) == (2, True)
    writer = LogWriter(tmp_path / "elsewhere", "example.com/other", Clock())
    writer.close(ends=False)
    code, _, err = call(*words, "elsewhere")
    assert (code, "no log of this ledger is in it" in err) == (2, True)


def test_show_prints_the_days_as_a_table(call):
    code, out, _ = call("ledger", "show", "ledger", "--key", "ledger.pub")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[1][:10] == [ORIGIN, "2025-11-26", "signed", "10", "0", "5", "3", "0", "2", "1"]
    assert [line[2] for line in lines[1:]] == ["signed"] * 4 + ["open"]
    assert [
        line[2] for line in (each.split() for each in call("ledger", "show", "ledger")[1].splitlines()[1:])
    ] == [
        *["closed"] * 4,
        "open",
    ]


def test_show_prints_the_entries_of_a_day(call, original):
    code, out, _ = call("ledger", "show", "ledger", "--day", "2025-11-26")
    assert (code, len(out.splitlines())) == (0, 11)
    assert f"TaskRun ci/build-0 {UID}" in out
    code, out, _ = call("ledger", "show", "ledger", "--day", "2025-11-26", "--output", "json")
    assert out.encode() == (original / "ledger" / "share-0-of-1" / "2025-11-26.jsonl").read_bytes()
    empty = (3, "", "chains: the ledger has no entry of 2025-11-28\n")
    assert call("ledger", "show", "ledger", "--day", "2025-11-28") == empty
    code, _, err = call("ledger", "show", "ledger.pub")
    assert (code, "ledger.pub is a file: expected the folder of a ledger" in err) == (2, True)
    code, _, err = call("ledger", "show", "ledger", "--day", "yesterday")
    assert (code, "expected a UTC day" in err) == (2, True)


def test_a_line_that_is_being_written_is_not_shown_and_hides_nothing(call, tmp_path):
    path = tmp_path / "ledger" / "share-0-of-1" / "2025-11-30.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole)[:-9])
    code, out, _ = call("ledger", "show", "ledger", "--day", "2025-11-30", "--output", "json")
    assert (code, out.encode()) == (0, b"".join(whole[:-1]))
    assert call("ledger", "prove", "ci/build-0", "ledger")[0] == 0


def test_a_proof_is_made_and_verified_offline(call, tmp_path):
    for word in (UID, "ci/build-0"):
        code, out, _ = call("ledger", "prove", word, "ledger")
        assert code == 0
        (tmp_path / "proof.json").write_text(out)
        shutil.rmtree(tmp_path / "ledger", ignore_errors=False) if word == "ci/build-0" else None
        code, out, _ = call("ledger", "verify", "proof.json", "--key", "ledger.pub")
        assert code == 0
        assert [line.split()[2] for line in out.splitlines()[2:]] == ["seen", "finished", "evidenced"]
    code, out, _ = call("ledger", "verify", "proof.json", "--key", "ledger.pub", "--output", "json")
    told = json.loads(out)
    assert (code, told["verified"], told["size"], told["run"]) == (0, True, 30, UID)
    assert [entry["kind"] for entry in told["entries"]] == ["seen", "finished", "evidenced"]


def test_a_proof_shows_that_the_ledger_grew_from_an_older_checkpoint(call, tmp_path):
    older = "ledger/share-0-of-1/2025-11-26.checkpoint"
    code, out, _ = call("ledger", "prove", UID, "ledger", "--older", older)
    assert code == 0
    (tmp_path / "proof.json").write_text(out)
    code, out, _ = call("ledger", "verify", "proof.json", "--key", "ledger.pub")
    assert code == 0
    assert "it grew from the log of 10 entries that you had" in out


def test_a_proof_by_another_key_does_not_hold(call, tmp_path):
    (tmp_path / "proof.json").write_text(call("ledger", "prove", UID, "ledger")[1])
    code, _, err = call("ledger", "verify", "proof.json", "--key", "other.pub")
    assert (code, "signed by none of the 1 given keys" in err) == (1, True)


def test_what_the_ledger_does_not_have_is_not_proven(call):
    assert call("ledger", "prove", "00000000-0000-4000-8000-999999999999", "ledger")[0] == 3
    assert call("ledger", "prove", "ci/none", "ledger")[0] == 3
    # entries of a day that is not closed are not signed yet
    assert call("ledger", "prove", run(40).uid, "ledger")[0] == 3


def test_runs_of_one_name_are_told_apart_by_their_uid(call, tmp_path):
    writer = LogWriter(tmp_path / "ledger" / "share-0-of-1", ORIGIN, Clock())
    again = seen(77)
    again = type(again)(again.at, again.kind, type(again.run)("TaskRun", "ci", "build-0", run(77).uid))
    writer.append([again])
    writer.close(ends=False)
    code, _, err = call("ledger", "prove", "ci/build-0", "ledger")
    assert code == 2
    assert UID in err
    assert run(77).uid in err


def test_hostile_text_in_entries_is_escaped_and_on_one_line(call, tmp_path):
    name = f"x{HOSTILE}"
    hostile = type(run(1))("TaskRun", name, name, name)
    writer = LogWriter(tmp_path / "hostile", ORIGIN, Clock())
    made = RunEntry(Clock()(), EntryKind.FAILED, hostile, reason=HOSTILE)
    gap = GapEntry(Clock()(), Clock()(), Clock()(), HOSTILE)
    assert writer.append([made, gap, Configured(Clock()(), "", (HOSTILE,))]) == [None, None, None]
    writer.close(ends=False)
    code, out, err = call("ledger", "show", "hostile", "--day", "2025-11-26")
    assert (code, len(out.splitlines())) == (0, 6)
    assert plain(HOSTILE) in out
    assert all(plain(line) == line for line in (out + err).split("\n"))
    for words in (["show", "hostile"], ["show", "hostile", "--output", "json"], ["prove", name, "hostile"]):
        code, out, err = call("ledger", *words)
        assert all(plain(line) == line for line in (out + err).split("\n")), words


def test_hostile_text_is_escaped(call, tmp_path):
    path = tmp_path / "hostile" / "origin"
    path.parent.mkdir()
    path.write_bytes(b"a\x1b[2Jb\n")
    code, out, err = call("ledger", "verify", "hostile", "--key", "ledger.pub")
    assert code == 1
    assert "\x1b" not in out + err
