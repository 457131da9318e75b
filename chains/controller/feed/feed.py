"""The queue of marked runs, and the process that adds their evidence to an index.

A run is dropped if too many wait, and counted. ``chains index update`` finds what was dropped, and what
waited when the controller was killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice
from typing import Any

import orjson

from chains.attest.outcome import Outcome
from chains.attest.stores import THERE
from chains.controller.flow import FlowInForce
from chains.controller.metrics import Metrics
from chains.tekton.runs import Job
from storage.child_process import ChildProcess, start_process

MOST_WAITING = 10_000
"""Runs that wait to be indexed. Further ones are dropped."""
MOST_COPIES = 50
"""Copies of a run's evidence that are named. It is found by the UID of the run as well."""
AT_ONCE = 200
"""Runs that are indexed in one transaction, at most."""
_GATHER = 1.0
"""Seconds between two transactions, in which runs gather."""
_ANSWERS_WITHIN = 300.0
"""Seconds in which the process answers. It tries a database that is away for a minute itself."""
_PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before runs are sent again."""
_QUIET = 600.0
"""Seconds for which the same trouble is not logged again."""
_DRAIN = 5.0
"""Seconds for which the end of the controller waits for the index."""
_LONGEST = 500
_log = logging.getLogger("chains.index-feed")
_Waiting = tuple[float, str, tuple[tuple[str, str], ...]]
"""When a run was marked, its UID, and its copies."""


class FeedError(Exception):
    """The process did not add the runs. The text says why."""


def start_feeder(url: str) -> Awaitable[ChildProcess]:
    """Start the process that writes the index at ``url``."""
    # arguments can be read by every process of the machine, and a URL may have a password
    environment = {**os.environ, "CHAINS_INDEX": url}
    # -P: modules in the working folder are not imported
    return start_process(sys.executable, "-P", "-m", "chains", "index", "feed", env=environment)


class Feed:
    """Names marked runs to the index of the configuration in force; to none without one."""

    def __init__(
        self,
        metrics: Metrics,
        start: Callable[[str], Awaitable[ChildProcess]] = start_feeder,
        *,
        most: int = MOST_WAITING,
    ) -> None:
        self._metrics, self._start, self._most = metrics, start, most
        self._waiting: deque[_Waiting] = deque()
        self._some = asyncio.Event()
        self._url = ""
        self._process: ChildProcess | None = None
        self._of = ""
        self._troubles = 0
        self._told: dict[str, float] = {}
        metrics.index_waiting.set_function(lambda: len(self._waiting))
        metrics.index_lag.set_function(lambda: time.time() - self._waiting[0][0] if self._waiting else 0.0)

    def take(self, flow: FlowInForce) -> None:
        """Follow a configuration that came into force."""
        self._url = flow.config.index_url
        if not self._url:
            self._waiting.clear()
        self._some.set()

    def offer(self, job: Job, outcome: Outcome) -> None:
        """Add a run that was marked. Never waits and never raises."""
        if not self._url:
            return
        if len(self._waiting) >= self._most:
            self._metrics.index_dropped.inc()
            self._tell("runs are not indexed: too many wait; chains index update finds them", "dropped")
            return
        copies = {(one.subject, one.detail): None for one in outcome.entries if one.state in THERE}
        if copies:
            self._waiting.append((time.time(), job.uid, tuple(islice(copies, MOST_COPIES))))
            self._some.set()

    async def run(self) -> None:
        """Add runs to the index until cancelled."""
        try:
            while True:
                if not (self._waiting and self._url):
                    self._some.clear()
                    await self._stop_old()
                    await self._some.wait()
                    continue
                await asyncio.sleep(_GATHER if await self._add() else _PAUSES[min(self._troubles, 4)])
        finally:
            await self._stop()

    async def _add(self) -> bool:
        """Add the runs that wait longest, and return whether that is done."""
        some = list(islice(self._waiting, AT_ONCE))
        try:
            answer = await self._ask(some)
        except FeedError as error:
            answer = {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - nothing here may end the controller
            await self._stop()
            answer = {"error": f"{type(error).__name__}: {error}"}
        if answer.get("busy"):
            self._troubles = min(self._troubles + 1, 1)
            return False
        if answer.get("fed") != len(some):
            self._metrics.index_errors.inc()
            self._troubles += 1
            reason = str(answer.get("error") or "the process wrote what is no answer")
            self._tell("runs cannot be added to the index; they wait", reason[:_LONGEST])
            return False
        for _ in range(min(len(some), len(self._waiting))):
            self._waiting.popleft()
        self._troubles = 0
        self._metrics.index_fed.inc(len(some))
        if not answer.get("pieces"):
            self._tell("the stores of the index have nothing of the runs that were marked", "nothing found")
        return True

    async def _ask(self, some: list[_Waiting]) -> dict[str, Any]:
        """Return the answer of the process. Raises :class:`FeedError`."""
        process = await self._started()
        runs = [{"uid": uid, "copies": copies} for _, uid, copies in some]
        process.write(orjson.dumps({"runs": runs}) + b"\n")
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                line = await process.stdout.readline()
        except TimeoutError:
            await self._stop()
            raise FeedError(f"the process did not answer for {_ANSWERS_WITHIN:g} s") from None
        if not line:
            code = await self._ended()
            raise FeedError(f"the process ended with code {code}; its log line says why")
        found = orjson.loads(line)
        return found if isinstance(found, dict) else {}

    async def _started(self) -> ChildProcess:
        if self._process is not None and self._of != self._url:
            await self._stop()
        if self._process is None:
            try:
                self._process, self._of = await self._start(self._url), self._url
            except OSError as error:
                raise FeedError(f"the process does not start: {error.strerror}") from error
        return self._process

    async def _ended(self) -> int | None:
        process = self._process
        await self._stop()
        return process.returncode if process is not None else None

    async def _stop_old(self) -> None:
        if self._of != self._url:
            await self._stop()

    async def _stop(self) -> None:
        process, self._process, self._of = self._process, None, ""
        if process is not None:
            await process.end()

    async def close(self) -> None:
        """Wait some seconds until nothing waits any more. Call it while :meth:`run` runs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                while self._waiting and self._url and not self._troubles:  # noqa: ASYNC110 - few seconds, once
                    await asyncio.sleep(0.05)

    def _tell(self, what: str, reason: str) -> None:
        now = time.monotonic()
        if now - self._told.get(reason, -_QUIET) >= _QUIET:
            if len(self._told) > 100:  # noqa: PLR2004 - reasons may have changing parts
                self._told.clear()
            self._told[reason] = now
            _log.warning(what, extra={"reason": reason, "count": len(self._waiting)})
