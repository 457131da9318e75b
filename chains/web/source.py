"""The one door to what pages and API show: the index, read-only, and raw evidence from its stores.

Queries run in a few threads. Everything that is read is read for a :class:`~chains.web.viewer.Viewer`, whose
namespaces narrow each statement in SQL.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, TypeVar

from chains.errors import ChainsError
from chains.index.database import Place
from chains.index.query.answer import PAGE, Answer, answered
from chains.index.query.parse import parse
from chains.index.query.reader import reading
from chains.index.query.scope import View, view_of
from chains.index.query.sql import Sql
from chains.index.query.terms import Query
from chains.web.raw import RawEvidence
from chains.web.viewer import Viewer
from storage.base import StoreOptions

T = TypeVar("T")
SECONDS: Final = 10.0
"""How long all statements of one page may take together."""
THREADS: Final = 4
WAITING: Final = 64
"""Requests that wait for a thread. More are refused at once."""
_FRESH: Final = 1.0
"""Seconds for which it is not looked again whether the index has changed."""


class TooBusy(ChainsError):  # noqa: N818 - the name says what is the matter
    """More requests wait than are taken."""


class Source:
    """An index and its stores. Close it at the end."""

    def __init__(
        self,
        place: Place,
        options: StoreOptions | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        threads: int = THREADS,
        waiting: int = WAITING,
    ) -> None:
        self.place = place
        self.clock = clock
        self.raw = RawEvidence(options or StoreOptions())
        self._threads = ThreadPoolExecutor(threads, "chains-web")
        self._most = threads + waiting
        self._busy = 0
        self._generation: tuple[float, str] = (-1e9, "")

    async def close(self) -> None:
        """Close the stores and end the threads."""
        await self.raw.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def read(self, viewer: Viewer, work: Callable[[View], T], seconds: float = SECONDS) -> T:
        """Run ``work`` on a snapshot of the index, of which it sees what the viewer may see.

        Raises :class:`TooBusy`, and what :func:`chains.index.query.reader.reading` raises.
        """

        def run() -> T:
            with reading(self.place, seconds) as reader:
                return work(view_of(reader, viewer.namespaces))

        return await self.aside(run)

    async def aside(self, work: Callable[[], T]) -> T:
        """Run ``work`` in one of the threads. Raises :class:`TooBusy`."""
        if self._busy >= self._most:
            raise TooBusy("too many requests wait for the index: try again in some seconds")
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._busy -= 1

    async def ask(self, viewer: Viewer, query: Query | str, *, limit: int = PAGE, cursor: str = "") -> Answer:
        """Return a page of what fits a query. Raises :class:`~chains.errors.UsageError` for a wrong one."""
        wanted = parse(query) if isinstance(query, str) else query
        now = self.clock()

        def work(view: View) -> Answer:
            return answered(
                self.place,
                view,
                wanted,
                now,
                limit=limit,
                cursor=cursor,
                namespaces=viewer.namespaces,
            )

        return await self.read(viewer, work)

    async def generation(self) -> str:
        """Return a text that changes when the index does. It is looked up at most once a second.

        For PostgreSQL it changes with each transaction of the server, so sometimes without need.
        """
        looked, known = self._generation
        if time.monotonic() - looked < _FRESH:
            return known
        found = await self.aside(self._look) if self.place.is_postgres else self._of_file()
        self._generation = (time.monotonic(), found)
        return found

    def _of_file(self) -> str:
        told = []
        for path in (self.place.path, f"{self.place.path}-wal"):
            try:
                state = os.stat(path)  # noqa: PTH116 - the fastest way, it is asked once a second
            except OSError:
                continue
            told.append(f"{state.st_ino}-{state.st_mtime_ns}-{state.st_size}")
        return "/".join(told)

    def _look(self) -> str:
        with reading(self.place, SECONDS) as reader:
            rows = reader.rows(Sql("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))
            return str(rows[0][0])
