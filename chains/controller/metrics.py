"""The controller's metrics, under the names of Tekton Chains if it has the same metric.

Those keep Chains' labels. Our own names begin with ``chains_`` and have a label for the namespace.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from chains.attest.outcome import FAILED, SIGNED, Outcome
from chains.attest.stores import THERE, Entry, EntryState
from chains.text import plain

_KINDS = ("taskrun", "pipelinerun")
_PEER = {
    "sign_created": "signed messages",
    "payload_uploaded": "payloads in the transparency log",
    "payload_stored": "payloads stored",
    "marked_signed": "runs marked as signed",
}
MOST_NAMESPACES = 200
"""Namespaces with series of their own. Later ones share the label :data:`OTHERS`, so that series stay
bounded."""
OTHERS = "_others"
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600)


class Metrics:
    """One set of metrics. Gauges such as ``backlog`` are set by the health port when it is read."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._peer = {
            (kind, name): Counter(f"watcher_{kind}_{name}", f"{text} ({kind})", registry=self.registry)
            for kind in _KINDS
            for name, text in _PEER.items()
        }
        self._failures = {
            kind: Counter(
                f"watcher_{kind}_signing_failures",
                f"failures ({kind})",
                ["error_type"],
                registry=self.registry,
            )
            for kind in _KINDS
        }
        self._outcomes = Counter(
            "chains_runs",
            "runs that reached a final state",
            ["namespace", "kind", "state"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "chains_completion_to_mark_seconds",
            "seconds from a run's end to its mark",
            ["namespace", "kind"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._store_errors = Counter(
            "chains_store_errors",
            "payloads that a store refused, at every attempt",
            ["namespace", "store"],
            registry=self.registry,
        )
        self.retries = Counter("chains_retries", "attempts that will be made again", registry=self.registry)
        self.gave_way = Counter(
            "chains_runs_gave_way",
            "runs that gave their worker to those of other namespaces",
            registry=self.registry,
        )
        self.workers = Gauge("chains_workers", "runs that may be in work at once", registry=self.registry)
        self.slow = Gauge(
            "chains_slow_runs", "runs in the slow lane: they were waited for in vain", registry=self.registry
        )
        self.silent = Gauge(
            "chains_silent_hosts", "hosts of registries that do not answer", registry=self.registry
        )
        self.silences = Counter(
            "chains_host_silences", "times that a host stopped answering", registry=self.registry
        )
        self.backlog = Gauge("chains_backlog_runs", "finished runs that wait", registry=self.registry)
        self.waiting = Gauge(
            "chains_runs_waiting", "finished runs whose image is yet to be pushed", registry=self.registry
        )
        self.oldest = Gauge(
            "chains_oldest_unattested_seconds", "age of the run that waits longest", registry=self.registry
        )
        self.coverage = Gauge(
            "chains_coverage_ratio", "runs marked as signed of all that were marked", registry=self.registry
        )
        self.config_refused = Gauge(
            "chains_config_refused",
            "1 while the newest configuration is not in force",
            registry=self.registry,
        )
        self.quarantined = Counter(
            "chains_runs_quarantined",
            "runs put aside that broke the controller or cannot be read",
            registry=self.registry,
        )
        self.suspects = Gauge(
            "chains_runs_suspected",
            "runs in work when the controller ended that wait to be tried alone",
            registry=self.registry,
        )
        self._lost = Counter(
            "chains_runs_lost",
            "finished runs that were deleted before they were attested",
            ["namespace", "kind"],
            registry=self.registry,
        )
        self.stores_closed = Gauge(
            "chains_stores_closed",
            "stores of the configuration that cannot be opened",
            registry=self.registry,
        )
        self.shares = Gauge("chains_shares", "shares of all runs, one a replica", registry=self.registry)
        self.shares_held = Gauge(
            "chains_shares_held", "shares that this replica works on", registry=self.registry
        )
        self.share_transitions = Counter(
            "chains_share_transitions", "shares gained and lost by this replica", registry=self.registry
        )
        self.ledger_entries = Gauge(
            "chains_ledger_entries",
            "entries of the ledger's logs that this replica writes",
            registry=self.registry,
        )
        self.ledger_open = Gauge(
            "chains_ledger_open_runs",
            "runs in the ledger that were seen and are not finished",
            registry=self.registry,
        )
        self.ledger_pending = Gauge(
            "chains_ledger_pending_runs",
            "finished runs of which the ledger does not say what became of them",
            registry=self.registry,
        )
        self.ledger_unwritable = Gauge(
            "chains_ledger_unwritable",
            "1 while the ledger cannot be written, so that no run is marked",
            registry=self.registry,
        )
        self.ledger_forks = Gauge(
            "chains_ledger_forks",
            "logs of which a witness has signed another history",
            registry=self.registry,
        )
        self.ledger_share_unwritable = Gauge(
            "chains_ledger_share_unwritable",
            "1 while the log of a share cannot be written by this replica; the log says why",
            ["share"],
            registry=self.registry,
        )
        self.ledger_unsigned = Gauge(
            "chains_ledger_unsigned_seconds",
            "seconds since the end of the ledger's last closed day, 0 if none is closed",
            registry=self.registry,
        )
        self.index_fed = Counter(
            "chains_index_runs_fed",
            "marked runs whose evidence was added to the index",
            registry=self.registry,
        )
        self.index_dropped = Counter(
            "chains_index_runs_dropped",
            "marked runs that were not added to the index, because too many waited",
            registry=self.registry,
        )
        self.index_errors = Counter(
            "chains_index_errors", "attempts to add runs to the index that failed", registry=self.registry
        )
        self.index_waiting = Gauge(
            "chains_index_runs_waiting", "marked runs that wait for the index", registry=self.registry
        )
        self.index_lag = Gauge(
            "chains_index_lag_seconds",
            "seconds since the mark of the run that waits longest for the index",
            registry=self.registry,
        )
        self._marked = self._signed = 0
        self._namespaces: set[str] = set()

    def count(self, kind: str, namespace: str, outcome: Outcome, ended: float | None) -> None:
        """Count one final outcome; ``ended`` is when the run ended, in seconds since 1970."""
        kind, namespace = kind.lower(), self._namespace(namespace)
        stored = [entry for entry in outcome.entries if entry.state in THERE]
        self._peer[kind, "sign_created"].inc(len({entry.payload for entry in outcome.entries}))
        self._peer[kind, "payload_uploaded"].inc(len(outcome.logged))
        self._peer[kind, "payload_stored"].inc(len(stored))
        self._count_refused(namespace, [entry for entry in outcome.entries if entry.absence])
        if outcome.state == FAILED:
            self._failures[kind].labels(_error_type(outcome)).inc()
        else:
            self._peer[kind, "marked_signed"].inc(outcome.state == SIGNED)
        self._outcomes.labels(namespace, kind, outcome.state).inc()
        self._lost.labels(namespace, kind)  # the series begins with 0, so that a rate shows the first loss
        self._marked += 1
        self._signed += outcome.state == SIGNED
        self.coverage.set(self._signed / self._marked)
        if ended is not None:
            self._latency.labels(namespace, kind).observe(max(0.0, time.time() - ended))

    def count_lost(self, kind: str, namespace: str) -> None:
        """Count a finished run that was deleted before it was attested."""
        self._lost.labels(self._namespace(namespace), kind.lower()).inc()

    def count_errors(self, namespace: str, outcome: Outcome) -> None:
        """Count the entries that stores refused in one attempt, whether it is the last or not.

        An entry whose subject is absent is counted when it is given up, in :meth:`count`.
        """
        self._count_refused(self._namespace(namespace), [one for one in outcome.entries if not one.absence])

    def _count_refused(self, namespace: str, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.state == EntryState.FAILED:
                self._store_errors.labels(namespace, plain(entry.store)).inc()

    def _namespace(self, name: str) -> str:
        """Return the label for a namespace, see :data:`MOST_NAMESPACES`."""
        name = plain(name)
        if name not in self._namespaces and len(self._namespaces) >= MOST_NAMESPACES:
            return OTHERS
        self._namespaces.add(name)
        return name

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


def _error_type(outcome: Outcome) -> str:
    """Return Tekton Chains' word for what failed."""
    failed = [entry for entry in outcome.entries if entry.state == EntryState.FAILED]
    if not failed:
        return "payload_creation"
    return "storage" if any(entry.store for entry in failed) else "signing"
