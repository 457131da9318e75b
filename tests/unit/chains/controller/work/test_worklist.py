import asyncio
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.controller.work.worklist import BACKLOG, FRESH, LEAVING, WorkList
from chains.tekton.runs import Job


def job(name: str) -> Job:
    return Job("TaskRun", "ns", name, f"uid-{name}")


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 5))


def test_fresh_runs_go_before_the_backlog_and_equal_ones_in_their_order() -> None:
    async def work() -> list[str]:
        jobs = WorkList()
        for name, lane in (("old-1", BACKLOG), ("new-1", FRESH), ("old-2", BACKLOG), ("new-2", FRESH)):
            jobs.offer(job(name), lane)
        return [(await jobs.take()).name for _ in range(4)]

    assert run(work()) == ["new-1", "new-2", "old-1", "old-2"]


def test_a_job_that_waits_is_not_doubled() -> None:
    async def work() -> int:
        jobs = WorkList()
        jobs.offer(job("a"))
        jobs.offer(job("a"))
        jobs.later(job("b"), 60)
        jobs.offer(job("b"))
        return len(jobs)

    assert run(work()) == 2


def test_a_job_offered_while_in_work_is_done_once_more() -> None:
    async def work() -> list[int]:
        jobs = WorkList()
        jobs.offer(job("a"))
        taken = await jobs.take()
        jobs.offer(job("a"))
        jobs.offer(job("a"))
        seen = [len(jobs), jobs.in_work]
        jobs.done(taken)
        await jobs.idle()
        return [*seen, len(jobs), jobs.in_work]

    assert run(work()) == [0, 1, 1, 0]


def test_a_job_for_later_waits_and_a_taker_wakes_up_for_it() -> None:
    async def work() -> tuple[str, float]:
        jobs = WorkList()
        started = asyncio.get_running_loop().time()
        taker = asyncio.create_task(jobs.take())
        await asyncio.sleep(0)
        jobs.later(job("a"), 0.05)
        return (await taker).name, asyncio.get_running_loop().time() - started

    name, seconds = run(work())
    assert name == "a"
    assert seconds >= 0.05


def test_the_backlog_keeps_to_its_rate_and_fresh_runs_do_not() -> None:
    async def work() -> tuple[list[str], float]:
        jobs = WorkList(lambda: 20.0)
        for number in range(25):
            jobs.offer(job(f"old-{number}"), BACKLOG)
        jobs.offer(job("new"), FRESH)
        started = asyncio.get_running_loop().time()
        names = [(await jobs.take()).name for _ in range(26)]
        return names, asyncio.get_running_loop().time() - started

    names, seconds = run(work())
    assert names[0] == "new"
    # a second's worth is begun at once
    assert 0.15 <= seconds < 3


def test_a_waiting_job_can_be_hastened_and_comes_once() -> None:
    async def work() -> tuple[str, int]:
        jobs = WorkList()
        jobs.later(job("a"), 60)
        jobs.later(job("a"), 60)
        jobs.hasten(job("a"))
        jobs.hasten(job("b"))
        return (await jobs.take()).name, len(jobs)

    assert run(work()) == ("a", 0)


def test_a_job_put_off_keeps_its_lane_and_its_age() -> None:
    async def work() -> tuple[list[str], float]:
        jobs = WorkList()
        jobs.offer(job("fresh"), FRESH, since=1000.0)
        taken = await jobs.take()
        jobs.offer(job("old"), BACKLOG)
        jobs.later(taken, 0)
        jobs.done(taken)
        oldest = jobs.oldest
        return [(await jobs.take()).name for _ in range(2)], oldest

    names, oldest = run(work())
    assert names == ["fresh", "old"]
    assert oldest > 1_000_000


def test_what_is_dropped_is_forgotten_wherever_it_waits_and_what_is_in_work_goes_on() -> None:
    async def work() -> tuple[int, list[str], int, str]:
        jobs = WorkList()
        jobs.offer(job("in-work"))
        taken = await jobs.take()
        jobs.offer(taken)
        for name in ("a", "b", "c"):
            jobs.offer(job(name))
        jobs.later(job("d"), 60)
        dropped = jobs.drop(lambda each: each.name != "b")
        working = [each.name for each in jobs.working()]
        jobs.done(taken)
        left = len(jobs)
        jobs.offer(job("a"))
        assert (await jobs.take()).name == "b"
        return dropped, working, left, (await jobs.take()).name

    assert run(work()) == (3, ["in-work"], 1, "a")


