"""Calls of a blocking client library from a bounded pool of threads, its errors in the words of the port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from storage.errors import StoreError

THREADS = 16
T = TypeVar("T")


class Blocking:
    """Runs what would hold the event loop up; ``explain`` gets what was raised and the action."""

    def __init__(self, name: str, explain: Callable[[Exception, str], StoreError]) -> None:
        self._name, self._explain = name, explain
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, action: str, work: Callable[[], T]) -> T:
        """Return what ``work`` returns. Raises :class:`StoreError` alone."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=self._name)

        def told() -> T:
            try:
                return work()
            except StoreError:
                raise
            except Exception as exc:  # noqa: BLE001 - client libraries raise what their libraries do
                raise self._explain(exc, action) from None

        return await asyncio.get_running_loop().run_in_executor(self._pool, told)

    async def close(self) -> None:
        """Release the threads; a later call starts them again."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)
