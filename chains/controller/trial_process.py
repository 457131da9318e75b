"""The process in which suspects are tried: it reads runs from standard input and writes answers to standard
output.

It ends when the controller that started it ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from chains.attest.outcome import Outcome
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.cluster.errors import ClusterError
from chains.controller.crashes.trial import TrialOptions
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.remote import RemoteRecorder
from chains.controller.log_lines import log_as_json
from chains.controller.metrics import Metrics
from chains.controller.reconcile import Controller, HowToWork, SharedParts
from chains.controller.reload import Reloader
from chains.controller.work.worklist import WorkList
from chains.errors import ConfigError
from chains.tekton.runs import Job
from chains.tracing import run_traced

_ALIVE = 1.0
"""Seconds between two signs of life."""
_LATER = 30.0
_DIES_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of ``linux/prctl.h``."""


class _Counted(Metrics):
    """Records the outcomes, which the controller counts in its own metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[tuple[str, float | None]] = []

    def count(self, kind: str, namespace: str, outcome: Outcome, ended: float | None) -> None:
        del kind, namespace
        self.counted.append((outcome.state, ended))


class _Answers:
    """Writes one line after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, **fields: Any) -> None:
        """Write one answer. Ends the process if nobody reads it any more."""
        try:
            self._file.write(orjson.dumps(fields) + b"\n")
            self._file.flush()
        except OSError:
            os._exit(1)

    async def live(self, lines: asyncio.StreamReader) -> None:
        """Write a sign of life every second. Ends the process when standard input is closed."""
        while not lines.at_eof():
            self.write(alive=True)
            await asyncio.sleep(_ALIVE)
        os._exit(1)


async def work(options: TrialOptions, lines: asyncio.StreamReader, answers: _Answers) -> None:
    """Look at one run after the other, as the controller does, until standard input is closed."""
    async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
        reloader = Reloader(cluster, options.system_namespace, Path(options.key_folder))
        work_list, metrics = WorkList(), _Counted()
        controller = Controller(
            cluster,
            work_list,
            lambda: reloader.flow,
            metrics,
            HowToWork(retry_for=options.retry_for, tekton_namespace=options.tekton_namespace),
            SharedParts(ledger=_ledger_of(lines, answers)),
        )
        answers.write(ready=True)
        while line := await lines.readline():
            job = Job(*orjson.loads(line))
            metrics.counted.clear()
            try:
                await reloader.look()
                reloader.flow  # noqa: B018 - raises where there is none
            except (ClusterError, ConfigError):
                answers.write(again=_LATER, broke="", counted=[])
                continue
            broke = await controller.look_at(job)
            answers.write(again=work_list.withdraw(job), broke=broke[:300], counted=metrics.counted)


def _ledger_of(lines: asyncio.StreamReader, answers: _Answers) -> Ledger:
    """Return the ledger of the controller at the other end of the pipes, which writes nothing without one."""

    async def answer() -> str:
        (reason,) = orjson.loads(await lines.readline())
        return str(reason)

    def tell(line: bytes, wait: bool) -> None:
        answers.write(fact=orjson.Fragment(line), wait=wait)

    ledger = Ledger(RemoteRecorder(tell, answer))
    ledger.is_on = True
    return ledger


async def main(answers: _Answers) -> int:
    """Serve the controller at the other end of the pipes."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    living = asyncio.create_task(answers.live(lines))
    await work(TrialOptions(**orjson.loads(await lines.readline())), lines, answers)
    living.cancel()
    return 0


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, if the system can do it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    _end_with(int(sys.argv[1]))
    # what libraries print to standard output goes to the log instead of between the answers
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    log_as_json()
    sys.exit(run_traced(main(_Answers(output))))
