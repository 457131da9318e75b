"""Large answers of the API server: few are read at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from chains.cluster.paging import SMALL_BYTES, read_some


class Answer:
    """An answer that comes in parts; ``asked`` counts those that were asked for."""

    def __init__(self, *sizes: int) -> None:
        self.sizes, self.asked, self.may_end = sizes, 0, asyncio.Event()
        self.content, self.is_closed = self, False

    async def iter_any(self) -> AsyncIterator[bytes]:
        for size in self.sizes:
            self.asked += 1
            yield b"x" * size
        self.asked += 1
        await self.may_end.wait()

    def close(self) -> None:
        self.is_closed = True


def start(answer: Any, places: asyncio.Semaphore, limit: int = 8 * SMALL_BYTES) -> asyncio.Task[bytes | None]:
    return asyncio.create_task(read_some(answer, limit, places))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_large_answer_is_read_on_when_one_before_it_was_read() -> None:
    async def work() -> None:
        places = asyncio.Semaphore(2)
        answers = [Answer(SMALL_BYTES, 1, 1) for _ in range(3)]
        tasks = [start(answer, places) for answer in answers]
        await settle()
        assert [answer.asked for answer in answers] == [4, 4, 2]
        answers[1].may_end.set()
        await settle()
        assert tasks[1].done()
        assert answers[2].asked == 4
        for answer in answers:
            answer.may_end.set()
        assert [len(found or b"") for found in await asyncio.gather(*tasks)] == [SMALL_BYTES + 2] * 3

    asyncio.run(work())


def test_a_small_answer_waits_for_no_large_one() -> None:
    async def work() -> None:
        places = asyncio.Semaphore(1)
        large, small = Answer(SMALL_BYTES + 1), Answer(SMALL_BYTES - 1, 1)
        task = start(large, places)
        await settle()
        small.may_end.set()
        assert await start(small, places) == b"x" * SMALL_BYTES
        assert not task.done()
        large.may_end.set()
        await task

    asyncio.run(work())


def test_an_answer_that_is_too_long_or_given_up_leaves_its_place() -> None:
    async def work() -> None:
        places = asyncio.Semaphore(1)
        long = Answer(SMALL_BYTES + 1, SMALL_BYTES)
        assert await start(long, places, limit=2 * SMALL_BYTES) is None
        assert long.is_closed
        given_up = start(Answer(SMALL_BYTES + 1), places)
        await settle()
        assert places.locked()
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert not places.locked()

    asyncio.run(work())
