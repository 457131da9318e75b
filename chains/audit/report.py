"""An audit as JSON, JUnit and CSV. Everything from runs, logs and stores is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from chains.audit.findings import Audit, Judged, State, percent, wrong_first
from chains.audit.population.known import Difference, Source
from chains.columns import csv_line
from chains.text import plain, rfc3339

SCHEMA = "https://provenance.chains/audit/v1"
COLUMNS = (
    "state", "reason", "detail", "kind", "namespace", "name", "uid", "created", "finished", "words",
    "sources", "places", "exemption",
)  # fmt: skip
_CASES: Mapping[State, str] = {
    State.FAILED: "failure",
    State.MISSING: "failure",
    State.UNATTESTABLE: "failure",
    State.UNKNOWN: "error",
    State.SKIPPED: "skipped",
    State.DISPOSED: "skipped",
    State.OPEN: "skipped",
}


def to_json(audit: Audit, *, all_runs: bool) -> dict[str, Any]:
    """Return the audit as plain JSON values. ``all_runs``: also the runs that are evidenced."""
    counts, covered = audit.counts, audit.coverage
    shown = [one for one in wrong_first(audit.runs) if all_runs or one.state is not State.EVIDENCED]
    return {
        "schema": SCHEMA,
        "at": rfc3339(audit.at),
        "since": None if audit.since is None else rfc3339(audit.since),
        "until": None if audit.until is None else rfc3339(audit.until),
        "summary": audit.summary,
        "exitCode": audit.exit_code,
        "finished": audit.total,
        "counts": {state.value: counts[state] for state in State},
        "coverage": None if covered is None else _coverage(*covered),
        "undecided": audit.undecided,
        "namespaces": {
            name: {state.value: found[state] for state in State if found[state]}
            for name, found in audit.by_namespace()
        },
        "stores": list(audit.stores),
        "sources": [source_to_json(one) for one in audit.sources],
        "gaps": [
            {"source": name, "from": gap.since, "until": gap.until, "reason": gap.reason}
            for name, gap in audit.gaps
        ],
        "differences": [_difference(one) for one in audit.differences],
        "furtherDifferences": audit.more_differences,
        "evidenceWithoutRun": [
            {
                "run": one.label, "runUid": one.uid, "finished": one.finished, "store": one.store,
                "verdict": one.verdict, "aSourceShouldKnowIt": one.is_covered,
            }
            for one in audit.strays
        ],
        "imagesAsked": audit.images_asked,
        "imagesUnlisted": audit.images_unlisted,
        "imagesWithoutRun": [
            {"image": one.image, "reason": one.why, "words": one.words, "where": list(one.where)}
            for one in audit.images
        ],
        "problems": list(audit.problems),
        "notes": list(audit.notes),
        "runs": [run_to_json(one) for one in shown],
    }  # fmt: skip


def _coverage(least: Fraction, most: Fraction) -> dict[str, Any]:
    return {"least": float(least), "most": float(most), "text": [percent(least), percent(most)]}


def _difference(one: Difference) -> dict[str, Any]:
    sides = [
        {"source": one.first, "says": one.said},
        {"source": one.second, "says": one.contradicted},
    ]
    return {"run": one.label, "runUid": one.uid, "what": one.what, "sides": sides}


def source_to_json(source: Source) -> dict[str, Any]:
    """Return a source as plain JSON values."""
    return {
        "name": source.name,
        "kind": source.kind,
        "shows": source.shows,
        "cannotShow": source.cannot,
        "query": source.query,
        "from": source.since or None,
        "until": source.until or None,
        "runs": source.runs,
        "finished": source.finished,
        "gaps": [{"from": gap.since, "until": gap.until, "reason": gap.reason} for gap in source.gaps],
        "problems": list(source.problems),
        "notes": list(source.notes),
    }


def run_to_json(one: Judged) -> dict[str, Any]:
    """Return a judged run as plain JSON values."""
    return {
        "state": one.state.value,
        "reason": one.why.value,
        "detail": one.detail or None,
        "words": one.words,
        "kind": one.kind,
        "namespace": one.namespace,
        "name": one.name,
        "uid": one.uid or None,
        "created": one.created or None,
        "finished": one.finished or None,
        "sources": list(one.sources),
        "places": list(one.places),
        "exemption": one.exemption or None,
    }


def to_csv(audit: Audit, *, all_runs: bool) -> Iterator[str]:
    """Yield the lines of a CSV file: a header, then one line for each run, the worst first."""
    yield csv_line(COLUMNS)
    for one in wrong_first(audit.runs):
        if all_runs or one.state is not State.EVIDENCED:
            yield csv_line((
                one.state.value, one.why.value, one.detail, one.kind, one.namespace, one.name, one.uid,
                one.created, one.finished, one.words, "; ".join(one.sources), " ".join(one.places),
                one.exemption,
            ))  # fmt: skip


def to_junit(audit: Audit) -> Iterator[str]:
    """Yield the lines of a JUnit report: a test case for each run, and for each thing that is not decided."""
    counts, others = audit.counts, list(_other_cases(audit))
    wrong = sum(counts[state] for state, kind in _CASES.items() if kind == "failure")
    wrong += sum(kind == "failure" for _, kind, _ in others)
    unsure = counts[State.UNKNOWN] + sum(kind == "error" for _, kind, _ in others)
    attributes = {
        "name": "chains audit",
        "tests": str(sum(counts.values()) + len(others)),
        "failures": str(wrong),
        "errors": str(unsure),
        "skipped": str(sum(counts[state] for state, kind in _CASES.items() if kind == "skipped")),
    }
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield f"<testsuite{''.join(f' {name}={quoteattr(text)}' for name, text in attributes.items())}>"
    for one in wrong_first(audit.runs):
        case = ET.Element(
            "testcase", name=plain(f"{one.label} {one.uid}".strip()), classname=plain(one.namespace)
        )
        if kind := _CASES.get(one.state):
            ET.SubElement(case, kind, message=plain(one.words), type=one.why.value)
        yield ET.tostring(case, encoding="unicode")
    for name, kind, words in others:
        case = ET.Element("testcase", name=plain(name), classname="audit")
        ET.SubElement(case, kind, message=plain(words))
        yield ET.tostring(case, encoding="unicode")
    yield "</testsuite>"


def _other_cases(audit: Audit) -> Iterator[tuple[str, str, str]]:
    for name, gap in audit.gaps:
        yield f"gap of {name}", "error", f"{gap.since} to {gap.until}: {gap.reason}"
    for source in audit.sources:
        for problem in source.problems:
            yield f"source {source.name}", "error", problem
    for problem in audit.problems:
        yield "what had no answer", "error", problem
    for stray in audit.strays:
        if stray.is_covered:
            yield f"evidence without run {stray.uid}", "error", f"{stray.label} in {stray.store}"
    for image in audit.images:
        yield f"image {image.image}", "failure", image.words
