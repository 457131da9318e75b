"""Work of which only so much is done at a time, and a part of it for each viewer: no burst refuses others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chains.errors import ChainsError
from chains.web.viewer import LOCAL, Viewer


class TooBusy(ChainsError):  # noqa: N818 - the name says what is the matter
    """More requests wait than are taken."""


@dataclass(slots=True)
class _Own:
    """What one viewer has under way, and the turns that they may have at the same time."""

    turns: asyncio.Semaphore
    busy: int = 0


class Shares:
    """Places for work. Use from one event loop.

    ``at_once`` are worked at the same time, half of them for one viewer. ``most`` are worked or wait, and
    ``of_viewer`` of one viewer. The user of this machine is the only one, and has all of them.
    """

    def __init__(self, at_once: int, most: int, of_viewer: int) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._at_once, self._most, self._of_viewer = at_once, most, of_viewer
        self._busy = 0
        self._viewers: dict[str, _Own] = {}

    @asynccontextmanager
    async def turn(self, viewer: Viewer, what: str) -> AsyncIterator[None]:
        """Wait for a turn and have it. ``what`` says in the error what too many requests do.

        Raises :class:`TooBusy`.
        """
        if self._busy >= self._most:
            raise TooBusy(f"too many requests {what}: try again in some seconds")
        self._busy += 1
        try:
            async with self._own(viewer, what), self._turns:
                yield
        finally:
            self._busy -= 1

    @asynccontextmanager
    async def _own(self, viewer: Viewer, what: str) -> AsyncIterator[None]:
        if viewer is LOCAL:
            yield
            return
        own = self._viewers.setdefault(viewer.name, _Own(asyncio.Semaphore(max(1, self._at_once // 2))))
        if own.busy >= self._of_viewer:
            raise TooBusy(f"too many of your requests {what}: wait for their answers")
        own.busy += 1
        try:
            async with own.turns:
                yield
        finally:
            own.busy -= 1
            if not own.busy:
                del self._viewers[viewer.name]
