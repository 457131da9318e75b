"""The logic of shares and Leases, with a clock of the test's own and a table that fails as networks do."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from chains.cluster.access import Access
from chains.cluster.errors import ClusterUnavailable, ObjectChanged
from chains.cluster.leases import LeaseRecord, lease_body, read_record
from chains.controller.process import ControllerOptions, _open_shares
from chains.controller.shares import Events, Shares, share_of
from chains.controller.watch.observe import owner_of
from chains.errors import UsageError
from chains.tekton.runs import Job
from tests.owners import owned

SECONDS = 15


@dataclass
class Server:
    """The records with their versions, and one clock for everybody."""

    now: float = 1000.0
    records: dict[int, LeaseRecord] = field(default_factory=dict)
    versions: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    def commit(self, share: int, record: LeaseRecord) -> None:
        if record.version != self.records.get(share, LeaseRecord()).version:
            raise ObjectChanged("changed")
        self.records[share] = replace(record, version=str(next(self.versions)))


class Link:
    """One replica's way to the server."""

    def __init__(self, server: Server) -> None:
        self.server, self.cut = server, False

    async def read(self) -> dict[int, LeaseRecord]:
        if self.cut:
            raise ClusterUnavailable("cut")
        return dict(self.server.records)

    async def write(self, share: int, record: LeaseRecord) -> None:
        if self.cut:
            raise ClusterUnavailable("cut")
        self.server.commit(share, record)


class Replica:
    def __init__(self, server: Server, ordinal: int, count: int = 2, start: int = 0) -> None:
        self.link, self.busy, self.told = Link(server), False, list[str]()
        self.shares = Shares(
            count, ordinal, f"pod-{ordinal}_{start}", self.link, SECONDS,
            Events(lambda n: self.told.append(f"+{n}"), lambda n: self.told.append(f"-{n}"), lambda _: self.busy),
            lambda: server.now,
        )  # fmt: skip

    def step(self) -> None:
        with suppress(ClusterUnavailable, ObjectChanged):
            run(self.shares.step(self.link))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never really waits: a thousand times faster than with an event loop each."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")


def pass_time(server: Server, seconds: float, *replicas: Replica) -> None:
    end = server.now + seconds
    while server.now < end:
        server.now += SECONDS / 15
        for replica in replicas:
            replica.step()


def job_of(share: int, count: int = 2) -> Job:
    jobs = (Job("TaskRun", "ns", "r", f"uid-{number}") for number in range(1000))
    return next(job for job in jobs if share_of(job, count) == share)


def until(server: Server, condition: Callable[[], bool], *replicas: Replica) -> float:
    started = server.now
    while not condition():
        assert server.now - started < 10 * SECONDS
        pass_time(server, 1, *replicas)
    return server.now - started


def test_the_only_replica_holds_everything_and_needs_no_lease() -> None:
    shares = Shares()
    permit = shares.admit(Job("TaskRun", "ns", "r", "any"))
    assert permit is not None
    assert permit()
    assert shares.held == [0]
    shares.stop()
    assert shares.admit(Job("TaskRun", "ns", "r", "any")) is None
    assert permit()


def test_each_takes_its_own_share_at_once_and_keeps_it() -> None:
    server = Server()
    first, second = Replica(server, 0), Replica(server, 1)
    first.step()
    second.step()
    assert (first.shares.held, second.shares.held) == ([0], [1])
    pass_time(server, 100, first, second)
    assert (first.told, second.told) == (["+0"], ["+1"])
    assert {record.transitions for record in server.records.values()} == {0}


def test_a_dead_replicas_share_is_taken_after_its_duration_and_its_permits_ended_before() -> None:
    server = Server()
    first, second = Replica(server, 0), Replica(server, 1)
    pass_time(server, 10, first, second)
    permit = second.shares.admit(job_of(1))
    assert permit is not None
    assert permit()
    ended, took = 0.0, 0.0
    for _ in range(40):
        pass_time(server, 1, first)
        ended = ended or (0.0 if permit() else server.now)
        took = took or (server.now if first.shares.held == [0, 1] else 0.0)
    assert 0 < ended <= took - SECONDS / 3
    assert took < 1010 + 1.5 * SECONDS
    assert server.records[1].transitions == 1


