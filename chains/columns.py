"""Text for a terminal of a given width: folded lines, and tables that fit. Lines of CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence

from chains.text import excerpt, plain

_FURTHEST_HANG = 24
_SHORT_HANG = 4
_LEAST = 6
_LABEL = re.compile(r" *\S.*?  +")
_WORDS = re.compile(r" *[^ ]+?(?:[@:](?=sha\d+[:-])|(?= )|$)")
"""Words, and a split before the digest of a reference, so that the digest stays whole."""


def columns_of(text: str) -> int:
    """Return the width of a text in columns: two for a wide character, zero for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def folded(line: str, width: int, hang: int | None = None) -> Iterator[str]:
    """Yield a line in parts of at most ``width`` columns. All parts but the first are indented by ``hang``.

    Without ``hang``, the indent is where the text after a label begins. A word that is too long for such a
    line is indented by four columns. It is cut only if no line can hold it.
    """
    if columns_of(line) <= width:
        yield line
        return
    lead = len(line) - len(line.lstrip(" "))
    if hang is None:
        label = _LABEL.match(line)
        hang = label.end() if label and label.end() <= _FURTHEST_HANG else lead + 2
    short = max(lead + 2, _SHORT_HANG)
    part = ""
    for word in _WORDS.findall(line):
        if columns_of(part + word) <= width:
            part += word
            continue
        bare = word.lstrip(" ")
        if part.strip():
            yield part
            part = " " * (hang if columns_of(bare) <= width - hang else short)
        else:
            part = " " * lead
        for char in bare:
            if columns_of(part + char) > width:
                yield part
                part = " " * short
            part += char
    yield part


def fitted(line: str, width: int) -> Iterator[str]:
    """Yield a line as :func:`folded` does, further left if its indent would cut a digest."""
    bare = line.lstrip(" ")
    lead = len(line) - len(bare)
    widest = max(columns_of(word.lstrip(" ")) for word in (_WORDS.findall(bare) or [""]))
    if lead > _LEAST and widest > width - lead:
        line = f"{' ' * _LEAST}{bare}"
    return folded(line, width)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return a header and rows as aligned text, with every cell escaped.

    If a line is longer than ``width`` columns, the last cell is folded. If the other columns take more than
    half of the width, the first cell gets a line of its own.
    """
    cells = [[plain(cell) for cell in row] for row in (header, *rows)]
    lines, hang = _aligned(cells)
    if width is None or all(columns_of(line) <= width for line in lines):
        return "\n".join(lines)
    if hang <= width // 2:
        return "\n".join(part for line in lines for part in folded(line, width, hang))
    written: list[str] = []
    lines, hang = _aligned([["", *row[1:]] for row in cells])
    for (first, *_), line in zip(cells, lines, strict=True):
        if first:
            written += folded(first, width)
        written += folded(line, width, hang)
    return "\n".join(written)


def _aligned(cells: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """Return the aligned lines, and the column at which the last cell begins."""
    widths = [max(columns_of(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = (cell + " " * (wide - columns_of(cell)) for cell, wide in zip(row, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    return lines, sum(widths[:-1]) + 2 * (len(widths) - 1)


_LONGEST_CELL = 8192
"""Characters of a cell. Spreadsheets read 32,767."""
_FORMULA = frozenset("=+-@|%")
"""Characters with which spreadsheets begin a formula or a command; their wide forms count, too (OWASP, CSV
injection)."""


def csv_line(cells: Sequence[str]) -> str:
    """Return cells as a line of CSV (RFC 4180), each in quotes, escaped and cut.

    A cell that a spreadsheet takes for a formula gets an apostrophe in front.
    """
    written = io.StringIO()
    csv.writer(written, lineterminator="", quoting=csv.QUOTE_ALL).writerow(map(_csv_cell, cells))
    return written.getvalue()


def _csv_cell(text: str) -> str:
    shown = plain(excerpt(text, _LONGEST_CELL))
    first = unicodedata.normalize("NFKC", shown.lstrip()[:1])
    return f"'{shown}" if first in _FORMULA else shown
