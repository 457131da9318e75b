"""The one door to what pages and API show: the index, read-only, and raw evidence from its stores.

Queries run in a few threads. Everything that is read is read for a :class:`~chains.web.viewer.Viewer`, whose
namespaces narrow each statement in SQL.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Final, TypeVar

from chains.errors import UsageError
from chains.index.database import Place
from chains.index.errors import IndexUnavailable
from chains.index.query.answer import PAGE, Answer, answered
from chains.index.query.parse import parse
from chains.index.query.reader import Reader, reading
from chains.index.query.scope import View, view_of
from chains.index.query.sql import Sql
from chains.index.query.terms import Query
from chains.web.raw import RawEvidence
from chains.web.shares import Shares
from chains.web.viewer import Viewer
from storage.base import StoreOptions
from storage.limits.single_flight import InFlight

T = TypeVar("T")
SECONDS: Final = 10.0
"""How long all statements of one page may take together."""
THREADS: Final = 4
WAITING: Final = 64
"""Requests that wait for a thread. More are refused at once."""
OF_VIEWER: Final = 16
"""Requests of one viewer that have a thread or wait for one."""
_PROBE_SECONDS: Final = 5.0
_FRESH: Final = 1.0
"""Seconds for which it is not looked again whether the index has changed."""


class Source:
    """An index and its stores. Close it at the end."""

    def __init__(
        self,
        place: Place,
        options: StoreOptions | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.place = place
        self.clock = clock
        self.raw = RawEvidence(options or StoreOptions())
        self._threads = ThreadPoolExecutor(THREADS, "chains-web")
        self._shares = Shares(THREADS, THREADS + WAITING, OF_VIEWER)
        # for what belongs to no viewer: each is done once at a time, so no burst of requests keeps it waiting
        self._apart = ThreadPoolExecutor(2, "chains-web-apart")
        self._running: InFlight[str, str] = InFlight()
        self._generation: tuple[float, str] = (-1e9, "")

    async def close(self) -> None:
        """Close the stores and end the threads."""
        await self.raw.close()
        for threads in (self._threads, self._apart):
            threads.shutdown(wait=False, cancel_futures=True)

    async def read(self, viewer: Viewer, work: Callable[[View], T], seconds: float = SECONDS) -> T:
        """Run ``work`` on a snapshot of the index, of which it sees what the viewer may see.

        Raises :class:`~chains.web.shares.TooBusy`, and what :func:`chains.index.query.reader.reading` raises.
        """

        def run() -> T:
            with _opened(self.place, seconds) as reader:
                return work(view_of(reader, viewer.namespaces))

        return await self.aside(viewer, run)

    async def aside(self, viewer: Viewer, work: Callable[[], T]) -> T:
        """Run ``work`` in one of the threads, for a viewer. Raises :class:`~chains.web.shares.TooBusy`."""
        async with self._shares.turn(viewer, "wait for the index"):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def check(self) -> None:
        """Read the index in a thread of its own, whatever else waits.

        Raises what :func:`chains.index.query.reader.reading` raises.
        """
        await self._once("check", self._touch)

    async def _once(self, name: str, work: Callable[[], str]) -> str:
        async def run() -> str:
            return await asyncio.get_running_loop().run_in_executor(self._apart, work)

        return await self._running.run(name, run)

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
        found = await self._once("generation", self._look) if self.place.is_postgres else self._of_file()
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

    def _touch(self) -> str:
        with _opened(self.place, _PROBE_SECONDS) as reader:
            reader.rows(Sql("SELECT 1 FROM store LIMIT 1"))
        return ""

    def _look(self) -> str:
        with _opened(self.place, SECONDS) as reader:
            rows = reader.rows(Sql("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))
            return str(rows[0][0])


@contextmanager
def _opened(place: Place, seconds: float) -> Iterator[Reader]:
    """Open a snapshot of an index. What is wrong with its URL is no mistake of who asks."""
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(reading(place, seconds))
        except UsageError as error:
            raise IndexUnavailable(str(error)) from error
        yield reader
