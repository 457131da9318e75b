"""The long tables of a report's page: runs without evidence, and artifacts with the evidence about them."""

from __future__ import annotations

from itertools import islice

from chains.report.document.file import Document
from chains.report.document.format import Artifact, Attestation
from chains.report.forms.model import Cell, Grid, Part, Words

_WORST = ("failed", "missing", "unattestable", "unknown", "disposed", "skipped", "open")
_SHOWN = 3
"""Places, signers or times that a cell has."""


def run_grid(document: Document, most: int) -> list[Part]:
    """Return every run that is not evidenced with its reason, the worst states first."""
    total = sum(document.head["counts"][state] for state in _WORST)  # type: ignore[literal-required]
    if not total:
        return [Words("There is none.")]
    wanted: dict[str, list[list[Cell]]] = {state: [] for state in _WORST}
    for one in document.runs():
        rows = wanted.get(one["state"])
        if rows is not None and len(rows) < most:
            reason = one["reason"] if one["detail"] is None else f"{one['reason']} ({one['detail']})"
            name = f"{one['kind'].lower()}/{one['namespace']}/{one['name']}"
            rows.append([one["state"], name, one["uid"], one["finished"], reason, one["words"]])
    shown = [row for state in _WORST for row in wanted[state]][:most]
    header = ("state", "run", "UID", "ended", "reason", "in words")
    told = "Runs that are not evidenced, the worst states first"
    return [Grid(told, header, shown, frozenset({1, 2}), 0, total - len(shown), "runs.csv and report.json")]


def artifact_grid(document: Document, most: int) -> list[Part]:
    """Return artifacts with the evidence about each: those of runs that are not evidenced first."""
    bad: list[Artifact] = []
    good: list[Artifact] = []
    total = 0
    for one in document.artifacts():
        total += 1
        kept = good if one["state"] == "evidenced" else bad
        if len(kept) < most:
            kept.append(one)
    shown = [*bad, *good][:most]
    if not shown:
        return [Words("No run of the period names an artifact.")]
    digests = {digest for one in shown for digest in one["attestations"]}
    evidence = {one["digest"]: one for one in document.attestations() if one["digest"] in digests}
    header = (
        "artifact", "digest", "result", "source and commit", "builder", "build level", "hermetic",
        "signed by, at, log index", "stored at", "run",
    )  # fmt: skip
    rows = [_row(one, [evidence[each] for each in one["attestations"] if each in evidence]) for one in shown]
    told = "Artifacts with the result of verification at the report time; those that failed first"
    code = frozenset({0, 1, 3, 8, 9})
    return [
        Words(
            "An artifact of a run that is not evidenced is a claim of that run. A level or a time is unknown "
            "where no verified statement says it."
        ),
        Grid(told, header, rows, code, 2, total - len(rows), "artifacts.csv and report.json"),
    ]


def _row(one: Artifact, evidence: list[Attestation]) -> list[Cell]:
    used = [each for each in evidence if each["result"] == "verified"]
    source = None
    if one["source"] or one["commit"]:
        source = f"{one['source'] or 'unknown'} {one['commit'] or 'at an unknown commit'}"
    return [
        one["name"],
        one["digest"],
        one["state"],
        source,
        one["builder"],
        one["buildLevel"],
        one["hermetic"],
        _signed(used),
        _some([place for each in used for place in each["places"]]),
        one["run"],
    ]


def _signed(used: list[Attestation]) -> Cell:
    """Return who signed, with the times and the log indexes that were verified."""
    signers = _some([each["signer"] for each in used if each["signer"]])
    if signers is None:
        return None
    times = _some([f"{at['time']} ({at['source']})" for each in used for at in each["times"]])
    entries = _some([f"{one['index']} of {one['log']}" for each in used for one in each["logEntries"]])
    return f"{signers}; at {times or 'an unknown time'}; log index {entries or 'unknown'}"


def _some(values: list[str]) -> Cell:
    """Return some values as one text, None for none at all."""
    found = list(dict.fromkeys(values))
    if not found:
        return None
    more = f"; {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(islice(found, _SHOWN)) + more
