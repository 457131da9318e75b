"""The metrics of the browser. Labels have a fixed set of values, and none says who looks at what."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class AccessMetrics:
    """One set of metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "chains_web_requests",
            "requests by the first digit of their status; gone: without an answer",
            ["status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "chains_web_seconds",
            "seconds until a request was answered",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._refused = Counter(
            "chains_web_refused",
            "requests that were refused before anything was read",
            registry=self.registry,
        )
        self.lost = Counter(
            "chains_web_log_failures",
            "requests that were not answered because the access log could not be written",
            registry=self.registry,
        )

        self.access_refused = Gauge(
            "chains_web_access_refused",
            "1 while the newest access file is not in force",
            registry=self.registry,
        )

    def count(self, status: int | None, seconds: float, refused: str) -> None:
        """Count a request. ``status`` is None if it had no answer."""
        self._requests.labels("gone" if status is None else f"{status // 100}xx").inc()
        self._seconds.observe(seconds)
        if refused:
            self._refused.inc()

    def text(self) -> bytes:
        """Return the metrics as Prometheus reads them."""
        return generate_latest(self.registry)
