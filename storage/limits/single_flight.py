"""Shares one piece of work among all callers who ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class InFlight(Generic[K, V]):
    """Runs a coroutine once per key, however many callers wait for it. Results are not remembered."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """Return the result of ``work()``, or of the run for ``key`` that is under way.

        Cancelling one caller does not cancel the work for the others.
        """
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.ensure_future(_await(work))
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        # Shielded: the cancellation of one caller must not cancel the shared task.
        return await asyncio.shield(task)

    def _ended(self, key: K, task: asyncio.Task[V]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            task.exception()  # mark as retrieved: every waiting caller may have been cancelled


async def _await(work: Callable[[], Awaitable[V]]) -> V:
    return await work()
