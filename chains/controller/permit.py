"""What work on a run stands on: that this replica may go on, and that what it uses stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from chains.errors import ChainsError

Permit = Callable[[], bool]
"""Says at any moment whether what was begun may still be stored and marked."""


class PermitLost(ChainsError):  # noqa: N818 - what happened, and no error of the run
    """Another replica may work on the run by now: nothing of it is to be stored or marked here."""


class Uses:
    """Counts who uses a thing that is to be closed after them."""

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
        """Wait until nobody uses it, for ``seconds`` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._unused.wait()
