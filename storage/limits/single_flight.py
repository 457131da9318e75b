"""One piece of work for everybody who asks for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class InFlight(Generic[K, V]):
    """Runs a coroutine once per key however many wait for it; nothing is remembered after it ended."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """Return what ``work()`` returns, joining a run for ``key`` that is under way.

        A waiter that is cancelled does not take the work away from the others.
        """
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.ensure_future(_await(work))
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def _ended(self, key: K, task: asyncio.Task[V]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen by every waiter; with none left it is nobody's


async def _await(work: Callable[[], Awaitable[V]]) -> V:
    return await work()