def test_a_run_that_is_leaving_goes_first_and_does_not_wait() -> None:
    async def work_on() -> None:
        work = WorkList()
        leaving, fresh = (Job("TaskRun", "ns", name, name) for name in ("leaving", "fresh"))
        work.offer(fresh, FRESH)
        work.later(leaving, 600)
        work.offer(leaving, FRESH)
        assert await work.take() == fresh
        work.offer(leaving, LEAVING)
        assert await asyncio.wait_for(work.take(), 5) == leaving
        work.done(leaving)
        work.offer(Job("TaskRun", "ns", "next", "next"), FRESH)
        work.offer(leaving, LEAVING)
        assert await work.take() == leaving

    asyncio.run(work_on())


def test_a_run_that_ends_while_it_is_listed_behind_the_backlog_is_fresh() -> None:
    async def work_on() -> None:
        work = WorkList(lambda: 0.001)
        jobs = [Job("TaskRun", "ns", str(number), str(number)) for number in range(5)]
        for job in jobs:
            work.offer(job, BACKLOG)
        assert await work.take() == jobs[0]  # the only one of the backlog for a quarter of an hour
        work.offer(jobs[3], FRESH, 7.0)
        work.offer(jobs[3], BACKLOG)
        assert len(work) == 4
        assert work.oldest > 1_000_000
        assert await asyncio.wait_for(work.take(), 5) == jobs[3]
        work.done(jobs[3])
        assert len(work) == 3
        work.offer(jobs[3], FRESH)
        assert await asyncio.wait_for(work.take(), 5) == jobs[3]
        assert work.drop(lambda job: job == jobs[4]) == 1
        assert len(work) == 2

    asyncio.run(work_on())


def test_a_run_that_ends_while_it_waits_to_be_held_is_looked_at_once_more_at_once() -> None:
    async def work_on() -> None:
        work, job = WorkList(), Job("TaskRun", "ns", "a", "a")
        work.offer(job, FRESH)
        assert await work.take() == job
        work.offer(job, FRESH, 7.0)  # while it is in work
        work.later(job, 600)
        work.done(job)
        assert await asyncio.wait_for(work.take(), 5) == job
        work.later(job, 600)
        work.done(job)
        work.offer(job, FRESH, 7.0)  # another event of the ended run
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work.take(), 0.01)

    asyncio.run(work_on())


