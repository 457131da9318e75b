"""How many requests are under way to a registry follows how far it is."""

from __future__ import annotations

import asyncio

import pytest

from storage.limits.distance import Distance, HostTimes
from storage.limits.window import FEWEST, MOST, Window


class Clock:
    """Gives the windows of a test their time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("storage.limits.window.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def rounds(window: Window, clock: Clock, seconds: float, count: int = 1, *, short: bool = True) -> int:
    """Let as many requests as there are places be answered after ``seconds``; return the size afterwards."""
    for _ in range(count):
        size = window.size
        entered = [await window.enter() for _ in range(size)]
        late = asyncio.ensure_future(window.enter()) if short else None
        await asyncio.sleep(0)
        clock.now += seconds
        for each in entered:
            window.leave("GET", each)
        if late is not None:
            last = await late
            clock.now += seconds
            window.leave("GET", last)
    return window.size


def test_a_far_registry_gets_more_requests_at_a_time_up_to_the_most(clock: Clock) -> None:
    async def work() -> None:
        window = Window()
        assert window.size == FEWEST
        assert await rounds(window, clock, 0.1, 6) == MOST

    asyncio.run(work())


def test_no_more_are_asked_where_nobody_waits(clock: Clock) -> None:
    async def work() -> None:
        assert await rounds(Window(), clock, 0.1, 6, short=False) == FEWEST

    asyncio.run(work())


def test_a_registry_that_gets_slower_with_the_requests_gets_fewer(clock: Clock) -> None:
    async def work() -> None:
        window = Window()
        assert await rounds(window, clock, 0.01, 4) == MOST
        smaller = await rounds(window, clock, 0.06, 4)
        assert FEWEST <= smaller < MOST
        assert await rounds(window, clock, 0.06, 20) == FEWEST

    asyncio.run(work())


def test_one_that_gives_no_answer_gets_half_and_never_less_than_at_first(clock: Clock) -> None:
    async def work() -> None:
        window = Window()
        await rounds(window, clock, 0.1, 6)
        window.halve()
        assert window.size == MOST // 2
        window.halve()
        window.halve()
        assert window.size == FEWEST

    asyncio.run(work())


def test_never_more_are_under_way_than_there_are_places(clock: Clock) -> None:
    async def work() -> None:
        window = Window(2, 8)
        assert await rounds(window, clock, 0.1, 4) == 8
        held = [await window.enter() for _ in range(8)]
        clock.now += 0.3  # neither as fast as at its best nor crowded: nothing but us changes the size
        window.halve()
        window.halve()
        assert window.size == 2
        waiting = [asyncio.ensure_future(window.enter()) for _ in range(3)]
        for each in held[:6]:  # these places are not there any more
            window.leave("GET", each)
        await asyncio.sleep(0)
        assert [each.done() for each in waiting] == [False, False, False]
        for each in held[6:]:
            window.leave("GET", each)
        await asyncio.sleep(0)
        assert [each.done() for each in waiting] == [True, True, False]

    asyncio.run(work())


def test_what_ended_before_anybody_was_asked_says_nothing_of_the_distance(clock: Clock) -> None:
    async def work() -> None:
        window = Window()
        for _ in range(3 * FEWEST):  # the registry was away, and refused every connection at once
            window.leave("GET", await window.enter(), answered=False)
        assert await rounds(window, clock, 0.1, 6) == MOST

    asyncio.run(work())


def test_a_shortest_time_is_of_its_kind_and_forgotten_after_a_while() -> None:
    times, distance = HostTimes(), Distance()
    distance.note(times, "HEAD", 0.01, 0.0)
    distance.note(times, "PUT", 0.2, 1.0)
    assert distance.stretch == 1.0
    distance.note(times, "HEAD", 0.02, 2.0)
    assert distance.stretch == pytest.approx(0.23 / 0.22)
    late = Distance()
    late.note(times, "HEAD", 0.1, 700.0)  # the host may have moved away: the shortest is remembered once more
    assert late.stretch == pytest.approx(10.0)
    late = Distance()
    late.note(times, "HEAD", 0.1, 1400.0)
    assert late.stretch == 1.0


def test_times_too_short_to_be_told_from_noise_count_as_equal() -> None:
    times, distance = HostTimes(), Distance()
    for seconds in (0.0001, 0.0009):
        distance.note(times, "GET", seconds, 0.0)
    assert distance.stretch == 1.0
    assert Distance().stretch == 1.0
