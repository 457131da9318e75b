"""The answers of preflight as ``Report`` and ``ClusterReport`` of ``openreports.io/v1alpha1``: pure.

There is a report for each namespace, with a result for each image of each object in it. One for the cluster
has what could not be seen. A result keeps its time for as long as it stays the same, so that a second run
with the same answers gives the same reports.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from chains.errors import UsageError
from chains.policy.reasons import PolicyReason
from chains.policy.verdict import Decision
from chains.preflight.answer import ImageCheck, State
from chains.tekton.workloads import Use, Workload
from chains.text import excerpt, told

Json = Any
API_VERSION = "openreports.io/v1alpha1"
SOURCE = "provenance-chains"
NAME = "chains-preflight"
MOST_BYTES = 1_000_000
"""Bytes of one report. etcd takes 1.5 MiB; the API server adds names of fields to what it stores."""
_LONGEST = 600
"""Characters of a message."""
_OWNED = "app.kubernetes.io/managed-by"
_REPORT = "provenance.chains/preflight"
_OWN_POLICY = "preflight"
"""Stands in the place of a policy in results that no policy gave."""
_SEVERITY = {"pass": "info", "skip": "info", "error": "medium", "warn": "medium", "fail": "high"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Report:
    """One report. ``namespace`` is empty for that of the cluster."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    results: tuple[Mapping[str, Json], ...] = field(default=())

    @property
    def label(self) -> str:
        """``Report/namespace/name`` or ``ClusterReport/name``."""
        return f"Report/{self.namespace}/{self.name}" if self.namespace else f"ClusterReport/{self.name}"

    def to_json(self) -> dict[str, Json]:
        """Return the object, as it is applied."""
        metadata: dict[str, Json] = {"name": self.name, "labels": dict(self.labels)}
        written: dict[str, Json] = {
            "apiVersion": API_VERSION,
            "kind": "Report" if self.namespace else "ClusterReport",
            "metadata": metadata,
            "source": SOURCE,
            "summary": _summary(self.results),
            "results": [dict(result) for result in self.results],
        }
        if self.namespace:
            metadata["namespace"] = self.namespace
            written["scope"] = {"apiVersion": "v1", "kind": "Namespace", "name": self.namespace}
        return written