async def turns() -> None:
    """Let whoever can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_while_fresh_runs_come_little_of_the_backlog_is_in_work(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> list[str]:
        jobs, taken = WorkList(backlog_workers=2), list[str]()

        async def worker() -> None:
            while True:
                taken.append((await jobs.take()).name)

        for number in range(3):
            jobs.offer(job(f"old-{number}"), BACKLOG)
        jobs.offer(job("new-0"), FRESH)
        task = asyncio.create_task(worker())
        await turns()
        assert taken == ["new-0", "old-0", "old-1"]
        jobs.offer(job("new-1"), FRESH)
        await turns()
        assert taken[3:] == ["new-1"]
        jobs.done(job("old-0"))
        await turns()
        assert taken[4:] == ["old-2"]
        jobs.offer(job("old-3"), BACKLOG)
        await turns()
        assert taken[5:] == []
        monkeypatch.setattr("chains.controller.work.worklist._LIVE_SECONDS", 0.0)
        jobs.offer(job("old-4"), BACKLOG)
        await turns()
        task.cancel()
        return taken[5:]

    assert run(work()) == ["old-3", "old-4"]


def test_without_fresh_runs_the_backlog_has_every_worker() -> None:
    async def work() -> int:
        jobs = WorkList(backlog_workers=1)
        for number in range(5):
            jobs.offer(job(f"old-{number}"), BACKLOG)
        return len([await jobs.take() for _ in range(5)])

    assert run(work()) == 5


def test_few_of_the_backlog_are_in_work_until_the_end_of_a_list_and_not_for_ever() -> None:
    async def work() -> None:
        clock = Clock()
        jobs, taken = WorkList(backlog_workers=2, clock=clock), list[str]()

        async def worker() -> None:
            while True:
                taken.append((await jobs.take()).name)

        async def settle() -> list[str]:
            for _ in range(5):
                await asyncio.sleep(0)
            return taken

        task = asyncio.create_task(worker())
        for number in range(5):
            jobs.listing()
            jobs.offer(job(f"old-{number}"), BACKLOG)
        assert await settle() == ["old-0", "old-1"]
        jobs.done(job("old-0"))
        assert await settle() == ["old-0", "old-1", "old-2"]
        for _ in range(70):  # a list that takes longer than lists are waited for
            clock.now += 0.45
            jobs.listing()
        jobs.offer(job("old-5"), BACKLOG)
        assert await settle() == [f"old-{number}" for number in range(6)]
        task.cancel()

    run(work())


def test_the_backlog_has_every_worker_when_the_list_has_ended() -> None:
    async def work() -> int:
        clock = Clock()
        jobs = WorkList(backlog_workers=1, clock=clock)
        for number in range(5):
            jobs.listing()
            jobs.offer(job(f"old-{number}"), BACKLOG)
        clock.now += 0.6
        return len([await jobs.take() for _ in range(5)])

    assert run(work()) == 5


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def of(namespace: str, number: int) -> Job:
    return Job("TaskRun", namespace, str(number), f"{namespace}-{number}")


async def taken(jobs: WorkList, count: int) -> list[Job]:
    return [await asyncio.wait_for(jobs.take(), 5) for _ in range(count)]


def test_namespaces_are_served_in_turn_and_each_in_its_own_order() -> None:
    async def work() -> list[str]:
        jobs = WorkList(workers=64)
        for number in range(256):
            jobs.offer(of("loud", number))
        jobs.offer(of("quiet", 0))
        jobs.offer(of("quiet", 1))
        jobs.offer(of("calm", 0))
        return [each.uid for each in await taken(jobs, 8)]

    assert run(work()) == [
        "loud-0", "quiet-0", "calm-0", "loud-1", "quiet-1", "loud-2", "loud-3", "loud-4",
    ]  # fmt: skip


def test_a_namespace_alone_has_every_worker() -> None:
    async def work() -> int:
        jobs = WorkList(workers=64, slow=16)
        for number in range(100):
            jobs.offer(of("loud", number))
        return len(await taken(jobs, 64))

    assert run(work()) == 64


def test_who_has_his_part_in_work_goes_behind_the_others_whatever_the_lane() -> None:
    async def work() -> list[str]:
        jobs = WorkList(workers=8)
        for number in range(20):
            jobs.offer(of("loud", number), LEAVING)
        begun = await taken(jobs, 8)
        jobs.offer(of("quiet", 0), BACKLOG)
        jobs.offer(of("quiet", 1), FRESH)
        jobs.offer(of("quiet", 2), LEAVING)
        found = []
        for job in begun[:4]:
            jobs.done(job)
            found += await taken(jobs, 1)
        return [each.uid for each in found]

    # of eight workers loud keeps half, and of the quiet one's runs the lanes decide again
    assert run(work()) == ["quiet-2", "quiet-1", "quiet-0", "loud-8"]


def test_of_the_slow_lane_few_are_in_work_and_nobody_waits_for_them() -> None:
    async def work() -> tuple[list[str], list[str], int]:
        clock = Clock()
        jobs = WorkList(workers=8, slow=2, clock=clock)
        for number in range(8):
            jobs.offer(of("loud", number))
        begun = await taken(jobs, 8)
        for job in begun:
            jobs.later(job, 5, slow=True)
            jobs.done(job)
        clock.now += 5
        slow = [each.uid for each in await taken(jobs, 2)]
        waits = asyncio.create_task(jobs.take())
        await asyncio.sleep(0)
        assert not waits.done()
        jobs.offer(of("loud", 9), BACKLOG)
        other = [(await waits).uid]
        waits = asyncio.create_task(jobs.take())
        await asyncio.sleep(0)
        assert not waits.done()
        jobs.done(begun[0])
        other.append((await waits).uid)
        return slow, other, jobs.slow

    assert run(work()) == (["loud-0", "loud-1"], ["loud-9", "loud-2"], 7)


def test_a_run_leaves_the_slow_lane_when_it_is_hastened_and_not_for_an_event() -> None:
    async def work() -> tuple[list[str], int]:
        clock = Clock()
        jobs = WorkList(workers=8, slow=0, clock=clock)
        names = [of("ns", number) for number in range(4)]
        for job in names:
            jobs.offer(job, FRESH, 7.0)
        for job in await taken(jobs, 4):
            jobs.later(job, 5, slow=True)
            jobs.done(job)
        jobs.offer(names[0], FRESH, 7.0)
        clock.now += 5
        jobs.offer(names[0], FRESH, 7.0)
        waits = asyncio.create_task(jobs.take())
        await asyncio.sleep(0)
        assert not waits.done()
        jobs.hasten(names[1])
        found = [(await waits).uid]
        jobs.offer(names[2], LEAVING, 7.0)
        jobs.offer(names[3], FRESH, 8.0)
        found += [each.uid for each in await taken(jobs, 2)]
        jobs.later(names[1], 0)
        jobs.done(names[1])
        return [*found, (await jobs.take()).uid], jobs.slow

    assert run(work()) == (["ns-1", "ns-2", "ns-3", "ns-1"], 1)


def test_a_job_for_later_is_not_begun_by_somebody_else_before_it_is_done() -> None:
    async def work() -> list[bool]:
        jobs = WorkList()
        jobs.offer(job("a"))
        first = await jobs.take()
        other = asyncio.create_task(jobs.take())
        await asyncio.sleep(0)
        jobs.later(first, 0)
        jobs.hasten(first)
        timers = asyncio.Event()
        asyncio.get_running_loop().call_later(0, timers.set)
        await timers.wait()  # what was to happen at once has happened
        seen = [other.done()]
        jobs.done(first)
        return [*seen, (await other) == first]

    assert run(work()) == [False, True]


def test_who_waits_first_is_served_first_and_who_goes_away_loses_nothing() -> None:
    async def work() -> tuple[list[str], int, int]:
        jobs, served = WorkList(), list[str]()

        async def worker(name: str) -> None:
            served.append(f"{name} {(await jobs.take()).name}")

        first, second, third = (asyncio.create_task(worker(name)) for name in "123")
        await asyncio.sleep(0)
        first.cancel()
        jobs.offer(job("a"))
        jobs.offer(job("b"))
        second.cancel()  # it has a job already, which it never sees
        await asyncio.wait([first, second, third])
        last = asyncio.create_task(worker("4"))
        await last
        return served, len(jobs), jobs.in_work

    assert run(work()) == (["3 b", "4 a"], 0, 2)


def loaded(clock: Clock, held: dict[str, int], workers: int = 64) -> WorkList:
    """Return a work list of which everything is in work."""
    jobs = WorkList(workers=workers, slow=workers // 4, clock=clock)

    async def begin() -> None:
        for namespace, count in held.items():
            for number in range(count):
                jobs.offer(of(namespace, number))
                assert (await jobs.take()).namespace == namespace
                clock.now += 0.001

    asyncio.run(begin())
    return jobs


def test_who_waits_too_long_gets_the_place_of_the_youngest_of_who_has_the_most() -> None:
    clock = Clock()
    jobs = loaded(clock, {"loud": 40, "other": 24})
    clock.now += 2
    jobs.offer(of("quiet", 0))
    jobs.offer(of("quiet", 1))
    assert jobs.give_way() == [], "a worker may be free in a moment"
    clock.now += 1
    assert jobs.give_way() == [of("loud", 39)]
    assert jobs.give_way() == [], "the one that was asked is still going"
    jobs.later(of("loud", 39), 60, slow=True)
    jobs.done(of("loud", 39))
    assert asyncio.run(jobs.take()) == of("quiet", 0)
    assert jobs.give_way() == [], "its namespace was just served"
    clock.now += 1
    assert jobs.give_way() == [of("loud", 38)]


@pytest.mark.parametrize(
    ("held", "age", "waits"),
    [
        ({"loud": 64}, 0.9, "quiet"),
        ({"loud": 32, "quiet": 32}, 60, "quiet"),
        ({"loud": 33, "quiet": 32}, 60, "quiet"),
        ({"loud": 64}, 60, "loud"),
    ],
    ids=["only just begun", "as many itself", "one more is no reason", "nobody else waits"],
)
def test_nobody_gives_way(held: dict[str, int], age: float, waits: str) -> None:
    clock = Clock()
    jobs = loaded(clock, held, workers=sum(held.values()))
    jobs.offer(of(waits, 99))
    clock.now += age
    assert jobs.give_way() == []
    clock.now += 1
    assert jobs.give_way() == []


def test_what_is_in_the_slow_lane_stays_in_work() -> None:
    async def work() -> list[Job]:
        clock = Clock()
        jobs = WorkList(workers=2, slow=2, clock=clock)
        for number in range(2):
            jobs.offer(of("loud", number))
            job = await jobs.take()
            jobs.later(job, 0, slow=True)
            jobs.done(job)
        await taken(jobs, 2)
        clock.now += 60
        jobs.offer(of("quiet", 0))
        jobs.give_way()
        clock.now += 60
        return jobs.give_way()

    assert run(work()) == []


def test_the_backlog_of_one_does_not_keep_the_backlog_of_others_from_the_few_places_beside_fresh_runs() -> (
    None
):
    async def work() -> tuple[list[Job], list[Job]]:
        clock = Clock()
        jobs = WorkList(backlog_workers=2, workers=8, clock=clock)
        for number in range(2):
            jobs.offer(of("loud", number), BACKLOG)
        jobs.offer(of("live", 0), FRESH)
        await taken(jobs, 3)
        free = asyncio.create_task(jobs.take())
        await asyncio.sleep(0)
        jobs.offer(of("quiet", 0), BACKLOG)
        jobs.give_way()
        clock.now += 3
        asked = jobs.give_way()
        jobs.done(asked[0])
        return asked, [await free]

    assert run(work()) == ([of("loud", 1)], [of("quiet", 0)])


def test_a_retry_that_is_due_counts_as_waiting_though_no_worker_looks_for_it() -> None:
    clock = Clock()
    jobs = loaded(clock, {"loud": 63, "quiet": 1})
    jobs.later(of("quiet", 0), 10)
    jobs.done(of("quiet", 0))
    jobs.offer(of("loud", 99))
    assert asyncio.run(jobs.take()) == of("loud", 99)
    clock.now += 10
    jobs.give_way()
    clock.now += 1
    assert jobs.give_way() == [of("loud", 99)]


def test_whoever_is_to_give_way_is_told_while_everybody_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chains.controller.work.worklist._LOOK_SECONDS", 0.0)

    async def work() -> list[Job]:
        clock = Clock()
        jobs = WorkList(workers=3, clock=clock)
        told = asyncio.create_task(jobs.crowded())
        for number in range(3):
            jobs.offer(of("loud", number))
        await taken(jobs, 3)
        jobs.offer(of("quiet", 0))
        while not told.done():
            clock.now += 0.1
            await asyncio.sleep(0)
        return await told

    assert run(work()) == [of("loud", 2)]


class Model:
    """What a work list is to do, in plain sets."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.jobs = WorkList(workers=4, slow=1, clock=self.clock)
        self.waits, self.begun, self.again = set[Job](), list[Job](), set[Job]()
        self.parked = set[Job]()

    async def offer(self, job: Job, number: int, lane: int) -> None:
        self.jobs.offer(job, lane, float(number))
        (self.again if job in self.begun else self.waits).add(job)

    async def take(self, job: Job, number: int, lane: int) -> None:
        taker = asyncio.create_task(self.jobs.take())
        await asyncio.sleep(0)
        if taker.done():
            self.waits.remove(taker.result())
            self.parked.discard(taker.result())
            self.begun.append(taker.result())
        taker.cancel()
        await asyncio.sleep(0)

    async def done(self, job: Job, number: int, lane: int) -> None:
        if self.begun:
            job = self.begun.pop(number % len(self.begun))
            self.jobs.done(job)
            self.waits |= {job} & self.again
            self.again.discard(job)

    async def later(self, job: Job, number: int, lane: int) -> None:
        if self.begun:
            job = self.begun[number % len(self.begun)]
            self.jobs.later(job, float(number), slow=bool(lane))
            self.again.add(job)
            await self.done(job, self.begun.index(job), lane)

    async def park(self, job: Job, number: int, lane: int) -> None:
        if self.begun:
            job = self.begun[number % len(self.begun)]
            self.jobs.park(job, float(number))
            self.again.add(job)
            self.parked.add(job)
            await self.done(job, self.begun.index(job), lane)

    async def hasten(self, job: Job, number: int, lane: int) -> None:
        self.jobs.hasten(job)

    async def wait(self, job: Job, number: int, lane: int) -> None:
        self.clock.now += number

    async def drop(self, job: Job, number: int, lane: int) -> None:
        self.jobs.drop(lambda each: each == job)
        self.waits.discard(job)
        self.again.discard(job)
        self.parked.discard(job)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "take", "done", "later", "park", "hasten", "wait", "drop"]),
        st.integers(0, 11),
        st.sampled_from([LEAVING, FRESH, BACKLOG]),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_nothing_is_lost_and_nothing_is_in_work_twice(steps: list[tuple[str, int, int]]) -> None:
    async def work() -> None:
        model = Model()
        jobs = model.jobs
        for what, number, lane in steps:
            await getattr(model, what)(of(f"ns-{number % 3}", number), number, lane)
            jobs.give_way()
            assert sorted(each.uid for each in jobs.working()) == sorted(each.uid for each in model.begun)
            assert len(jobs) == len(model.waits - model.parked)
        while model.begun:
            await model.done(model.begun[0], 0, 0)
        model.clock.now += 60
        while model.waits:
            job = await asyncio.wait_for(jobs.take(), 5)
            model.waits.remove(job)
            jobs.done(job)
        assert (len(jobs), jobs.in_work, jobs.slow, jobs._active, jobs._held) == (0, 0, 0, {}, {})
        assert (jobs._parked, jobs._soon, jobs._home) == (set(), set(), {})

    run(work())


