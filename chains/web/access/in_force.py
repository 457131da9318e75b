"""The access file in force: read again when it changes, so that what is withdrawn counts no more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from chains.errors import ConfigError, InputError
from chains.text import told
from chains.web.access.reading import read_access
from chains.web.access.settings import Access

INTERVAL: Final = 2.0
"""Seconds between two looks at the file."""
_log = logging.getLogger("chains.web")


class AccessInForce:
    """The newest access file that is good; ``path`` None: it never changes. Use from one event loop.

    Grants, tokens and the proxy change at once. How people log in, sessions and limits are those of the
    start: if they change, the file is refused as one that is wrong is, and the last good one stays in force.
    """

    def __init__(
        self, access: Access, path: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.current = access
        self.refused = ""
        """Why the newest file is not in force, empty if it is."""
        self._path, self._clock = path, clock
        self._seen = _state(path)
        self._next = clock() + INTERVAL

    async def look(self) -> None:
        """Look at most every :data:`INTERVAL` seconds, and use a changed file if it is good. Never raises."""
        now = self._clock()
        if self._path is None or now < self._next:
            return
        self._next = now + INTERVAL
        state = await asyncio.to_thread(_state, self._path)
        if state == self._seen:
            return
        self._seen = state
        try:
            found = await asyncio.to_thread(read_access, self._path)
        except (ConfigError, InputError) as error:
            self._refuse("; ".join(error.lines))
            return
        if _of_start(found) != _of_start(self.current):
            self._refuse("oidc, session, sessionKeyFile or rateLimit changed: start chains web again")
            return
        self.current, self.refused = found, ""
        _log.info("a changed access file is in force")

    def _refuse(self, why: str) -> None:
        self.refused = told(why)
        _log.error(
            "the changed access file is refused; the last good one is used", extra={"reason": self.refused}
        )


def _of_start(access: Access) -> Access:
    return replace(access, proxy=None, tokens=(), grants=())


def _state(path: Path | None) -> tuple[int, ...] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size) if found is not None else None
