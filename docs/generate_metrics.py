"""Write ``docs/reference/metrics.md`` from the declarations of metrics: ``python docs/generate_metrics.py``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry

from chains.admission.reporting.metrics import Metrics as AdmissionMetrics
from chains.audit.metrics import NAMES as AUDIT
from chains.controller.metrics import MOST_NAMESPACES, OTHERS
from chains.controller.metrics import Metrics as ControllerMetrics
from chains.recheck.metrics import FAILURES, RIGHTS, RecheckMetrics
from chains.web.access.metrics import AccessMetrics

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_name("reference") / "metrics.md"
_INTRO = """# Metrics

<!-- Written by docs/generate_metrics.py from the code; change it there. -->

Every metric of every process, for operators who write alerts and dashboards. Counters and gauges begin at 0 when their process
starts, unless the row says otherwise; sum over replicas. The metrics of the controller whose names begin with `watcher_` are
those of Tekton Chains, with its labels. [The runbooks](../runbooks/README.md) say what to do about each alert.
"""
LABELS = {
    "namespace": f"the run's; after {MOST_NAMESPACES} namespaces, the others share `{OTHERS}`",
    "kind": "`taskrun`, `pipelinerun`",
    "state": "see [reasons](reasons.md)",
    "store": "the kind of the store: `oci`, `s3`, …",
    "error_type": "`payload_creation`, `signing`, `storage`, as in Tekton Chains",
    "share": "the name of the share",
    "webhook": "`validate`, `mutate`, `verify` (Gatekeeper's provider)",
    "decision": "`allow`, `warn`, `deny`",
    "verdict": "a [verdict](reasons.md#verdicts), or `none`",
    "digest": "of the policies in force",
    "outcome": "what became of it, see [reasons](reasons.md)",
    "right": ", ".join(f"`{right}`" for right in RIGHTS),
    "what": ", ".join(f"`{what}`" for what in FAILURES),
    "status": "`2xx`, `3xx`, `4xx`, `5xx`, `gone`",
    "bound": "`least`, `most`: unknown runs counted as unproven, or as proven",
}
"""What the values of a label are."""


@dataclass(frozen=True, slots=True)
class DeclaredMetric:
    """A metric with the name that queries use; a histogram's has ``_bucket``, ``_sum`` and ``_count`` added."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def unit(self) -> str:
        """What one is one of."""
        if self.name.endswith("_timestamp_seconds") or "since 1970" in self.text or "Unix time" in self.text:
            return "Unix time, seconds"
        if "_seconds" in self.name:
            return "seconds"
        if self.name.endswith("_ratio"):
            return "0 to 1"
        return "0 or 1" if self.text.startswith("1 ") else "count"


def declared(registry: CollectorRegistry) -> Iterator[DeclaredMetric]:
    """Return the metrics of a registry in the order of their declaration."""
    collectors = dict.fromkeys(registry._names_to_collectors.values())
    for collector in collectors:
        for family in collector.describe():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = tuple(getattr(collector, "_labelnames", ()))
            yield DeclaredMetric(name, family.type, labels, family.documentation)


def sections() -> list[tuple[str, str, list[DeclaredMetric]]]:
    """Return every process with where its metrics are and what they are."""
    recheck = CollectorRegistry()
    RecheckMetrics(recheck, 1.0)
    labels = {"chains_audit_runs": ("namespace", "state"), "chains_audit_coverage_ratio": ("bound",)}
    audit = [DeclaredMetric(name, "gauge", labels.get(name, ()), text) for name, text in AUDIT.items()]
    return [
        (
            "Controller",
            "`chains controller`, on the health port, path `/metrics`.",
            list(declared(ControllerMetrics().registry)),
        ),
        (
            "Admission",
            "`chains admission`, on the health port, path `/metrics`. All processes of a pod are added up.",
            list(declared(AdmissionMetrics().registry)),
        ),
        (
            "Re-check of what runs",
            "`chains admission --recheck`, on the same port.",
            list(declared(recheck)),
        ),
        (
            "Evidence browser",
            "`chains web`, on the health port (`--health-port`), path `/metrics`.",
            list(declared(AccessMetrics().registry)),
        ),
        (
            "Audit",
            "`chains audit --metrics-file FILE`, a file for the textfile collector of node exporter. The state of "
            "each run is in `state`.",
            audit,
        ),
    ]


def alerts() -> dict[str, list[str]]:
    """Return the alerts of the shipped rules by each metric that they ask."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "deploy" / "overlays").rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        if "kind: PrometheusRule" not in text:
            continue
        for document in yaml.safe_load_all(text):
            for rule in _rules(document):
                for name in re.findall(r"\b(?:chains|watcher)_[a-z_]+", str(rule["expr"])):
                    found.setdefault(re.sub(r"_(bucket|sum|count)$", "", name), []).append(rule["alert"])
    return {name: list(dict.fromkeys(names)) for name, names in found.items()}


def _rules(document: object) -> Iterable[dict[str, str]]:
    if not isinstance(document, dict) or document.get("kind") != "PrometheusRule":
        return []
    return [rule for group in document["spec"]["groups"] for rule in group["rules"] if "alert" in rule]


def metrics_page() -> str:
    """Return the whole page."""
    asked = alerts()
    parts = [_INTRO]
    used: dict[str, None] = {}
    for title, where, metrics in sections():
        parts.append(
            f"\n## {title}\n\n{where}\n\n| Metric | Type | Unit | Labels | Meaning | Alerts |\n|---|---|---|---|---|---|\n"
        )
        for one in metrics:
            used |= dict.fromkeys(one.labels)
            labels = ", ".join(f"`{label}`" for label in one.labels)
            links = ", ".join(f"[{alert}](../runbooks/{alert}.md)" for alert in asked.get(one.name, []))
            parts.append(f"| `{one.name}` | {one.kind} | {one.unit} | {labels} | {one.text} | {links} |\n")
    parts.append("\n## Labels\n\n| Label | Values |\n|---|---|\n")
    parts += [f"| `{label}` | {LABELS[label]} |\n" for label in sorted(used)]
    parts.append(
        "\nA histogram has the series `…_bucket` (label `le`), `…_sum` and `…_count`. Text of strangers is never a label's value, "
        "namespaces apart, whose names Kubernetes restricts.\n"
    )
    return "".join(parts)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(metrics_page(), encoding="utf-8")
