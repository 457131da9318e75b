from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from storage.limits.allowance import Allowance, current, within
from storage.limits.pool import Hold, Pool


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))  # type: ignore[arg-type]


def test_what_nobody_refers_to_any_more_is_given_back() -> None:
    pool = Pool(10)
    hold = pool.take(4)
    assert hold is not None
    assert pool.free == 6
    assert pool.take(7) is None
    del hold
    gc.collect()
    assert pool.free == 10


def test_a_hold_is_released_once_shrinks_and_absorbs() -> None:
    pool = Pool(10)
    with pool.take(4) or pytest.fail("there is room") as hold:
        other = pool.take(3)
        assert isinstance(other, Hold)
        hold.absorb(other)
        other.release()
        assert (hold.size, pool.free) == (7, 3)
        hold.shrink(9)
        hold.shrink(2)
        assert (hold.size, pool.free) == (2, 8)
    hold.release()
    assert pool.free == 10


def test_more_than_there_is_at_all_is_all_of_it() -> None:
    async def work() -> None:
        pool = Pool(10)
        hold = await pool.hold(1000)
        assert (hold.size, pool.free) == (10, 0)
        hold.release()
        assert pool.free == 10

    run(work)


def test_who_waits_gets_his_turn_first_come_first_served() -> None:
    async def work() -> None:
        pool, order = Pool(10), []

        async def one(name: str, size: int) -> None:
            with await pool.hold(size):
                order.append(name)

        first = pool.take(10)
        assert first is not None
        waiting = [asyncio.ensure_future(one(name, size)) for name, size in (("large", 9), ("small", 1))]
        await asyncio.sleep(0)
        first.shrink(8)
        await asyncio.sleep(0)
        assert order == [], "nobody overtakes"
        assert pool.take(1) is None, "nor does a newcomer"
        first.release()
        await asyncio.gather(*waiting)
        assert order == ["large", "small"]
        assert pool.free == 10

    run(work)


def test_who_gives_up_waiting_lets_the_next_one_in() -> None:
    async def work() -> None:
        pool = Pool(10)
        hold = pool.take(5)
        large = asyncio.ensure_future(pool.hold(9))
        small = asyncio.ensure_future(pool.hold(1))
        await asyncio.sleep(0)
        large.cancel()
        got = await small
        assert hold is not None
        assert pool.free == 4
        del hold, got, small
        await asyncio.gather(large, return_exceptions=True)
        gc.collect()
        assert pool.free == 10

    run(work)


def test_a_turn_that_came_with_the_cancellation_is_not_lost() -> None:
    async def work() -> None:
        pool = Pool(10)
        hold = pool.take(10)
        waiting = asyncio.ensure_future(pool.hold(10))
        await asyncio.sleep(0)
        assert hold is not None
        hold.release()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0)
        del waiting
        gc.collect()
        assert pool.free == 10

    run(work)


def test_equal_bytes_are_counted_and_kept_once() -> None:
    allowed = Allowance(10)
    one, other = bytes(bytearray(b"12345678")), bytes(bytearray(b"12345678"))
    assert allowed.take(8) == ""
    assert allowed.kept("d", one) is one
    assert allowed.take(8) == "not read: there are more than 10 bytes of evidence"
    assert allowed.is_exceeded
    allowed = Allowance(16)
    for data in (one, other, other):
        assert allowed.take(8) == ""
        assert allowed.kept("d", data) is one
    assert not allowed.is_exceeded
    assert allowed.take(9) != ""
    assert allowed.take(8) == ""


def test_a_piece_has_a_limit_of_its_own() -> None:
    allowed = Allowance(100, 10)
    assert allowed.take(11) == "not read: it has 11 bytes, at most 10 are read"
    assert allowed.is_exceeded


def test_of_what_nobody_wants_nothing_is_kept_and_nothing_is_left_out_for_it() -> None:
    allowed = Allowance(40, 10, lambda data: b"ours" in data)
    assert allowed.at_once == 4
    for _ in range(100):
        assert allowed.take(10) == ""
        assert allowed.kept("d", b"junk junk!") == b""
    assert allowed.take(10) == ""
    assert allowed.kept("e", b"it is ours") == b"it is ours"
    assert not allowed.is_exceeded


def test_what_is_asked_for_one_purpose_shares_its_allowance() -> None:
    async def work() -> None:
        mine = Allowance(5)
        with within(mine):
            found = await asyncio.gather(
                asyncio.to_thread(current), *(asyncio.ensure_future(_current()) for _ in range(2))
            )
        assert found == [mine] * 3
        assert current() is not mine
        assert current() is not current()

    run(work)


async def _current() -> Allowance:
    return current()
