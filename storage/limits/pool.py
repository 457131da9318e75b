"""A budget of bytes for the whole process. A caller waits until others have released enough."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from types import TracebackType


class Hold:
    """A part of a :class:`Pool`, until it is released or garbage collected."""

    __slots__ = ("_pool", "size")

    def __init__(self, pool: Pool, size: int) -> None:
        self._pool, self.size = pool, size

    def release(self) -> None:
        """Return all of it. A second call does nothing."""
        size, self.size = self.size, 0
        if size:
            self._pool.give(size)

    def absorb(self, other: Hold) -> None:
        """Take over the bytes of another hold, which is then empty."""
        self.size, other.size = self.size + other.size, 0

    def shrink(self, size: int) -> None:
        """Return everything above ``size``."""
        more, self.size = max(0, self.size - size), min(self.size, size)
        if more:
            self._pool.give(more)

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


class Pool:
    """A budget of ``size`` bytes, first come, first served. Safe for threads and event loops."""

    def __init__(self, size: int) -> None:
        self.size = self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[Hold]]] = deque()
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """The bytes that are not held."""
        return self._free

    def take(self, size: int) -> Hold | None:
        """Return a hold of ``size`` bytes (at most the whole pool), or None if they are not free now."""
        size = min(size, self.size)
        with self._lock:
            # First come, first served: a small request must not overtake a large one that waits.
            if self._waiting or size > self._free:
                return None
            self._free -= size
        return Hold(self, size)

    async def hold(self, size: int) -> Hold:
        """Wait until :meth:`take` can return a hold."""
        now = self.take(size)
        if now is not None:
            return now
        turn: asyncio.Future[Hold] = asyncio.get_running_loop().create_future()
        entry = (min(size, self.size), turn)
        with self._lock:
            self._waiting.append(entry)
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            with self._lock:
                if entry in self._waiting:
                    self._waiting.remove(entry)
            # The hold was granted in the moment of the cancellation: return it.
            if turn.done() and not turn.cancelled():
                turn.result().release()
            self._hand_out()  # the next in the queue may need less than this one
            raise

    def give(self, size: int) -> None:
        """Return bytes that were held."""
        with self._lock:
            self._free += size
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free bytes to the callers that wait, in order."""
        while True:
            with self._lock:
                if not self._waiting or self._waiting[0][0] > self._free:
                    return
                size, turn = self._waiting.popleft()
                self._free -= size
            hold = Hold(self, size)
            try:
                # A future may be set only in the thread of its own event loop.
                turn.get_loop().call_soon_threadsafe(_grant, turn, hold)
            except RuntimeError:  # the event loop of the waiting caller was closed
                hold.release()


def _grant(turn: asyncio.Future[Hold], hold: Hold) -> None:
    if turn.done():
        hold.release()
    else:
        turn.set_result(hold)
