"""The metrics of several processes as those of one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from chains.admission.processes import Together


def process_text(count: int) -> str:
    registry = CollectorRegistry()
    counter = Counter("chains_reviews", "reviews", ["decision"], registry=registry)
    counter.labels("deny").inc(count)
    Histogram("chains_seconds", "seconds", buckets=(1, 2), registry=registry).observe(count)
    return generate_latest(registry).decode()


def test_each_metric_is_there_once_with_the_samples_of_every_process() -> None:
    registry = CollectorRegistry()
    registry.register(Together({"0": process_text(1), "1": process_text(5)}))
    text = generate_latest(registry).decode()
    assert text.count("# TYPE chains_reviews_total counter") == 1
    assert text.count("# TYPE chains_seconds histogram") == 1
    samples = {
        (sample.name, sample.labels.get("process"), sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["chains_reviews_total", "0", None] == 1
    assert samples["chains_reviews_total", "1", None] == 5
    assert samples["chains_seconds_bucket", "0", "1.0"] == 1
    assert samples["chains_seconds_bucket", "1", "2.0"] == 0
