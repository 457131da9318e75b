"""Suspects are runs that were in work when the process ended. They are tried last, one at a time, in another
process.

If such a run ends that process, the controller and all other runs go on. A run that ends it three times is
put aside. So is a run that ends the controller's process three times while it is being tried.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from chains.attest.outcome import Outcome, State
from chains.controller.crashes.journal import MOST_CRASHES, Journal
from chains.controller.metrics import Metrics
from chains.controller.permit import Permit
from chains.controller.work.worklist import FRESH, WorkList
from chains.tekton.runs import Job, label_of
from storage.child_process import ChildProcess, start_process

SILENT = 60.0
"""Seconds without any line from the process, not even a sign of life, after which it counts as hanging."""
STARTS_WITHIN = 60.0
"""Seconds in which a process has to be ready for a run. A sign of life does not prolong it."""
LONGEST = 60.0
"""Seconds for which a run is tried alone, at most. A run that lasts so long has done no harm."""
LAST = 30.0
"""Seconds for which a suspect waits for other runs, at most."""
_PAUSE, _LOOK = 5.0, 0.1
_log = logging.getLogger("chains.trial")


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """The options of the process, see ``chains controller --help``."""

    kubeconfig: str
    context: str
    system_namespace: str
    key_folder: str
    tekton_namespace: str
    retry_for: float


Note = Callable[[Job, bytes, bool], Awaitable[str]]
"""Writes what the process tells about a run to the ledger, and waits for the disk if the flag is set. Returns
why it could not be written, else nothing."""


async def _no_ledger(_job: Job, _line: bytes, _wait: bool) -> str:
    return ""


class NotStartedError(Exception):
    """The process ended, or hangs, before it got a run. That says nothing about any run."""


class EndedError(Exception):
    """The process ended, or hangs, while a run was tried."""


class Trial:
    """Tries suspects of the ``journal``. ``admit`` returns a permit for a run of this replica, None for
    others. ``note`` writes to the ledger of this process what the other one tells."""

    def __init__(
        self,
        journal: Journal,
        options: TrialOptions,
        work: WorkList,
        metrics: Metrics,
        admit: Callable[[Job], Permit | None],
        note: Note = _no_ledger,
    ) -> None:
        self.journal, self._note = journal, note
        self._options, self._work, self._metrics, self._admit = options, work, metrics, admit
        self._waiting: dict[Job, tuple[int, float]] = {}
        self._tries: dict[str, int] = {}
        """How often suspects of a namespace were tried: the namespace with the fewest tries is next."""
        self._marked: set[Job] = set()
        self._number = itertools.count()
        self._some = asyncio.Event()
        self._process: ChildProcess | None = None
        metrics.suspects.set_function(lambda: len(self._waiting))

    def line_up(self, job: Job) -> None:
        """Add a suspect, unless it waits already."""
        if job not in self._waiting:
            self._waiting[job] = next(self._number), time.monotonic()
            self._some.set()

    def has_marked(self, job: Job) -> bool:
        """Whether a run was marked by the process in which it was tried. True only once for each mark."""
        if job not in self._marked:
            return False
        self._marked.discard(job)
        return True

    async def run(self) -> None:
        """Try one suspect after the other until cancelled."""
        try:
            while True:
                await self._some.wait()
                await self._let_others_go_first()
                try:
                    await self._try(self._next())
                except NotStartedError as error:
                    _log.warning("the process for suspects does not start", extra={"reason": str(error)})
                    await asyncio.sleep(_PAUSE)
                if not self._waiting:
                    self._some.clear()
                    self._tries.clear()
                    await self._stop()
        finally:
            await self._stop()

    def _turn(self, job: Job) -> tuple[int, int, int]:
        known = self.journal.suspects.get(job.uid)
        crashes = known.crashes if known is not None else 0
        return crashes, self._tries.get(job.namespace, 0), self._waiting[job][0]

    def _next(self) -> Job:
        return min(self._waiting, key=self._turn)

    async def _let_others_go_first(self) -> None:
        """Wait until nothing else is in work, and no suspect is expected that ended the process less often.

        Otherwise the suspect that is listed first after each start would always be tried first, and would be
        put aside even if another run ends the process.
        """
        until = self._waiting[self._next()][1] + LAST
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._work.idle()
                while self._expects_a_better_one():  # noqa: ASYNC110 - nobody tells which ones are gone
                    await asyncio.sleep(_LOOK)

    def _expects_a_better_one(self) -> bool:
        crashes = self._turn(self._next())[0]
        here = {job.uid for job in self._waiting}
        return any(
            each.crashes < crashes and not each.is_free and uid not in here
            for uid, each in self.journal.suspects.items()
        )

    async def _try(self, job: Job) -> None:
        permit = self._admit(job)
        if permit is None or not self.journal.is_apart(job):
            del self._waiting[job]
            return
        self._tries[job.namespace] = self._tries.get(job.namespace, 0) + 1
        process = await self._start()
        try:
            with self.journal.alone(job):
                answer = await self._ask(process, job, permit)
        except EndedError as error:
            await self._stop()
            self._count_crash(job, str(error))
            return
        del self._waiting[job]
        if answer is None:
            await self._stop()
        else:
            self._take_over(job, answer)

    def _count_crash(self, job: Job, reason: str) -> None:
        crashes = self.journal.crashed(job, reason)
        extra = {"run": label_of(job), "reason": reason, "count": crashes}
        _log.error("a run ended the process in which it was tried alone", extra=extra)
        if crashes >= MOST_CRASHES:
            del self._waiting[job]
            self._work.offer(job, FRESH)  # the controller marks it as put aside

    def _take_over(self, job: Job, answer: dict[str, Any]) -> None:
        """Count and schedule a run as the process answered."""
        for state, ended in answer["counted"]:
            self._metrics.count(job.kind, job.namespace, Outcome(label_of(job), job.uid, State(state)), ended)
        if answer["broke"]:
            self.journal.crashed(job, answer["broke"])
        elif answer["again"] is None:
            self.journal.settled(job)
            self._marked.add(job)
        else:
            self.journal.survived(job)
        _log.info("a suspect was tried alone", extra={"run": label_of(job), "again": answer["again"]})
        self._work.later(job, answer["again"] or 0.0)

    async def _ask(self, process: ChildProcess, job: Job, permit: Permit) -> dict[str, Any] | None:
        """Return the process's answer about a run; None if it took too long, or belongs to another replica
        now."""
        begun = time.monotonic()
        process.write(orjson.dumps([job.kind, job.namespace, job.name, job.uid, job.owner]) + b"\n")
        while time.monotonic() < begun + LONGEST:
            answer = await self._answer(process)
            if "again" in answer:
                return answer
            if not permit():
                return None
            if "fact" in answer:
                # nothing is marked before the ledger has it: the process waits for this answer
                line, wait = orjson.dumps(answer["fact"], option=orjson.OPT_SORT_KEYS), bool(answer["wait"])
                reason = await self._note(job, line, wait)
                if wait:
                    process.write(orjson.dumps([reason]) + b"\n")
        self.journal.survived(job)
        self._work.later(job, LAST)
        return None

    async def _start(self) -> ChildProcess:
        """Return a process that is ready for a run. Raises :class:`NotStartedError`."""
        if self._process is not None:
            return self._process
        try:
            async with asyncio.timeout(STARTS_WITHIN):
                # -P: modules in the working folder are not imported
                process = self._process = await start_process(
                    sys.executable, "-P", "-m", "chains.controller.trial_process", str(os.getpid())
                )
                process.write(orjson.dumps(asdict(self._options)) + b"\n")
                while "ready" not in await self._answer(process):
                    pass
        except TimeoutError:
            reason = f"it was not ready after {STARTS_WITHIN:g} s"
        except (OSError, EndedError) as error:
            reason = str(error)
        else:
            return process
        await self._stop()
        raise NotStartedError(reason)

    async def _answer(self, process: ChildProcess) -> dict[str, Any]:
        """Return the next line that the process writes. Raises :class:`EndedError`."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(SILENT):
                line = await process.stdout.readline()
                ended = None if line else await process.wait()
        except TimeoutError:
            raise EndedError(f"it said nothing for {SILENT:g} s") from None
        except ValueError:  # a line that is too long
            raise EndedError("it wrote what is no answer") from None
        if ended is not None:
            raise EndedError(_described(ended))
        try:
            found = orjson.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EndedError("it wrote what is no answer")
        return found

    async def _stop(self) -> None:
        if self._process is not None:
            await self._process.end()
            self._process = None  # not before: if this is cancelled, the next call ends the process


def _described(code: int) -> str:
    if code >= 0:
        return f"the process ended with code {code}"
    try:
        return f"the process was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"the process was ended by signal {-code}"
