"""For whom requests are made: what is short, such as connections, is divided among them."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType

asker: ContextVar[str] = ContextVar("asker", default="")
"""Who asks, such as a namespace; empty where nobody else could be kept waiting."""


class Places:
    """So many at a time for each asker, without a limit for who asks for nobody. Use from one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used: dict[str, tuple[asyncio.Semaphore, list[int]]] = {}

    def place(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager that waits for one of the asker's places and holds it."""
        return _Place(self._used, self._most)


class _Place(AbstractAsyncContextManager[None]):
    __slots__ = ("_by", "_most", "_used")

    def __init__(self, used: dict[str, tuple[asyncio.Semaphore, list[int]]], most: int) -> None:
        self._used, self._most, self._by = used, most, asker.get()

    async def __aenter__(self) -> None:
        if not self._by:
            return
        found = self._used.get(self._by)
        if found is None:
            found = self._used[self._by] = asyncio.Semaphore(self._most), [0]
        found[1][0] += 1
        try:
            await found[0].acquire()
        except BaseException:
            self._less()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._by:
            self._used[self._by][0].release()
            self._less()

    def _less(self) -> None:
        users = self._used[self._by][1]
        users[0] -= 1
        if not users[0]:
            del self._used[self._by]
