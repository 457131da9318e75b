"""Puts the parts of the ledger together, with its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from prometheus_client import Gauge

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
    _add_metrics(metrics, recorder, keeper)
    return keeper


def _add_metrics(metrics: Metrics, recorder: Recorder, keeper: Keeper) -> None:
    """Add the metrics of a ledger; their values are asked for when they are read."""

    def gauge(name: str, text: str) -> Gauge:
        return Gauge(f"chains_ledger_{name}", text, registry=metrics.registry)

    gauge("entries", "entries of the logs that this replica writes").set_function(
        lambda: sum(writer.size for writer in list(recorder.writers.values()))
    )
    gauge("open_runs", "runs that were seen and are not finished").set_function(
        lambda: sum(writer.opened for writer in list(recorder.writers.values()))
    )
    gauge("pending_runs", "finished runs of which the ledger does not say what became of them").set_function(
        lambda: sum(writer.pending for writer in list(recorder.writers.values()))
    )
    gauge("unwritable", "1 while the ledger cannot be written, so that no run is marked").set_function(
        lambda: bool(recorder.trouble)
    )
    gauge(
        "unsigned_seconds", "seconds since the end of the last day that is closed, 0 if none is"
    ).set_function(lambda: time.time() - keeper.closed_until.timestamp() if keeper.closed_until else 0.0)
