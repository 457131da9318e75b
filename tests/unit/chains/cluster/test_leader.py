"""One Lease among several processes, with a clock of the test's own and an API server that fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from chains.cluster.errors import ClusterUnavailable, ObjectChanged
from chains.cluster.leader import Leader
from chains.cluster.leases import LeaseRecord

SECONDS = 30


class Table:
    """One Lease, with versions as an API server has them."""

    def __init__(self) -> None:
        self.record, self.note, self.time = LeaseRecord(), "", 0.0
        self.is_away = False
        self.before_write: list[Leader] = []

    async def read(self) -> tuple[LeaseRecord, str]:
        if self.is_away:
            raise ClusterUnavailable("GET: 503")
        return self.record, self.note

    async def write(self, record: LeaseRecord, note: str) -> None:
        if self.before_write:
            await self.before_write.pop().step()
        if self.is_away:
            raise ClusterUnavailable("PATCH: 503")
        if record.version != self.record.version:
            raise ObjectChanged("PATCH: 409")
        self.record = replace(record, version=str(int(self.record.version or 0) + 1))
        self.note = note

    def leader(self, identity: str) -> Leader:
        return Leader(self, identity, seconds=SECONDS, clock=lambda: self.time)


def step(*leaders: Leader) -> list[bool]:
    async def run() -> None:
        for leader in leaders:
            await leader.step()

    asyncio.run(run())
    return [leader.is_held for leader in leaders]


@pytest.fixture
def table() -> Table:
    return Table()


def test_the_first_takes_the_lease_and_keeps_it(table: Table) -> None:
    first, second = table.leader("a"), table.leader("b")
    for _ in range(20):
        assert step(first, second) == [True, False]
        table.time += first.pause
    assert (table.record.holder, table.record.transitions, table.record.seconds) == ("a", 0, SECONDS)


def test_of_two_that_write_at_once_one_holds(table: Table) -> None:
    first, second = table.leader("a"), table.leader("b")
    table.before_write = [second]
    assert step(first) == [False]
    assert second.is_held
    assert table.record.holder == "b"


def test_a_holder_that_cannot_renew_ends_before_another_begins(table: Table) -> None:
    first, second = table.leader("a"), table.leader("b")
    assert step(first, second) == [True, False]
    table.time = SECONDS * 2 / 3 - 1
    assert first.is_held
    table.time += 1
    assert not first.is_held
    assert step(second) == [False]
    # the whole duration after the last renewal was seen
    table.time = SECONDS - 1
    assert step(second) == [False]
    table.time = SECONDS
    assert step(second, first) == [True, False]
    assert table.record.transitions == 1


def test_a_lease_that_is_given_up_is_taken_at_once_with_its_note(table: Table) -> None:
    first, second = table.leader("a"), table.leader("b")
    step(first)
    first.note = "a round ended"
    step(first, second)
    assert second.note == "a round ended"
    asyncio.run(first.release())
    assert (first.is_held, table.record.holder) == (False, "")
    assert step(second) == [True]
    assert table.note == "a round ended"
    # what is not one's own is not given up
    asyncio.run(first.release())
    assert table.record.holder == "b"


def test_an_api_server_that_is_away_is_an_error_and_the_end_of_the_term_comes(table: Table) -> None:
    first = table.leader("a")
    step(first)
    table.is_away = True
    with pytest.raises(ClusterUnavailable):
        step(first)
    assert first.is_held
    table.time = SECONDS
    assert not first.is_held
    asyncio.run(first.release())
    table.is_away = False
    assert step(first) == [True]


def test_an_answer_that_comes_after_the_term_began_counts_from_when_it_was_asked(table: Table) -> None:
    first = table.leader("a")

    class Slow(Leader):
        async def step(self) -> None:
            table.time += SECONDS

    table.before_write = [Slow(table, "slow")]
    assert step(first) == [False]
