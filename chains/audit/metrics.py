"""An audit as metrics, in the text format of Prometheus, for the textfile collector of node exporter.

The numbers come from verified evidence and from the sources of runs, never from marks on runs. Source of the
format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chains.audit.findings import COUNTED, Audit, State
from chains.tekton.raw import parse_time
from chains.text import plain

NAMES = {
    "chains_audit_timestamp_seconds": "when the last audit was made, in Unix time",
    "chains_audit_runs": "finished runs by namespace and state, according to the last audit",
    "chains_audit_coverage_ratio": "share of finished runs whose evidence verifies",
    "chains_audit_oldest_unproven_timestamp_seconds": "end of the oldest run without verified evidence",
    "chains_audit_gaps": "times in which no source saw what ran",
    "chains_audit_exit_code": "exit code of the last audit",
}
"""The metrics with their help."""


def to_metrics(audit: Audit) -> str:
    """Return the metrics of an audit."""
    lines: list[str] = []
    for name, samples in (
        ("chains_audit_timestamp_seconds", [("", audit.at.timestamp())]),
        ("chains_audit_runs", list(_runs(audit))),
        ("chains_audit_coverage_ratio", list(_coverage(audit))),
        ("chains_audit_oldest_unproven_timestamp_seconds", [("", _oldest(audit))]),
        ("chains_audit_gaps", [("", len(audit.gaps))]),
        ("chains_audit_exit_code", [("", audit.exit_code)]),
    ):
        lines += [f"# HELP {name} {NAMES[name]}", f"# TYPE {name} gauge"]
        lines += [f"{name}{labels} {value:.17g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _runs(audit: Audit) -> Iterator[tuple[str, float]]:
    for namespace, counts in audit.by_namespace():
        for state in State:
            if counts[state]:
                yield f'{{namespace="{_label(namespace)}",state="{state.value}"}}', counts[state]


def _coverage(audit: Audit) -> Iterator[tuple[str, float]]:
    covered = audit.coverage
    if covered is not None:
        for bound, share in zip(("least", "most"), covered, strict=True):
            yield f'{{bound="{bound}"}}', float(share)


def _oldest(audit: Audit) -> float:
    """Return the end of the oldest run that counts and is not evidenced, 0 if there is none."""
    ends = (
        parse_time(one.finished or one.created)
        for one in audit.runs
        if one.state in COUNTED and one.state is not State.EVIDENCED
    )
    return min((end.timestamp() for end in ends if end is not None), default=0.0)


def _label(text: str) -> str:
    """Return a label's value: escaped as the format demands, on one line."""
    return plain(text).replace("\\", "\\\\").replace('"', '\\"')


def write_metrics(audit: Audit, path: Path) -> None:
    """Write the metrics into a file, which is whole at any moment. Raises :class:`OSError` that names it."""
    try:
        _replace(path, audit)
    except OSError as error:
        # the temporary file's name says nothing to whoever named the other one
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(path: Path, audit: Audit) -> None:
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".", delete=False, encoding="utf-8"
    ) as file:
        file.write(to_metrics(audit))
        written = Path(file.name)
    try:
        written.chmod(0o644)  # the collector runs as another user
        os.replace(written, path)  # noqa: PTH105 - replaces the file at once
    except OSError:
        written.unlink(missing_ok=True)
        raise
