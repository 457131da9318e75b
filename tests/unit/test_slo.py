"""The expressions of the page on service levels: ours name metrics and labels that exist, and theirs none of ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.test_deploy import exposed, metrics_of, words_of

PAGE = (Path(__file__).parents[2] / "docs" / "slo.md").read_text()
FUNCTIONS = {"avg_over_time", "vector"}
WANTED = (
    "Pipeline success", "Pipeline duration", "Queue wait", "Errors of the controller", "Image push failures",
    "Secret access failures", "Pod restarts", "Trigger delivery", "Provenance completeness", "Saturation",
)  # fmt: skip


def rows(section: str) -> list[list[str]]:
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[1:]]


def expressions(cell: str) -> list[str]:
    return [each.replace("\\|", "|") for each in re.findall(r"`([^`]+)`", cell)]


OURS = [(row[0], each) for row in rows("Ours") for each in expressions(row[1])]


@pytest.mark.parametrize(("indicator", "expression"), OURS, ids=lambda text: text[:40])
def test_an_expression_of_ours_names_only_metrics_and_labels_that_exist(
    indicator: str, expression: str
) -> None:
    known = exposed()
    expression = re.sub(r"\[\w+:\w+\]", "", expression)
    words, metrics = words_of(expression) - FUNCTIONS, metrics_of(expression)
    assert metrics, indicator
    assert metrics <= set(known)
    assert words - metrics <= set().union(*(known[name] for name in metrics)), indicator


def test_a_bucket_that_is_asked_for_is_one_that_there_is() -> None:
    from prometheus_client import CollectorRegistry

    from chains.admission.reporting.metrics import Metrics as AdmissionMetrics
    from chains.controller.metrics import Metrics

    metrics, admission = Metrics(), AdmissionMetrics()
    metrics._latency.labels("ci", "taskrun").observe(1)
    registries: list[CollectorRegistry] = [metrics.registry, admission.registry]
    admission._seconds.labels("validate").observe(1)
    edges: dict[str, set[str]] = {}
    for registry in registries:
        for family in registry.collect():
            for sample in family.samples:
                if "le" in sample.labels:
                    edges.setdefault(sample.name, set()).add(sample.labels["le"])
    asked = re.findall(r'(chains_\w+_bucket){le="([^"]+)"}', PAGE)
    assert len(asked) == 2
    for name, edge in asked:
        assert edge in edges[name], (name, edges[name])


def test_every_indicator_says_who_measures_it_what_is_promised_and_what_it_does_not_show() -> None:
    ours, theirs = rows("Ours"), rows("Not ours")
    assert {len(row) for row in ours} == {4}
    assert {len(row) for row in theirs} == {5}
    assert all(cell for row in [*ours, *theirs] for cell in row)
    names = [row[0] for row in [*ours, *theirs]]
    for wanted in WANTED:
        assert any(name.startswith(wanted) for name in names), wanted
    for row in theirs:
        assert not any(metrics_of(each) for each in expressions(row[2]) if "chains_" in each)
