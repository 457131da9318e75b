"""On whose behalf requests are made. Scarce resources such as connections are divided among these askers."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType

asker: ContextVar[str] = ContextVar("asker", default="")
"""The asker, such as a namespace; empty if no other asker could be delayed."""


class Places:
    """A number of places per asker; unlimited for the empty asker. Use from one event loop."""

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
        entry = self._used.get(self._by)
        if entry is None:
            entry = self._used[self._by] = asyncio.Semaphore(self._most), [0]
        # Counted before waiting, so that the entry of an asker is not removed while a request waits.
        entry[1][0] += 1
        try:
            await entry[0].acquire()
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
        """Count one user less, and forget an asker without users."""
        users = self._used[self._by][1]
        users[0] -= 1
        if not users[0]:
            del self._used[self._by]
