"""A report as Markdown, with its charts as SVG files beside it.

Everything that is not our own layout is escaped as character references, so that no name is a link, an
element, a mention or the end of a cell. Digests and ids are code if nothing in them could end it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chains.report.document.file import Document
from chains.report.forms.model import Bullets, Cell, Grid, Page, Pairs, Picture, Section, Words
from chains.report.forms.page import page_of
from chains.report.forms.table import File
from chains.text import excerpt, plain

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~&!@$^=+]|(?<=[a-z0-9]):(?=//)|(?<=www)\.")
_CODE = re.compile(r"[A-Za-z0-9:./@_+=, ;()-]+", re.ASCII)
_LONGEST = 500
"""Characters of a cell."""


def markdown_files(document: Document) -> Iterator[File]:
    """Yield the page, and a picture for each chart."""
    page = page_of(document)
    pictures = [
        part.chart for section in page.sections for part in section.parts if isinstance(part, Picture)
    ]
    yield File("report.md", (f"{line}\n".encode() for line in _lines(page)))
    for chart in pictures:
        yield File(f"chart-{chart.id}.svg", [chart.svg.encode()])


def escaped(text: str) -> str:
    """Return a text as Markdown that shows it, whatever is in it."""
    shown = plain(excerpt(text, _LONGEST))
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", shown)


def _code(text: str) -> str:
    shown = excerpt(text, _LONGEST)
    is_plain = _CODE.fullmatch(shown) and shown == shown.strip() and "//" not in shown
    return f"`{shown}`" if is_plain else escaped(text)


def _lines(page: Page) -> Iterator[str]:
    yield f"# {page.title}"
    yield ""
    yield f"{escaped(page.period)}."
    yield ""
    coverage = "unknown" if page.coverage is None else page.coverage
    yield f"**{page.verdict}.** Coverage: **{escaped(coverage)}**"
    for line in page.summary:
        yield ""
        yield escaped(line)
    yield ""
    yield from _table([state for state, _ in page.tiles], [[f"{number:,}" for _, number in page.tiles]])
    for section in page.sections:
        yield ""
        yield f"## {section.title}"
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    for part in section.parts:
        yield ""
        match part:
            case Words():
                yield escaped(part.text)
            case Bullets():
                yield from (f"- {escaped(one)}" for one in part.items)
            case Pairs():
                rows = [[escaped(name), _cell(value, is_code=name in part.code)] for name, value in part.rows]
                yield from _table(["", ""], rows)
            case Grid():
                yield from _grid(part)
            case Picture():
                chart = part.chart
                yield f"### {chart.title}"
                yield ""
                yield f"![{escaped(chart.description)}](chart-{chart.id}.svg)"
                yield ""
                yield from _grid(part.grid)
                yield ""
                yield escaped(chart.note)


def _grid(grid: Grid) -> Iterator[str]:
    yield f"**{escaped(grid.caption)}**"
    yield ""
    if not grid.rows:
        yield "None."
        return
    rows = [
        [_cell(value, is_code=number in grid.code) for number, value in enumerate(row)] for row in grid.rows
    ]
    yield from _table([escaped(one) for one in grid.header], rows)
    if grid.more:
        yield ""
        yield f"{grid.more:,} more are in {grid.where}."


def _cell(value: Cell, *, is_code: bool) -> str:
    if value is None:
        return "*unknown*"
    return _code(value) if is_code else escaped(value)


def _table(header: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(one or ' ' for one in row)} |"
