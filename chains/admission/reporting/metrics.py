"""The metrics of admission. What a dry run asked is not counted, except its time."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from chains.admission.validate import Validated
from chains.assembly.pull_secrets import Outcome
from chains.policy.verdict import Decision

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WEBHOOKS = ("validate", "mutate")
_PROVIDER = "verify"
"""The label of Gatekeeper's requests, which have a time and no decision: constraints decide."""


class Metrics:
    """One set of metrics. Labels have a fixed set of values, so series stay bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._reviews = Counter(
            "chains_admission_reviews",
            "requests for admission that were answered, without dry runs",
            ["webhook", "decision"],
            registry=self.registry,
        )
        self._images = Counter(
            "chains_admission_images",
            "images that were judged, without dry runs; no verdict if no policy was asked",
            ["verdict", "decision"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "chains_admission_seconds",
            "seconds until a request was answered",
            ["webhook"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.malformed = Counter(
            "chains_admission_malformed", "requests that are no AdmissionReview", registry=self.registry
        )
        self.failures = Counter(
            "chains_admission_failures",
            "requests that a fault kept from being judged",
            registry=self.registry,
        )
        self.hits = Gauge("chains_admission_cache_hits", "answers that were kept", registry=self.registry)
        self.misses = Gauge(
            "chains_admission_cache_misses", "answers that were looked for", registry=self.registry
        )
        self.shared = Gauge(
            "chains_admission_cache_shared",
            "answers that were looked for and that another process found",
            registry=self.registry,
        )
        self.policies = Gauge(
            "chains_admission_policies",
            "policies in force; replicas with the same digest answer the same",
            ["digest"],
            registry=self.registry,
        )
        self.policies_refused = Gauge(
            "chains_admission_policies_refused",
            "1 while the newest policies are not in force",
            registry=self.registry,
        )
        self.certificate_expires = Gauge(
            "chains_admission_certificate_expires_seconds",
            "when the certificate in use ends, in seconds since 1970",
            registry=self.registry,
        )
        self.certificate_refused = Gauge(
            "chains_admission_certificate_refused",
            "1 while the newest certificate is not in use",
            registry=self.registry,
        )
        self.events = Counter(
            "chains_admission_events",
            "Events to write, by what became of them",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("written", "known", "left_out", "failed"):
            self.events.labels(outcome)
        self._pull_secrets = Counter(
            "chains_admission_pull_secrets",
            "Secrets and service accounts that were looked at for the credentials of pods, by the outcome",
            ["outcome"],
            registry=self.registry,
        )
        for one in Outcome:
            self._pull_secrets.labels(one.value)
        self._seconds.labels(_PROVIDER)
        for webhook in _WEBHOOKS:
            self._seconds.labels(webhook)
            for decision in Decision:
                self._reviews.labels(webhook, decision.value)

    def count(self, webhook: str, validated: Validated, seconds: float, *, is_dry_run: bool) -> None:
        """Count one answer."""
        self._seconds.labels(webhook).observe(seconds)
        if is_dry_run:
            return
        self._reviews.labels(webhook, validated.decision.value).inc()
        for one in validated.judged:
            self._images.labels(one.ruling.verdict or "none", one.ruling.decision.value).inc()

    def pulled(self, outcome: Outcome) -> None:
        """Count one look at a Secret or a service account."""
        self._pull_secrets.labels(outcome.value).inc()

    def provided(self, seconds: float) -> None:
        """Count one answer to Gatekeeper."""
        self._seconds.labels(_PROVIDER).observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
