"""Puts the parts of the ledger together, with its metrics."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from chains.audit.ledger.errors import LedgerMissing
from chains.audit.ledger.folder import LogFolder, find_logs
from chains.audit.ledger.succession import BACKFILL
from chains.audit.ledger.writer import LogWriter, now
from chains.controller.flow import FlowInForce
from chains.controller.ledger.keeper import Keeper, preface
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.recorder import Place, Recorder
from chains.controller.metrics import Metrics
from chains.errors import ConfigError
from chains.tekton.runs import Job


def begin_ledger(
    share_of: Callable[[Job], int], held: Callable[[], Sequence[int]], count: int, metrics: Metrics
) -> Keeper:
    """Return what keeps the ledger of a replica, which writes nothing until a configuration has a ledger.

    ``share_of`` returns the share of a run, ``held`` the shares of this replica, of ``count``.
    """
    recorder = Recorder()
    keeper = Keeper(Ledger(recorder, share_of, held), recorder, held, count)
    _add_metrics(metrics, recorder, keeper, count)
    return keeper


@asynccontextmanager
async def ledger_of_backfill(flow: FlowInForce, index: int, count: int) -> AsyncIterator[Ledger]:
    """Give a command that marks runs a log of its own in the ledger; without a configured ledger none.

    The controller ends that log and closes its days. Raises :class:`ConfigError` if the folder does not have
    the ledger: nothing may be marked that it does not say.
    """
    parts = flow.ledger
    if parts is None:
        yield Ledger()
        return
    settings = parts.settings
    folder = Path(settings.folder)
    if not any(log.origin().startswith(f"{settings.origin}/") for log in _logs_in(folder)):
        raise ConfigError(
            f"ledger.folder: {folder} has no log of {settings.origin}, so nothing may be marked here: mount "
            "the volume of the controller's ledger there, and let the controller begin it"
        )
    name = f"{BACKFILL}{now():%Y%m%dT%H%M%SZ}-{index}-of-{count}"
    recorder = Recorder()
    recorder.move(Place(folder, settings.origin, 1, name=name), preface(flow, parts, (), now()))
    ledger = Ledger(recorder, lambda _: 0, lambda: (0,))
    ledger.is_on = True
    try:
        yield ledger
    finally:
        await recorder.close()


def _logs_in(folder: Path) -> Sequence[LogFolder]:
    try:
        return find_logs(folder)
    except LedgerMissing:
        return ()


def _add_metrics(metrics: Metrics, recorder: Recorder, keeper: Keeper, count: int) -> None:
    """Let the metrics of a ledger be asked for when they are read."""

    def total(value: Callable[[LogWriter], int]) -> Callable[[], float]:
        return lambda: sum(map(value, list(recorder.writers.values())))

    metrics.ledger_entries.set_function(total(lambda writer: writer.size))
    metrics.ledger_open.set_function(total(lambda writer: writer.opened))
    metrics.ledger_pending.set_function(total(lambda writer: writer.pending))
    metrics.ledger_unwritable.set_function(lambda: bool(recorder.trouble))
    metrics.ledger_forks.set_function(lambda: len(keeper.forks))
    for share in range(count):
        metrics.ledger_share_unwritable.labels(str(share)).set_function(
            partial(lambda share: float(share in recorder.troubles), share)
        )
    metrics.ledger_unsigned.set_function(
        lambda: time.time() - keeper.closed_until.timestamp() if keeper.closed_until else 0.0
    )
