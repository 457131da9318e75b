"""The metrics of re-check. Labels have a fixed set of values."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from chains.recheck.standing import Standing

RIGHTS = ("list pods", "list namespaces", "create events", "write reports", "hold the lease")
FAILURES = ("lease", "round", "event", "report")


class RecheckMetrics:
    """One set of metrics, in a registry that others may share."""

    def __init__(self, registry: CollectorRegistry, interval: float) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"chains_recheck_{name}", text, labels, registry=registry)

        self._images = gauge(
            "images", "images that run, by what the last whole round of this process said", "state"
        )
        self.leads = gauge("leads", "1 in the process that does the rounds")
        gauge("interval_seconds", "seconds between the beginnings of two rounds").set(interval)
        self.last_complete = gauge(
            "last_complete_seconds",
            "when the last whole round of any process ended, in seconds since 1970; 0 if none",
        )
        self.seconds = gauge("round_seconds", "how long the last whole round of this process took")
        self.unreadable = gauge(
            "unreadable", "pods and images of the last whole round that could not be read"
        )
        self.untold = gauge("events_untold", "Events that the last round left to the next one")
        self._rights = gauge("right_missing", "1 if the account lacks a right", "right")
        self.overruns = Counter(
            "chains_recheck_overruns", "rounds that took longer than the interval", registry=registry
        )
        self._failures = Counter(
            "chains_recheck_failures", "what failed, by its kind", ["what"], registry=registry
        )
        for right in RIGHTS:
            self._rights.labels(right)
        for what in FAILURES:
            self._failures.labels(what)
        self.show({})

    def show(self, images: dict[Standing, int]) -> None:
        """Set the number of images with each standing."""
        for standing in Standing:
            self._images.labels(standing.value).set(images.get(standing, 0))

    def fail(self, what: str) -> None:
        """Count a failure: one of :data:`FAILURES`."""
        self._failures.labels(what).inc()

    def lacks(self, right: str, *, is_missing: bool) -> None:
        """Say whether a right is missing: one of :data:`RIGHTS`."""
        self._rights.labels(right).set(is_missing)
