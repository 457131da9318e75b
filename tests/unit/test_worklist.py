import asyncio
from typing import Any

import pytest

from chains.worklist import BACKLOG, FRESH, LEAVING, Job, WorkList


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


def test_while_fresh_runs_come_little_of_the_backlog_is_in_work(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> list[str]:
        jobs, taken = WorkList(beside_fresh=2), list[str]()

        async def worker() -> None:
            while True:
                taken.append((await jobs.take()).name)

        for number in range(3):
            jobs.offer(job(f"old-{number}"), BACKLOG)
        jobs.offer(job("new-0"), FRESH)
        task = asyncio.create_task(worker())
        await asyncio.sleep(0.01)
        assert taken == ["new-0", "old-0", "old-1"]
        jobs.offer(job("new-1"), FRESH)
        await asyncio.sleep(0.01)
        assert taken[3:] == ["new-1"]
        jobs.done(job("old-0"))
        await asyncio.sleep(0.01)
        assert taken[4:] == ["old-2"]
        jobs.offer(job("old-3"), BACKLOG)
        await asyncio.sleep(0.01)
        assert taken[5:] == []
        monkeypatch.setattr("chains.worklist._LIVE_SECONDS", 0.0)
        jobs.offer(job("old-4"), BACKLOG)
        await asyncio.sleep(0.01)
        task.cancel()
        return taken[5:]

    assert run(work()) == ["old-3", "old-4"]


def test_without_fresh_runs_the_backlog_has_every_worker() -> None:
    async def work() -> int:
        jobs = WorkList(beside_fresh=1)
        for number in range(5):
            jobs.offer(job(f"old-{number}"), BACKLOG)
        return len([await jobs.take() for _ in range(5)])

    assert run(work()) == 5


def test_the_backlog_waits_for_the_end_of_a_list_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> list[str]:
        jobs, taken = WorkList(), list[str]()

        async def worker() -> None:
            while True:
                taken.append((await jobs.take()).name)

        task = asyncio.create_task(worker())
        jobs.listing()
        jobs.offer(job("old"), BACKLOG)
        jobs.offer(job("new"), FRESH)
        await asyncio.sleep(0.01)
        assert taken == ["new"]
        monkeypatch.setattr("chains.worklist._LONGEST_LISTING", 0.0)
        jobs.listing()
        jobs.offer(job("newer"), FRESH)
        await asyncio.sleep(0.01)
        task.cancel()
        return taken

    assert run(work()) == ["new", "newer", "old"]
