"""A report as CSV files, one for each of its lists. Text is escaped, and no cell is taken for a formula."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from chains.columns import csv_line
from chains.report.document.file import Document
from chains.report.document.format import STATES, Artifact, Attestation, Run
from chains.report.forms.table import File

_RUN = tuple(Run.__annotations__)
_ARTIFACT = tuple(Artifact.__annotations__)
_ATTESTATION = tuple(Attestation.__annotations__)
_END = "\r\n"
"""As RFC 4180 has it."""


def csv_files(document: Document) -> Iterator[File]:
    """Yield the files."""
    head = document.head
    yield File("runs.csv", _lines(_RUN, ({**one} for one in document.runs())))
    yield File("artifacts.csv", _lines(_ARTIFACT, ({**one} for one in document.artifacts())))
    yield File("attestations.csv", _lines(_ATTESTATION, map(_flat, document.attestations())))
    days = [{"day": one["day"], **one["counts"]} for one in head["days"]]
    yield File("days.csv", _lines(("day", *STATES), days))
    namespaces = [{"namespace": one["namespace"], **one["counts"]} for one in head["namespaces"]]
    yield File("namespaces.csv", _lines(("namespace", *STATES), namespaces))
    yield File("figures.csv", _lines(_FIGURE, _figures(document)))


_FIGURE = ("figure", "name", "value", "unit", "known", "of", "basis", "limit")


def _figures(document: Document) -> Iterator[Mapping[str, Any]]:
    for figure in document.head["figures"]:
        told = {"known": figure["known"], "of": figure["of"]}
        for value in figure["values"]:
            yield {
                "figure": figure["id"], **value, **told, "basis": figure["basis"], "limit": figure["limit"],
            }  # fmt: skip


def _flat(one: Attestation) -> Mapping[str, Any]:
    times = [f"{each['time']} {each['source']}" for each in one["times"]]
    return {**one, "times": times, "logEntries": [f"{e['log']} {e['index']}" for e in one["logEntries"]]}


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    yield (csv_line(columns) + _END).encode()
    for row in rows:
        yield (csv_line([cell(row[name]) for name in columns]) + _END).encode()


def cell(value: Any) -> str:
    """Return a value as the text of a cell: what is not known is ``unknown``, never empty and never 0."""
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case list():
            return "; ".join(map(str, value))
        case _:
            return str(value)
