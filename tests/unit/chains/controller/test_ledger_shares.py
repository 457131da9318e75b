"""The keepers of the replicas end logs that are no share's any more, and let the logs of the new shares go on for them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from chains.audit.ledger.close import end_of
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.state import RunState
from chains.controller.ledger.keeper import Keeper
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.recorder import Recorder
from chains.controller.permit import share_of_uid
from storage.base import StoreOptions
from storage.open import open_store
from tests.unit.chains.audit.ledger.made import LATER, Clock, listed, run, sealer_of, seen
from tests.unit.chains.controller.test_ledger import Flow, parts_in


async def look(folder, clock, shares, held, *, numbers=(), store=()):
    """Let one replica begin, note runs, look twice and end."""
    recorder = Recorder()
    keeper = Keeper(Ledger(recorder, lambda _: 0, lambda: held), recorder, lambda: held, shares, clock=clock)
    keeper.take(Flow(parts_in(folder, *store), {}))
    await keeper.look()
    for number in numbers:
        share = share_of_uid(run(number).uid, shares)
        if share in held:
            await recorder.record(share, seen(number))
    await keeper.look()
    waiting = {one for share in held for entry in recorder.undecided(share) for one in [entry.run.uid]}
    await keeper.close()
    return waiting


def test_the_keepers_end_old_logs_take_their_runs_over_close_and_store_their_days(tmp_path):
    clock = Clock()

    async def work():
        store = open_store(f"file:{tmp_path / 'store'}", StoreOptions())
        await look(tmp_path, clock, 2, (0, 1), numbers=range(10))
        # two replicas of three shares: the one without share 0 looks first, and after the end once more
        await look(tmp_path, clock, 3, (1,))
        assert end_of(LogFolder(tmp_path / "ledger" / "share-0-of-2")) is None
        waiting = await look(tmp_path, clock, 3, (0, 2))
        waiting |= await look(tmp_path, clock, 3, (1,))
        assert waiting == {run(number).uid for number in range(10)}, "each run is waited for in its new share"
        clock.move(days=1)
        await look(tmp_path, clock, 3, (0, 1, 2), store=(store,))
        return [one.origin.namespace async for one in store.list_runs()]

    stored = asyncio.run(asyncio.wait_for(work(), 120))
    assert sorted(stored) == ["share-0-of-2", "share-0-of-3", "share-1-of-2", "share-1-of-3", "share-2-of-3"]
    state = read_ledger(tmp_path / "ledger", listed(sealer_of(tmp_path)), LATER)
    assert state.problems == ()
    assert state.until == datetime(2025, 11, 27, tzinfo=UTC)
    assert {one.rpartition("/")[2] for one in state.ended} == {"share-0-of-2", "share-1-of-2"}
    assert {one.state for one in state.runs.values()} == {RunState.OPEN}
    assert all(day.verified for day in state.days if day.day.isoformat() == "2025-11-26")


def test_a_log_that_has_ended_is_not_reopened_as_a_gap_by_the_next_looks(tmp_path):
    clock = Clock()

    async def work():
        await look(tmp_path, clock, 2, (0, 1), numbers=range(4))
        for _ in range(3):
            clock.move(days=1)
            await look(tmp_path, clock, 1, (0,))

    asyncio.run(asyncio.wait_for(work(), 120))
    log = LogFolder(tmp_path / "ledger" / "share-1-of-2")
    assert [day.isoformat() for day in log.days() if log.is_closed(day)] == ["2025-11-26", "2025-11-27"]
    assert read_ledger(tmp_path / "ledger", listed(sealer_of(tmp_path)), LATER).problems == ()