def test_a_parked_job_counts_for_nothing_and_goes_behind_fresh_ones_unless_it_is_hastened() -> None:
    async def work() -> tuple[list[str], list[int], list[float]]:
        jobs = WorkList()
        lengths, ages = [], []
        for name in ("a", "b"):
            jobs.offer(job(name), FRESH, since=1.0)
        for taken in [await jobs.take() for _ in range(2)]:
            jobs.park(taken, 0.0 if taken.name == "a" else 60.0)
            jobs.done(taken)
        lengths.append(len(jobs))
        ages.append(jobs.oldest)
        jobs.offer(job("a"), FRESH, since=1.0)  # the watch tells of it again: it goes on waiting
        jobs.offer(job("c"))
        jobs.hasten(job("b"))
        lengths.append(len(jobs))
        return [(await jobs.take()).name for _ in range(3)], lengths, ages

    names, lengths, ages = run(work())
    assert names == ["c", "b", "a"]
    assert lengths == [0, 1], "until it is begun"
    assert ages == [0.0]


def test_a_job_hastened_while_in_work_is_looked_at_again_at_once() -> None:
    async def work() -> list[str]:
        jobs = WorkList()
        jobs.offer(job("a"))
        taken = await jobs.take()
        jobs.hasten(taken)
        jobs.park(taken, 600)
        jobs.done(taken)
        again = await jobs.take()
        jobs.later(again, 600)
        jobs.done(again)
        return [again.name, str(len(jobs))]

    assert run(work()) == ["a", "1"]