def test_a_replica_that_is_cut_off_drops_its_share_and_takes_it_again_when_nobody_did() -> None:
    server = Server()
    only = Replica(server, 0)
    only.step()
    permit = only.shares.admit(job_of(0))
    only.link.cut = True
    pass_time(server, SECONDS, only)
    assert only.shares.held == []
    assert only.told == ["+0", "-0"]
    only.link.cut = False
    only.step()
    assert 0 in only.shares.held
    assert only.told[:3] == ["+0", "-0", "+0"]
    assert permit is not None
    assert not permit(), "a permit of the term before"


def test_an_owner_that_comes_back_gets_its_share_when_the_work_in_flight_is_done() -> None:
    server = Server()
    first = Replica(server, 0)
    pass_time(server, 5, first)
    assert first.shares.held == [0, 1]
    first.busy = True
    permit = first.shares.admit(job_of(1))
    second = Replica(server, 1, start=1)
    pass_time(server, 5, second, first)
    assert first.shares.admit(job_of(1)) is None, "nothing new is begun"
    assert permit is not None
    assert permit(), "what is in work may end"
    assert second.shares.held == []
    first.busy = False
    assert until(server, lambda: second.shares.held == [1], first, second) <= 3
    assert not permit()
    assert first.shares.held == [0]


def test_a_share_is_handed_over_after_the_duration_even_when_the_work_hangs() -> None:
    server = Server()
    first = Replica(server, 0)
    pass_time(server, 5, first)
    first.busy = True
    second = Replica(server, 1)
    assert until(server, lambda: second.shares.held == [1], first, second) <= SECONDS + 4


def test_an_owner_that_asks_and_dies_leaves_its_share_to_the_others() -> None:
    server = Server()
    first = Replica(server, 0)
    pass_time(server, 5, first)
    second = Replica(server, 1)
    second.step()
    pass_time(server, 3, first)
    assert first.shares.held == [0]
    assert until(server, lambda: first.shares.held == [0, 1], first) <= SECONDS + 4
    assert server.records[1].wanted_by == ""


def test_what_is_released_is_taken_at_the_next_but_one_look() -> None:
    server = Server()
    first, second = Replica(server, 0), Replica(server, 1)
    pass_time(server, 5, first, second)
    second.shares.stop()
    run(second.shares.release())
    assert {record.holder for record in server.records.values()} == {"pod-0_0", ""}
    assert until(server, lambda: first.shares.held == [0, 1], first) <= 2


def test_a_pod_beyond_the_number_stands_in_for_others() -> None:
    server = Server()
    spare = Replica(server, 7)
    pass_time(server, 3, spare)
    assert spare.shares.held == [0, 1]


def test_replicas_of_another_number_wait_until_the_last_of_the_first_is_gone() -> None:
    server = Server()
    old = [Replica(server, 0), Replica(server, 1)]
    pass_time(server, 5, *old)
    new = [Replica(server, ordinal, 3, 1) for ordinal in range(3)]
    run(old[1].shares.release())
    pass_time(server, 60, old[0], *new)
    assert old[0].shares.held == [0, 1]
    assert [each.shares.held for each in new] == [[], [], []]
    run(old[0].shares.release())
    assert until(server, lambda: [each.shares.held for each in new] == [[0], [1], [2]], *new) <= 3


def test_a_renewal_that_took_too_long_ends_the_term_since_offers_were_turned_away() -> None:
    server = Server()
    slow = Replica(server, 0)
    slow.step()

    class SlowWrite(Link):
        async def write(self, share: int, record: LeaseRecord) -> None:
            await super().write(share, record)
            server.now += SECONDS

    server.now += SECONDS / 5
    slow.link = SlowWrite(server)
    slow.step()
    assert slow.told[:2] == ["+0", "-0"]