def checked_name(name: str) -> str:
    """Return a name for reports. Raises :class:`UsageError` for one that Kubernetes would refuse."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--report-name {name!r}: expected up to 52 lower case letters, digits and dashes, with a letter "
            "or digit at both ends"
        )
    return name


def labels_of(name: str) -> dict[str, str]:
    """Return the labels by which the reports of this name are found again."""
    return {_OWNED: SOURCE, _REPORT: name}


def reports_of(
    checks: Sequence[ImageCheck],
    problems: Sequence[str],
    name: str,
    now: datetime,
    namespaces: Sequence[str] = (),
) -> list[Report]:
    """Return the reports about the objects of a cluster; those of manifests on disk are in none.

    ``problems`` say what could not be seen. They are reported for the cluster, or where ``namespaces`` limit
    the look, for each of these.
    """
    by_namespace: dict[str, list[dict[str, Json]]] = {}
    for check in checks:
        for workload, uses in _by_workload(use for use in check.uses if not use.where):
            by_namespace.setdefault(workload.namespace, []).append(_result(check, workload, uses, now))
    unseen = [_unseen(problem, now) for problem in problems]
    for place in namespaces or ("",):
        if unseen:
            by_namespace.setdefault(place, []).extend(unseen)
    return [
        Report(place, name if number == 1 else f"{name}-{number}", labels_of(name), part)
        for place, results in sorted(by_namespace.items())
        for number, part in enumerate(_parts(sorted(results, key=_place)), 1)
    ]


def unchanged_times(report: Report, existing: Mapping[str, Json]) -> Report:
    """Return a report in which each result that is in the existing one, too, has its time there."""
    found = existing.get("results")
    times = {
        _told_without_time(one): one["timestamp"]
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, Mapping) and isinstance(one.get("timestamp"), Mapping)
    }
    results = tuple(
        {**one, "timestamp": times.get(_told_without_time(one), one["timestamp"])} for one in report.results
    )
    return Report(report.namespace, report.name, report.labels, results)


def is_written(report: Report, existing: Mapping[str, Json]) -> bool:
    """Whether the existing object is what would be applied."""
    wanted = report.to_json()
    metadata = existing.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    has_labels = isinstance(labels, Mapping) and report.labels.items() <= labels.items()
    return has_labels and all(
        existing.get(key) == wanted.get(key) for key in ("source", "scope", "summary", "results")
    )


def _told_without_time(result: Mapping[str, Json]) -> bytes:
    return orjson.dumps(
        {key: value for key, value in result.items() if key != "timestamp"}, option=orjson.OPT_SORT_KEYS
    )


def _parts(results: Sequence[dict[str, Json]]) -> Iterator[tuple[Mapping[str, Json], ...]]:
    part: list[dict[str, Json]] = []
    size = 0
    for result in results:
        length = len(orjson.dumps(result))
        if part and size + length > MOST_BYTES:
            yield tuple(part)
            part, size = [], 0
        part.append(result)
        size += length + 1
    yield tuple(part)


def _place(result: Mapping[str, Json]) -> tuple[str, ...]:
    resources: Sequence[Mapping[str, str]] = result.get("resources", ())
    names = [part for one in resources for part in (one.get("kind", ""), one.get("name", ""))]
    return (*names, result.get("properties", {}).get("image", ""), result["message"])


def _by_workload(uses: Iterable[Use]) -> Iterable[tuple[Workload, list[Use]]]:
    found: dict[Workload, list[Use]] = {}
    for use in uses:
        found.setdefault(use.workload, []).append(use)
    return found.items()


def _result(check: ImageCheck, workload: Workload, uses: Sequence[Use], now: datetime) -> dict[str, Json]:
    verdict = check.verdict
    result = _word(check)
    wrong = verdict.first_wrong if verdict else None
    is_forged = bool(wrong and wrong.reason is PolicyReason.EVIDENCE_INVALID)
    reference = {
        "apiVersion": workload.api_version,
        "kind": workload.kind,
        "namespace": workload.namespace,
        "name": workload.name,
        "uid": workload.uid,
    }
    properties = {
        "image": told(check.image),
        "digest": check.digest,
        "containers": excerpt(told(", ".join(dict.fromkeys(use.container for use in uses))), _LONGEST),
        "reason": check.reason,
        "verdict": verdict.verdict.value if verdict else "",
        "decision": verdict.decision.value if verdict else "",
        "mode": verdict.mode.value if verdict else "",
        "policyDigest": verdict.policy_digest if verdict else "",
    }
    return {
        "source": SOURCE,
        "policy": verdict.policy if verdict else _OWN_POLICY,
        "rule": str(wrong.id) if wrong else "image",
        "category": "supply chain",
        "severity": "critical" if is_forged else _SEVERITY[result],
        "result": result,
        "timestamp": _timestamp(now),
        "message": excerpt(told(check.told), _LONGEST),
        "resources": [{key: value for key, value in reference.items() if value}],
        "properties": {key: value for key, value in properties.items() if value},
    }


def _word(check: ImageCheck) -> str:
    """Return the result of a check; one that the policy only warns about is a warning."""
    if check.state is State.FAIL:
        is_warning = check.verdict is not None and check.verdict.decision is Decision.WARN
        return "warn" if is_warning else "fail"
    return {State.PASS: "pass", State.UNDECIDED: "error", State.SKIP: "skip"}[check.state]


def _unseen(problem: str, now: datetime) -> dict[str, Json]:
    return {
        "source": SOURCE,
        "policy": _OWN_POLICY,
        "rule": "inventory",
        "category": "supply chain",
        "severity": _SEVERITY["error"],
        "result": "error",
        "timestamp": _timestamp(now),
        "message": excerpt(told(problem), _LONGEST),
    }


def _timestamp(now: datetime) -> dict[str, int]:
    return {"seconds": int(now.timestamp()), "nanos": 0}


def _summary(results: Sequence[Mapping[str, Json]]) -> dict[str, int]:
    counts = Counter(result["result"] for result in results)
    return {word: counts[word] for word in ("pass", "fail", "warn", "error", "skip")}
