"""The controller's ledger: what becomes an entry, when it is on disk, and what happens if it cannot be written."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from chains.assembly.ledger import LedgerParts
from chains.attest.outcome import Outcome, State
from chains.attest.stores import Entry, EntryState
from chains.audit.ledger.entries import Configured, EntryKind
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.lines import parse_entry, write_entry
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.stored import record_of
from chains.audit.ledger.writer import LogWriter, now
from chains.config.ledger import LedgerSettings
from chains.controller.ledger.facts import decision, found_mark
from chains.controller.ledger.keeper import Keeper
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.recorder import Place, Recorder
from chains.tekton.runs import Job
from storage.base import StoreOptions
from storage.open import open_store
from tests.unit.chains.audit.ledger.made import Clock, listed, sealer_of, seen

JOB = Job("TaskRun", "ci", "build", "00000000-0000-4000-8000-000000000001")
OTHER = Job("TaskRun", "ci", "other", "00000000-0000-4000-8000-000000000002", "parent")


def raw(*, ended=True, **annotations):
    conditions = [{"type": "Succeeded", "status": "True" if ended else "Unknown"}]
    found = {
        "metadata": {"creationTimestamp": "2025-11-26T07:59:00Z", "annotations": annotations},
        "status": {"conditions": conditions},
    }
    if ended:
        found["status"]["completionTime"] = "2025-11-26T08:00:00Z"
    return found


def outcome(state=State.SIGNED, reason="", entries=1):
    made = tuple(
        Entry(
            "slsa",
            "oci:",
            "att",
            "sha256:ab",
            EntryState.STORED,
            f"registry.example/app:{number}",
            "sha256:cd",
        )
        for number in range(entries)
    )
    return Outcome("taskrun/ci/build", JOB.uid, state, reason, made if state == State.SIGNED else ())


@asynccontextmanager
async def ledger_in(folder, held=(0,)):
    recorder = Recorder()
    recorder.move(Place(folder, "chains.example.com/test", 1), ())
    ledger = Ledger(recorder, lambda _: 0, lambda: held)
    ledger.is_on = True
    try:
        yield ledger, recorder
    finally:
        await recorder.close()


def entries(folder):
    return [
        parse_entry(line)
        for file in sorted(folder.glob("share-0-of-1/????-??-??.jsonl"))
        for line in file.read_bytes().splitlines()
    ]


def kinds(folder):
    return [entry.kind.value for entry in entries(folder)]


def test_a_run_is_noted_at_its_first_sight_at_its_end_and_when_it_is_decided(tmp_path):
    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            for _ in range(3):
                ledger.saw(JOB, raw(ended=False), listed=False)
                await recorder.settle(lambda: None)
            assert ledger.is_undecided(JOB)
            for _ in range(3):
                ledger.saw(JOB, raw(), listed=False)
                await recorder.settle(lambda: None)
            await ledger.decided(JOB, raw(), outcome())
            assert kinds(tmp_path) == ["seen", "finished", "evidenced"]  # on disk before it returns
            assert not ledger.is_undecided(JOB)
            ledger.saw(JOB, raw(), listed=True)
            ledger.gone(JOB, "it does not exist any more")

    asyncio.run(run())
    first, second, third, last = entries(tmp_path)
    assert (first.created, first.is_late) == ("2025-11-26T07:59:00Z", False)
    assert (second.completed, second.succeeded) == ("2025-11-26T08:00:00Z", True)
    assert [receipt.location for receipt in third.receipts] == ["registry.example/app:0"]
    assert last.ends


def test_many_facts_at_once_are_one_group_each_told_when_it_is_on_disk(tmp_path, monkeypatch):
    written = []
    append = LogWriter.append

    def counted(self, facts):
        written.append(len(facts))
        return append(self, facts)

    monkeypatch.setattr(LogWriter, "append", counted)

    async def run():
        async with ledger_in(tmp_path) as (ledger, _):
            jobs = [Job("TaskRun", "ci", f"run-{number}", f"uid-{number}") for number in range(500)]
            await asyncio.gather(*(ledger.decided(job, raw(), outcome()) for job in jobs))
            assert kinds(tmp_path).count("evidenced") == 500

    asyncio.run(run())
    assert sum(written) >= 500
    assert len(written) < 100, "the disk is waited for once a group"


def test_a_run_that_is_gone_is_removed_and_a_list_without_a_run_asks_about_it(tmp_path):
    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            ledger.saw(OTHER, raw(ended=False), listed=True)
            ledger.saw(JOB, raw(), listed=False)
            await recorder.settle(lambda: None)
            later = datetime.now(UTC) + timedelta(seconds=5)
            assert list(ledger.missing(0, set(), later)) == [OTHER, JOB]
            assert next(ledger.missing(0, set(), later)).owner == "parent"
            assert list(ledger.missing(0, {JOB.uid}, later)) == [OTHER]
            # of a run that was seen after the list began, the list says nothing
            assert list(ledger.missing(0, set(), later - timedelta(seconds=10))) == []
            ledger.gone(OTHER, "it does not exist any more")
            await recorder.settle(lambda: None)
            assert list(ledger.missing(0, set(), later)) == [JOB]

    asyncio.run(run())
    assert kinds(tmp_path) == ["seen", "seen", "finished", "removed", "heartbeat"]
    assert entries(tmp_path)[0].is_late


@pytest.mark.parametrize(
    ("signed", "kind"), [("true", "evidenced"), ("failed", "failed"), ("skipped", "skipped")]
)
def test_the_mark_of_another_process_ends_a_run_that_is_waited_for(tmp_path, signed, kind):
    note = {"state": signed, "uid": JOB.uid, "reason": "why", "entries": [
        {"payload": "slsa", "store": "oci:", "form": "att", "subject": "s", "state": "stored", "detail": "here"},
        {"payload": "slsa", "store": "s3:", "form": "object", "subject": "", "state": "failed", "detail": "no"},
    ]}  # fmt: skip
    marked = raw(
        **{"chains.tekton.dev/signed": signed, "chains.tekton.dev/outcome": orjson.dumps(note).decode()}
    )

    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            await ledger.found_marked(OTHER, marked)  # the ledger does not wait for it
            ledger.saw(JOB, raw(), listed=False)
            await recorder.settle(lambda: None)
            await ledger.found_marked(JOB, marked)

    asyncio.run(run())
    assert kinds(tmp_path) == ["seen", "finished", kind, "heartbeat"]
    found = entries(tmp_path)[2]
    assert (found.is_late, found.reason, [one.location for one in found.receipts]) == (True, "why", ["here"])


@pytest.mark.parametrize(
    "annotations",
    [{}, {"chains.tekton.dev/signed": "maybe"}, {"chains.tekton.dev/signed": ["true"]}],
    ids=["none", "another word", "a list"],
)
def test_what_is_no_final_mark_ends_no_run(annotations):
    assert found_mark(JOB, raw(**annotations)) is None


@pytest.mark.parametrize("told", ["", "[]", "{", '{"entries": 1}', '{"entries": ["x"]}', "null"])
def test_a_mark_whose_outcome_cannot_be_read_counts_without_receipts(told):
    fact = found_mark(JOB, raw(**{"chains.tekton.dev/signed": "true", "chains.tekton.dev/outcome": told}))
    assert (fact.kind, fact.receipts) == (EntryKind.EVIDENCED, ())


def test_receipts_that_no_entry_can_hold_are_counted():
    fact = decision(JOB, raw(), outcome(entries=1000))
    assert len(fact.receipts) == 64
    assert fact.reason == "936 receipts more"
    long = [
        Entry("p" * 900, "s" * 900, "f" * 900, "\u00e4" * 900, EntryState.STORED, "l" * 900, "d" * 900)
        for _ in range(64)
    ]
    fact = decision(JOB, raw(), Outcome("run", JOB.uid, State.SIGNED, "", tuple(long)))
    assert 0 < len(fact.receipts) < 64
    # the longest text that fits is written as it is, in the most bytes that UTF-8 has for a character
    wide = [Entry(*["\U0001f600" * 900] * 4, EntryState.STORED, *["\U0001f600" * 900] * 2) for _ in range(7)]
    job = Job("TaskRun", *["\U0001f600" * 900] * 4)
    fact = decision(job, raw(), Outcome("run", "", State.SIGNED, "\U0001f600" * 900, tuple(wide)))
    assert len(fact.receipts) == 7
    assert parse_entry(write_entry(fact)) == fact


def test_a_ledger_that_cannot_be_written_is_an_error_and_is_written_again_afterwards(tmp_path):
    (tmp_path / "share-0-of-1").write_text("a file where a folder has to be")

    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            with pytest.raises(LedgerError):
                await ledger.decided(JOB, raw(), outcome())
            assert recorder.trouble
            (tmp_path / "share-0-of-1").unlink()
            recorder._retry_at.clear()
            await ledger.decided(JOB, raw(), outcome())
            assert not recorder.trouble

    asyncio.run(run())
    assert kinds(tmp_path) == ["seen", "finished", "evidenced", "heartbeat"]


def test_nothing_is_written_while_the_ledger_is_off(tmp_path):
    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            ledger.is_on = False
            ledger.saw(JOB, raw(), listed=False)
            await ledger.decided(JOB, raw(), outcome())
            await ledger.found_marked(JOB, raw())
            ledger.gone(JOB, "gone")
            ledger.interrupted(datetime.now(UTC), "x")
            assert list(ledger.missing(0, set(), datetime.now(UTC))) == []
            await recorder.settle(lambda: None)

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_a_gap_of_the_watch_is_told_in_the_log_of_each_share_that_is_held(tmp_path):
    async def run():
        async with ledger_in(tmp_path) as (ledger, _):
            ledger.saw(JOB, raw(ended=False), listed=False)
            ledger.interrupted(datetime(2025, 11, 26, tzinfo=UTC), "the watch of /x began again with a list")

    asyncio.run(run())
    gap = entries(tmp_path)[1]
    assert (gap.start, gap.reason) == (
        datetime(2025, 11, 26, tzinfo=UTC),
        "the watch of /x began again with a list",
    )


def test_the_log_of_a_share_that_is_lost_is_closed_for_the_next_replica(tmp_path):
    async def run():
        async with ledger_in(tmp_path) as (ledger, recorder):
            ledger.saw(JOB, raw(ended=False), listed=False)
            recorder.release(0)
            await recorder.settle(lambda: None)
            LogWriter(tmp_path / "share-0-of-1", "chains.example.com/test/share-0-of-1").close(ends=False)

    asyncio.run(run())
    assert kinds(tmp_path) == ["seen", "heartbeat", "gap"]


class Flow:
    """A flow as the keeper sees it."""

    def __init__(self, parts, data, *sealers):
        self.ledger, self.data, self._sealers = parts, data, sealers

    def all_sealers(self):
        return self._sealers


def parts_in(folder, *stores):
    settings = LedgerSettings(str(folder / "ledger"), "chains.example.com/test", "ledger.pem")
    return LedgerParts(settings, sealer_of(folder), stores)


@asynccontextmanager
async def kept(clock=now, held=(0,)):
    recorder = Recorder()
    keeper = Keeper(Ledger(recorder, lambda _: 0, lambda: held), recorder, lambda: held, 1, clock=clock)
    try:
        yield keeper, recorder
    finally:
        await keeper.close()


def test_each_configuration_and_its_keys_are_entries_without_any_value(tmp_path):
    signs = sealer_of(tmp_path, "runs")

    async def run():
        async with kept() as (keeper, _):
            keeper.take(Flow(parts_in(tmp_path), {"a": "secret", "b": "1"}, signs))
            await keeper.look()
            keeper.take(Flow(parts_in(tmp_path), {"a": "other", "b": "1"}, signs))
            keeper.take(Flow(None, {}))
            assert not keeper.ledger.is_on

    asyncio.run(run())
    found = entries(tmp_path / "ledger")
    assert [entry.kind.value for entry in found] == ["config", "keys", "config", "keys", "heartbeat"]
    assert [entry.changed for entry in found if isinstance(entry, Configured)] == [(), ("a",)]
    assert found[0].digest != found[2].digest
    assert (found[1].signers, found[1].ledger) == ((signs.signer.keyid,), sealer_of(tmp_path).signer.keyid)
    assert b"secret" not in b"".join(path.read_bytes() for path in (tmp_path / "ledger").rglob("*.jsonl"))


def test_all_runs_are_looked_at_once_when_a_ledger_begins(tmp_path):
    asked = []

    async def run():
        async with kept() as (keeper, _):
            keeper.on_begin = lambda: asked.append(1)
            await keeper.look()
            for _ in range(2):
                keeper.take(Flow(parts_in(tmp_path), {}))
                await keeper.look()

    asyncio.run(run())
    assert asked == [1]


def test_days_that_are_over_are_closed_and_their_statements_stored(tmp_path):
    clock = Clock()
    log = tmp_path / "ledger" / "share-0-of-1"
    writer = LogWriter(log, "chains.example.com/test/share-0-of-1", clock)
    writer.append([seen(1)])
    writer.close(ends=False)

    async def run():
        store = open_store(f"file:{tmp_path / 'store'}", StoreOptions())
        clock.move(days=2)
        async with kept(clock) as (keeper, _):
            keeper.take(Flow(parts_in(tmp_path, store), {}))
            await keeper.look()
            assert keeper.closed_until == datetime(2025, 11, 28, tzinfo=UTC)
            return [run async for run in store.list_runs()]

    runs = asyncio.run(run())
    state = read_ledger(tmp_path / "ledger", listed(sealer_of(tmp_path)), datetime.now(UTC))
    assert state.problems == ()
    assert [day.verified for day in state.days] == [True, True, False]
    assert [(each.origin.kind, each.origin.namespace) for each in runs] == [("ledger", "share-0-of-1")] * 2
    assert len(list((tmp_path / "ledger").rglob("*.stored.json"))) == 2


def test_a_stored_statement_is_the_bundle_of_the_day(tmp_path):
    clock = Clock()
    writer = LogWriter(tmp_path / "log", "chains.example.com/test", clock)
    writer.append([seen(1)])
    clock.move(days=1)
    from tests.unit.chains.audit.ledger.made import close_due

    close_due(writer, sealer_of(tmp_path), clock.now)
    writer.close(ends=False)
    record = record_of(writer.log, datetime(2025, 11, 26).date())  # noqa: DTZ001
    assert record.bundle == (tmp_path / "log" / "2025-11-26.bundle.json").read_bytes()
    assert [subject.name for subject in record.subjects] == ["2025-11-26.jsonl", "2025-11-26.open.jsonl"]
    assert (record.origin.kind, record.origin.name, record.created) == (
        "ledger",
        "2025-11-26",
        "2025-11-26T23:59:59Z",
    )
