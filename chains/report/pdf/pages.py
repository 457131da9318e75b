"""The page of a report (``forms/page.py``) as plain JSON values for ``report.typ``, block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from chains.report.charts.charts import Chart
from chains.report.forms.model import Bullets, Cell, Grid, Page, Pairs, Picture, Section, Words
from chains.report.pdf.shown import pieces, shown
from chains.text import excerpt

Block = dict[str, Any]
UNKNOWN = "unknown"
"""How a cell says that something is not known."""
_LONGEST = 500
"""Characters of a cell."""
_NUMBER = re.compile(r"[0-9][0-9,]*")
_MANY_COLUMNS = 7
_WIDTH, _WIDTH_OF_MANY = 122.0, 150.0
"""Characters of a line of a table, about. The template sets a table of many columns smaller."""
_LONGEST_WANTED = 120
_WIDER = {"code": 1.1, "state": 1.2, "number": 1.0, "text": 1.0}
"""How much wider than a character of text one is."""


def page_data(page: Page, *, at: str, digest: str, tool: str) -> dict[str, Any]:
    """Return the data of the template.

    ``digest`` is the SHA-256 of ``report.json``, ``tool`` the program with its version, ``at`` the report
    time.
    """
    return {
        "title": shown(page.title),
        "period": shown(page.period),
        "verdict": shown(page.verdict),
        "mark": page.mark,
        "coverage": shown(page.coverage or UNKNOWN),
        "tiles": [[f"{number:,}", shown(state)] for state, number in page.tiles],
        "summary": [pieces(line) for line in page.summary],
        "at": shown(at),
        "digest": digest,
        "tool": shown(tool),
        "blocks": [block for section in page.sections for block in _section(section)],
    }


def pictures(page: Page) -> list[Chart]:
    """Return the charts of a page. The template reads each from the file that :func:`chart_file` names."""
    return [part.chart for section in page.sections for part in section.parts if isinstance(part, Picture)]


def chart_file(chart: Chart) -> str:
    """Return the name of a chart's picture for the template."""
    return f"chart-{chart.id}.svg"


def _section(section: Section) -> Iterator[Block]:
    yield _heading(section.title, 1)
    for part in section.parts:
        match part:
            case Words():
                yield _paragraph(part.text)
            case Bullets():
                if part.items:
                    yield {"kind": "list", "items": [_text(one) for one in part.items]}
            case Pairs():
                yield _pairs(part)
            case Grid():
                if part.caption != section.title:
                    yield _heading(part.caption, 2)
                yield from _grid(part)
            case Picture():
                yield _heading(part.chart.title, 2)
                yield {
                    "kind": "figure",
                    "file": chart_file(part.chart),
                    "text": shown(part.chart.description),
                }
                if part.chart.note:
                    yield _paragraph(part.chart.note)
                yield from _grid(part.grid)


def _heading(text: str, level: int) -> Block:
    return {"kind": "heading", "level": level, "text": shown(text)}


def _paragraph(text: str) -> Block:
    return {"kind": "text", "pieces": pieces(text)}


def _text(value: str) -> list[str]:
    return pieces(excerpt(value, _LONGEST))


def _pairs(part: Pairs) -> Block:
    return {
        "kind": "pairs",
        "rows": [
            {
                "name": shown(name),
                "value": _text(UNKNOWN if value is None else value or "none"),
                "kind": "unknown" if value is None else "code" if name in part.code else "text",
            }
            for name, value in part.rows
        ],
    }


def _grid(grid: Grid) -> Iterator[Block]:
    if not grid.rows:
        yield _paragraph("None.")
        return
    if grid.more:
        yield _paragraph(f"The first {len(grid.rows):,} rows. {grid.more:,} more are in {grid.where}.")
    rows = [[_cell(one) for one in row] for row in grid.rows]
    kinds = [_kind(grid, number) for number in range(len(grid.header))]
    columns = [
        {"title": shown(title), "kind": kind, "share": share}
        for title, kind, share in zip(grid.header, kinds, _shares(grid.header, kinds, rows), strict=True)
    ]
    yield {"kind": "table", "columns": columns, "rows": rows}


def _cell(value: Cell) -> list[str] | None:
    return None if value is None else _text(value)


def _kind(grid: Grid, number: int) -> str:
    """Return how a column is set: as states, as code, as numbers or as text."""
    if number == grid.state:
        return "state"
    if number in grid.code:
        return "code"
    values = [row[number] for row in grid.rows if row[number] is not None]
    return "number" if values and all(_NUMBER.fullmatch(one or "") for one in values) else "text"


def _shares(
    header: Sequence[str], kinds: Sequence[str], rows: Sequence[Sequence[list[str] | None]]
) -> list[float]:
    """Return the share of the width of each column: what cannot be broken, and some of what is left."""
    least, wanted = [], []
    for number, title in enumerate(header):
        cells = [row[number] or [UNKNOWN] for row in rows]
        words = [word for cell in cells for piece in cell for word in piece.split()]
        longest = max(map(len, [*words, *title.split()]), default=1)
        least.append(_WIDER[kinds[number]] * longest + 1.5)
        typical = sum(len("".join(cell)) for cell in cells) / len(cells)
        wanted.append(max(min(typical, _LONGEST_WANTED) - longest, 1))
    left = max((_WIDTH_OF_MANY if len(header) > _MANY_COLUMNS else _WIDTH) - sum(least), 0)
    return [round(one + left * more / sum(wanted), 2) for one, more in zip(least, wanted, strict=True)]
