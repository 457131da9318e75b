"""What the work on a run relies on: that this replica still has its share, and that what it uses stays
open."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from chains.errors import ChainsError

Permit = Callable[[], bool]
"""Returns whether evidence of the run may still be stored and the run still be marked."""


class PermitLost(ChainsError):  # noqa: N818 - what happened, and no error of the run
    """Another replica may work on the run by now: this one must not store or mark anything of it."""


class Uses:
    """Counts the users of something that is closed when the last one has finished."""

    def __init__(self) -> None:
        self._count, self._unused = 0, asyncio.Event()
        self._unused.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one more user for the length of the block."""
        self._count += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._unused.set()

    async def ended(self, seconds: float) -> None:
        """Wait until there are no users, for ``seconds`` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._unused.wait()


def share_of_uid(uid: str, count: int) -> int:
    """Return the share of a PipelineRun, or of a TaskRun without one."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8]) % count
