"""Puts the parts of the ledger together, with its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from chains.audit.ledger.writer import LogWriter
from chains.controller.ledger.keeper import Keeper
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.recorder import Recorder
from chains.controller.metrics import Metrics
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
