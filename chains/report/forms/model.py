"""A report as sections of paragraphs, tables and charts: what HTML and Markdown write, each in its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chains.report.charts.charts import Chart

MOST_ROWS = 500
"""Rows of a table for people; the document and the CSV files have all of them."""
Cell = str | None
"""A text of a table; None is not known."""


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph of our own words."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names and values."""

    rows: Sequence[tuple[str, Cell]]
    code: frozenset[str] = frozenset()
    """The names whose values are digests or commands."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. ``more`` is how many rows are in ``where`` alone."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    code: frozenset[int] = frozenset()
    """The columns with digests, ids and places."""
    state: int | None = None
    """The column with a state, which gets a mark."""
    more: int = 0
    where: str = ""


def grid(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    code: Iterable[int] = (),
    state: int | None = None,
) -> Grid:
    """Return a table of at most :data:`MOST_ROWS` rows; the document has all of them."""
    found = list(rows)
    left = max(len(found) - MOST_ROWS, 0)
    return Grid(caption, header, found[:MOST_ROWS], frozenset(code), state, left, "report.json")


def yes(value: bool) -> str:
    """Return a truth as a word."""
    return "yes" if value else "no"


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart, with its numbers as a table below."""

    chart: Chart

    @property
    def grid(self) -> Grid:
        """The numbers of the chart."""
        return Grid(f"{self.chart.title}: the numbers", self.chart.header, self.chart.rows)


Part = Words | Bullets | Pairs | Grid | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A section with its anchor; one of the appendix is for who wants every detail."""

    id: str
    title: str
    parts: Sequence[Part] = field(default_factory=tuple)
    is_appendix: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report for people. ``verdict`` is the answer in a sentence, ``mark`` is its code."""

    title: str
    period: str
    verdict: str
    mark: str
    coverage: Cell
    tiles: Sequence[tuple[str, int]]
    summary: Sequence[str]
    sections: Sequence[Section]