class Unreliable(Link):
    """A link that loses questions, loses answers, or delivers a write much later."""

    def __init__(self, server: Server, random_: random.Random, meanwhile: Callable[[], None]) -> None:
        super().__init__(server)
        self.random, self.meanwhile = random_, meanwhile
        self.late: list[tuple[int, LeaseRecord]] = []
        self.slow = True

    def _pass(self) -> None:
        for _ in range(self.random.randrange(4) if self.slow else 0):
            self.server.now += self.random.random()
            self.meanwhile()

    async def read(self) -> dict[int, LeaseRecord]:
        self._pass()
        found = await super().read()
        self._pass()
        return found

    async def write(self, share: int, record: LeaseRecord) -> None:
        self._pass()
        if self.cut:
            self.late.append((share, record))
        elif self.slow and self.random.random() < 0.05:
            self.server.commit(share, record)
            raise ClusterUnavailable("the answer was lost")
        await super().write(share, record)
        self._pass()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_fails_no_two_work_on_one_run_and_in_the_end_all_is_held(seed: int) -> None:
    dice = random.Random(seed)
    server, replicas = Server(), list[Replica]()

    def check() -> None:
        for number in (1, 2, 3, 4):  # runs, and the shares that they are in
            job = Job("TaskRun", "ns", "r", f"uid-{number}")
            at_work = [each.shares.identity for each in replicas if each.shares.admit(job) is not None]
            assert len(at_work) <= 1, at_work

    counts = dice.choice([[2, 2], [3, 3, 3], [2, 2, 3, 3, 3]])
    stepping = set[str]()

    def step(replica: Replica) -> None:
        stepping.add(replica.shares.identity)
        replica.step()
        stepping.discard(replica.shares.identity)
        check()

    def meanwhile() -> None:
        check()
        others = [each for each in replicas if each.shares.identity not in stepping]
        if others and dice.random() < 0.3:
            step(dice.choice(others))

    for start, count in enumerate(counts):
        replica = Replica(server, start % count, count, start)
        replica.link = replica.shares.table = Unreliable(server, dice, meanwhile)
        replicas.append(replica)
    for _ in range(400):
        replica = dice.choice(replicas)
        assert isinstance(replica.link, Unreliable)
        if dice.random() < 0.05:
            replica.link.cut = not replica.link.cut
        if replica.link.late and dice.random() < 0.1:
            with suppress(ObjectChanged):
                server.commit(*replica.link.late.pop(0))
        server.now += dice.random()
        step(replica)
    healthy = [replica for replica in replicas if replica.shares.count == counts[-1]]
    for replica in replicas:
        assert isinstance(replica.link, Unreliable)
        replica.link.cut, replica.link.slow = replica not in healthy, False
    pass_time(server, 4 * SECONDS, *healthy)
    found = sorted(share for replica in healthy for share in replica.shares.held)
    assert found == list(range(counts[-1]))
    check()


@pytest.mark.parametrize(
    ("replicas", "pod", "seconds", "reason"),
    [
        (2, "", 15, "expected the name of a StatefulSet's pod"),
        (2, "tekton-chains-controller-x7k2p", 15, "expected the name of a StatefulSet's pod"),
        (0, "tekton-chains-controller-0", 15, "expected at least 1"),
        (2, "tekton-chains-controller-0", 2, "--lease-seconds 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(replicas: int, pod: str, seconds: int, reason: str) -> None:
    options = ControllerOptions(
        "", "s", (), Path(), 1, 0, 1, 1, 1, "", replicas=replicas, pod_name=pod, lease_seconds=seconds
    )
    with pytest.raises(UsageError, match=reason):
        run(_open_shares(options, Access("http://localhost"), AsyncExitStack()))


def test_a_lease_says_what_the_record_does() -> None:
    record = LeaseRecord(
        "pod-1_ab", 15, "2026-01-02T03:04:05.000000Z", "2026-01-02T03:04:06.000000Z", 3, 2, "pod-0_cd", "77"
    )
    assert read_record(lease_body(record)) == record
    empty = lease_body(LeaseRecord(seconds=15, replicas=2))
    assert "provenance.chains/wanted-by" not in empty["metadata"]["annotations"]
    assert read_record({"metadata": {"resourceVersion": "1"}}) == LeaseRecord(version="1")


def test_a_pipeline_run_and_its_task_runs_are_one_share() -> None:
    metadata = {"ownerReferences": [{"kind": "Other", "uid": "o"}, *owned("p")]}
    child = Job("TaskRun", "ns", "child", "c", owner_of("TaskRun", metadata))
    parent = Job("PipelineRun", "ns", "parent", "p", owner_of("PipelineRun", metadata))
    assert [share_of(child, count) for count in range(1, 20)] == [
        share_of(parent, count) for count in range(1, 20)
    ]
    assert owner_of("TaskRun", {}) == ""
    assert {share_of(Job("TaskRun", "ns", "r", str(number)), 3) for number in range(50)} == {0, 1, 2}
