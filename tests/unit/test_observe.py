"""How kopf's tasks are ended, kopf's own faults included."""

from __future__ import annotations

import asyncio

import pytest

from chains.observe import run_to_the_end


class BrokenError(Exception):
    """What the first task ends with."""


async def breaks() -> None:
    raise BrokenError


async def takes_cancellations(count: int, ended: list[str]) -> None:
    """Go on after as many cancellations, as a watch of kopf does that was just opening its request."""
    for _ in range(count):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("ended")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_task_that_takes_a_cancellation_for_its_own_is_cancelled_again(count: int) -> None:
    ended: list[str] = []

    async def run() -> None:
        tasks = [asyncio.create_task(takes_cancellations(count, ended)), asyncio.create_task(breaks())]
        await run_to_the_end(tasks, patience=0.01)

    with pytest.raises(BrokenError):
        asyncio.run(run())
    assert ended == ["ended"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_so_it_is_when_the_whole_process_ends(count: int) -> None:
    ended: list[str] = []

    async def run() -> None:
        tasks = [asyncio.create_task(takes_cancellations(count, ended))]
        whole = asyncio.create_task(run_to_the_end(tasks, patience=0.01))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        whole.cancel()
        await whole

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert ended == ["ended"]
