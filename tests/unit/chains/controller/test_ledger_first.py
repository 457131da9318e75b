"""Every process that marks runs has its entry in the ledger before the mark, or writes no mark."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from chains.assembly.ledger import LedgerParts
from chains.attest.outcome import Outcome, State
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.lines import parse_entry
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.state import RunState
from chains.audit.ledger.writer import now
from chains.cluster.errors import ObjectRefused
from chains.controller.ledger.begin import ledger_of_backfill
from chains.controller.ledger.keeper import Keeper
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.recorder import Place, Recorder
from chains.controller.ledger.remote import RemoteRecorder
from chains.controller.metrics import Metrics
from chains.controller.operations import _attest
from chains.controller.reconcile import Controller, HowToWork, SharedParts
from chains.controller.work.worklist import WorkList
from chains.errors import ConfigError
from chains.tekton.runs import Job
from tests.unit.chains.audit.ledger.made import LATER, Clock, listed, sealer_of
from tests.unit.chains.controller.test_ledger import Flow as KeptFlow
from tests.unit.chains.controller.test_ledger import parts_in
from tests.unit.chains.controller.test_reconcile import JOB, RUN, OneRun, flow


class Noting(OneRun):
    """An API server that notes each mark in ``order``, and refuses so many of them."""

    def __init__(self, run, order, refuses=0):
        super().__init__(run)
        self.order, self.refuses = order, refuses

    async def patch(self, path, body):
        state = body["metadata"].get("annotations", {}).get("chains.tekton.dev/signed", "room")
        if self.refuses:
            self.refuses -= 1
            self.order.append(f"refused {state}")
            raise ObjectRefused("422 too large")
        self.order.append(f"mark {state}")
        await super().patch(path, body)


def remote(order, answers=()):
    """Return the ledger of a process that tells its facts to another one, whose answers are given."""
    left = list(answers)

    async def answer():
        return left.pop(0) if left else ""

    def tell(line, wait):
        entry = parse_entry(line)
        order.append(f"{entry.kind} {'waited for' if wait else 'noted'}")

    ledger = Ledger(RemoteRecorder(tell, answer))
    ledger.is_on = True
    return ledger


def controller_of(cluster, ledger):
    in_force = flow()
    how = HowToWork(waits_for_children=False)
    return Controller(cluster, WorkList(), lambda: in_force, Metrics(), how, SharedParts(ledger=ledger))


def test_the_process_for_suspects_marks_only_what_the_controllers_ledger_has():
    order = []
    controller = controller_of(Noting(RUN, order), remote(order))
    assert asyncio.run(controller.handle(JOB)) is True
    assert order == ["finished noted", "evidenced waited for", "mark true"]


def test_the_process_for_suspects_writes_no_mark_if_the_ledger_cannot_be_written():
    order = []
    controller = controller_of(Noting(RUN, order), remote(order, ["the disk is full"]))
    with pytest.raises(LedgerError, match="the disk is full"):
        asyncio.run(controller.handle(JOB))
    assert order == ["finished noted", "evidenced waited for"]
    # the next attempt marks the same outcome
    assert asyncio.run(controller.handle(JOB)) is True
    assert order[-2:] == ["evidenced waited for", "mark true"]


@pytest.mark.parametrize("refuses", [1, 2, 3])
def test_a_smaller_mark_has_its_entry_before_it_is_written_too(refuses):
    order = []
    controller = controller_of(Noting(RUN, order, refuses), remote(order))
    assert asyncio.run(controller.handle(JOB)) is True
    told = [one for one in order if not one.endswith("noted")]
    waited = "waited for"
    assert told[:2] == [f"evidenced {waited}", "refused true"]
    for place, one in enumerate(told):
        if one.startswith(("refused", "mark")):
            assert told[place - 1].endswith(waited), "each attempt to mark follows its own entry"
    assert told[-1].startswith("mark")
    assert len(told) == 2 * (refuses + 1)


def test_what_another_process_tells_is_on_disk_before_it_is_answered(tmp_path):
    job = Job("TaskRun", "ci", "build", "uid-1")

    async def work():
        recorder = Recorder()
        recorder.move(Place(tmp_path, "chains.example.com/test", 1), ())
        ledger = Ledger(recorder)
        ledger.is_on = True
        answers = []

        def tell(line, wait):
            answers.append(asyncio.ensure_future(ledger.take(job, line, wait=wait)))

        async def answer():
            return await answers[-1]

        far = Ledger(RemoteRecorder(tell, answer))
        far.is_on = True
        outcome = Outcome("taskrun/ci/build", "uid-1", State.SKIPPED, "left out")
        raw = {"metadata": {}, "status": {"conditions": [{"type": "Succeeded", "status": "True"}]}}
        far.saw(job, raw, listed=True)
        await far.decided(job, raw, outcome)
        lines = b"".join(path.read_bytes() for path in tmp_path.rglob("*.jsonl")).splitlines()
        kinds = [parse_entry(line).kind.value for line in lines]
        other = replace(job, uid="uid-2")
        with pytest.raises(LedgerError, match="a fact about another run"):
            await far.decided(other, raw, outcome)
        assert await ledger.take(job, b"{}", wait=True) != ""
        ledger.is_on = False
        assert await ledger.take(job, b"{}", wait=True) == "", (
            "without a ledger nothing is written and all is marked"
        )
        await recorder.close()
        return kinds

    assert asyncio.run(asyncio.wait_for(work(), 60)) == ["seen", "finished", "skipped"]


def backfilled(folder, order, *, fails=False):
    """Attest a run as ``chains backfill`` does, with the ledger in a folder."""

    async def work():
        parts: LedgerParts = parts_in(folder)
        cluster = Noting(RUN, order)
        async with ledger_of_backfill(KeptFlow(parts, {"a": "1"}), 0, 1) as ledger:
            record = ledger._recorder.record

            async def noted(share, fact):
                if fails:
                    raise LedgerError("the disk is full")
                await record(share, fact)
                order.append(f"{fact.kind} written")

            ledger._recorder.record = noted
            return await _attest(controller_of(cluster, ledger), cluster, JOB, RUN["metadata"])

    return asyncio.run(asyncio.wait_for(work(), 60))


def begun(folder, clock):
    """Let a controller begin the ledger, or go on with it."""

    async def work():
        recorder = Recorder()
        keeper = Keeper(Ledger(recorder), recorder, lambda: (0,), 1, clock=clock)
        keeper.take(KeptFlow(parts_in(folder), {}))
        await keeper.look()
        await keeper.close()

    asyncio.run(asyncio.wait_for(work(), 60))


def test_backfill_marks_nothing_if_the_ledger_is_not_there(tmp_path):
    order = []
    with pytest.raises(ConfigError, match="so nothing may be marked here: mount the volume"):
        backfilled(tmp_path, order)
    assert order == []
    assert not (tmp_path / "ledger").exists(), "a folder of its own would be lost with the pod"


def test_backfill_writes_a_log_of_its_own_before_each_mark_which_the_controller_ends_and_closes(tmp_path):
    clock = Clock(LATER)
    begun(tmp_path, clock)
    order = []
    assert backfilled(tmp_path, order).state == "attested"
    assert order == ["evidenced written", "mark true"]
    order = []
    done = backfilled(tmp_path, order, fails=True)
    assert (done.is_open, done.state) == (True, "failed for now; run it again: the disk is full")
    assert order == []
    (tmp_path / "ledger.pub").write_bytes(sealer_of(tmp_path).signer.public_pem)
    clock.now = now()
    begun(tmp_path, clock)
    clock.move(days=1)
    begun(tmp_path, clock)
    state = read_ledger(tmp_path / "ledger", listed(sealer_of(tmp_path)), clock.now)
    assert state.problems == ()
    ended = {log.rpartition("/")[2][:9] for log in state.ended}
    assert ended == {"backfill-"}
    run = state.runs[JOB.uid]
    assert (run.state, run.is_from_mark) == (RunState.EVIDENCED, False)
    assert state.until is not None
    assert state.until <= clock.now


def test_a_command_without_a_ledger_marks_as_before():
    order = []

    async def work():
        async with ledger_of_backfill(KeptFlow(None, {}), 0, 1) as ledger:
            cluster = Noting(RUN, order)
            return await _attest(controller_of(cluster, ledger), cluster, JOB, RUN["metadata"])

    assert asyncio.run(work()).state == "attested"
    assert order == ["mark true"]
