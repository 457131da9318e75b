"""The number of workers follows the registries' distance, and never takes memory or a busy processor for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import click
import pytest

from chains.cli.cluster import controller
from chains.controller.work.crew import FEWEST, MOST, MOST_RESIDENT, Crew, Growth, Seen, part_of, resident
from chains.controller.work.worklist import BACKLOG, FRESH, SLOW, WorkList
from chains.tekton.runs import Job
from storage.limits.distance import Distance, HostTimes

FAR = Seen(ended=30, wanted=True, busy=0.2, late=0.001, stretch=1.1, resident=100 << 20)
"""Runs wait for workers, those for a far registry, and the processor for all of them."""


def test_far_registries_get_a_bigger_crew_up_to_the_most() -> None:
    growth = Growth(FEWEST, MOST)
    assert [growth.look(FAR) for _ in range(5)] == [128, 256, 512, 512, 512]


@pytest.mark.parametrize(
    "seen",
    [
        replace(FAR, ended=0),
        replace(FAR, busy=0.8),
        replace(FAR, late=0.03),
        replace(FAR, stretch=2.5),
    ],
    ids=["nothing ends", "the processor is busy", "the loop is late", "a queue, not a distance"],
)
def test_what_more_workers_would_not_help_leaves_the_crew_as_it_is(seen: Seen) -> None:
    growth = Growth(64, 512)
    growth.look(FAR)
    assert growth.look(seen) == 128


@pytest.mark.parametrize(
    ("seen", "number"),
    [
        (replace(FAR, resident=MOST_RESIDENT + 1), 112),
        (replace(FAR, stretch=5.0), 112),
        (replace(FAR, wanted=False), 120),
    ],
    ids=["memory is short", "the registry is crowded", "nobody waits"],
)
def test_the_crew_shrinks_and_never_below_where_it_began(seen: Seen, number: int) -> None:
    growth = Growth(64, 512)
    growth.look(FAR)
    assert growth.look(seen) == number
    for _ in range(20):
        growth.look(seen)
    assert growth.number == 64


def test_a_number_that_somebody_gave_stays() -> None:
    growth = Growth(7, 7)
    assert growth.look(FAR) == 7
    crew = Crew(growth, Distance(), lambda: True, lambda _: pytest.fail("it was resized"))
    asyncio.run(asyncio.wait_for(crew.run(), 30))  # there is nothing to look after


def test_the_crew_says_how_many_are_wanted_while_runs_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def far(_: Crew) -> Seen:
        await asyncio.sleep(0)
        return FAR

    async def work() -> list[int]:
        wanted: list[int] = []
        twice = asyncio.Event()

        def resize(workers: int) -> None:
            wanted.append(workers)
            if len(wanted) == 2:
                twice.set()

        looking = asyncio.create_task(Crew(Growth(2, 8), Distance(), lambda: True, resize).run())
        await twice.wait()
        looking.cancel()
        return wanted

    monkeypatch.setattr(Crew, "_watch", far)
    assert asyncio.run(work()) == [4, 8]


def test_what_is_seen_is_what_ended_and_how_long_answers_took_meanwhile() -> None:
    async def work() -> Seen:
        distance, times = Distance(), HostTimes()
        distance.note(times, "GET", 0.1, 0.0)
        crew = Crew(Growth(2, 8), distance, lambda: True, resize=lambda _: None)
        crew.ended()  # before: it does not count
        watching = asyncio.create_task(crew._watch())
        await asyncio.sleep(0)
        for _ in range(3):
            crew.ended()
        distance.note(times, "GET", 0.3, 0.1)
        return await watching

    seen = asyncio.run(work())
    assert (seen.ended, seen.wanted, seen.stretch) == (3, True, pytest.approx(3.0))


def test_memory_is_that_of_this_process() -> None:
    assert resident() > 10 << 20


def test_a_quarter_of_the_workers_and_one_at_least_is_a_part() -> None:
    assert [part_of(each) for each in (1, 4, 64, 512)] == [1, 1, 16, 128]


def test_the_help_says_the_numbers_in_force() -> None:
    text = controller.get_help(click.Context(controller, info_name="chains controller"))
    assert f"default: {FEWEST}, and up to {MOST} while" in " ".join(text.split())


def job(number: int) -> Job:
    return Job("TaskRun", "team", f"run-{number}", f"uid-{number}")


def test_the_work_list_is_short_of_workers_only_for_what_may_be_begun() -> None:
    async def work() -> None:
        work = WorkList(backlog_workers=1)
        assert not work.is_short
        work.offer(job(1), FRESH)
        assert work.is_short
        assert await work.take() == job(1)
        work.offer(job(2), BACKLOG)
        assert work.is_short  # one of the backlog may be in work beside fresh ones
        assert await work.take() == job(2)
        work.offer(job(3), BACKLOG)
        assert not work.is_short  # and no second one
        work.offer(job(4), SLOW)
        assert not work.is_short
        work.resize(8, backlog_workers=2, slow=2)
        assert work.is_short
        taking = asyncio.create_task(work.take())
        assert await taking == job(4)  # slow ones go before the backlog
        assert await work.take() == job(3)
        taking = asyncio.create_task(work.take())
        await asyncio.sleep(0)
        assert not work.is_short  # somebody is free
        taking.cancel()

    asyncio.run(work())