def test_a_parked_job_of_a_share_that_is_lost_is_dropped() -> None:
    async def work() -> int:
        jobs = WorkList()
        jobs.offer(job("a"))
        taken = await jobs.take()
        jobs.park(taken, 60)
        jobs.done(taken)
        jobs.drop(lambda _: True)
        return len(jobs)

    assert run(work()) == 0


def test_a_job_that_is_withdrawn_is_forgotten_with_the_time_that_it_had_left() -> None:
    now = [100.0]
    work = WorkList(clock=lambda: now[0])
    job, other = Job("TaskRun", "ns", "a", "1"), Job("TaskRun", "ns", "b", "2")

    async def check() -> None:
        work.later(job, 5.0)
        work.later(other, 5.0)
        now[0] = 102.0
        assert work.withdraw(job) == 3.0
        assert work.withdraw(job) is None
        assert len(work) == 1
        work.offer(job)
        assert work.withdraw(job) is None, "it does not wait"
        assert len(work) == 1

    asyncio.run(check())


@pytest.mark.parametrize("make_loop", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_of_two_jobs_for_in_a_moment_the_one_that_is_due_first_comes_first(make_loop: Any) -> None:
    now = 100.0

    async def work() -> list[str]:
        nonlocal now
        jobs = WorkList(clock=lambda: now)
        taker = asyncio.create_task(jobs.take())
        await asyncio.sleep(0)
        jobs.later(job("a"), 0.0002)
        jobs.later(job("b"), 0.0001)
        now += 1.0
        return [(await taker).name, (await jobs.take()).name]

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(work()) == ["b", "a"]
