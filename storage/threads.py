"""Runs calls of blocking client libraries in a bounded thread pool and maps their exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from storage.errors import StoreError

THREADS = 16
"""The number of threads of one store."""
T = TypeVar("T")


class Blocking:
    """Runs blocking calls. ``explain`` turns an exception and the action into a :class:`StoreError`."""

    def __init__(self, name: str, explain: Callable[[Exception, str], StoreError]) -> None:
        self._name, self._explain = name, explain
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, action: str, work: Callable[[], T]) -> T:
        """Return the result of ``work``. Raises only :class:`StoreError`."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=self._name)

        def told() -> T:
            try:
                return work()
            except StoreError:
                raise
            except Exception as exc:  # noqa: BLE001 - libraries also raise what their own libraries raise
                # Without the cause: messages of libraries can contain credentials.
                raise self._explain(exc, action) from None

        return await asyncio.get_running_loop().run_in_executor(self._pool, told)

    async def close(self) -> None:
        """Release the threads. A later call starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)
