"""Tables of results: rich draws them on a terminal, aligned plain text goes everywhere else."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

from chains.columns import columns_of, table
from chains.terminal import terminal_width, write_styled, write_text
from chains.text import plain

_GAP = 2
_STYLES = {
    **dict.fromkeys(("signed", "stored", "attested", "ok"), "green"),
    "failed": "bold red",
    "warning": "yellow",
    "skipped": "dim",
}
"""How a cell is shown that is one of these words; they are states, in the column STATE."""


def write_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows below their header to standard output.

    Lines that are too long for a terminal are folded; in a pipe or a file every row is one line.
    """
    width = terminal_width()
    if width is None:
        write_text(table(header, rows))
    else:
        write_styled(drawn(header, rows, width))


def drawn(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return rows below their header for a terminal of ``width`` columns, styled where styles are wanted.

    Every cell is escaped before rich gets it, and is given as text: none is markup, an emoji code or a link.
    """
    from rich.console import Console  # noqa: PLC0415 - takes long, and only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    cells = [[plain(cell) for cell in row] for row in rows]
    states = header.index("STATE") if "STATE" in header else -1
    widths = [max(map(columns_of, column)) for column in zip(header, *cells, strict=True)]
    needed = sum(widths) + _GAP * (len(widths) - 1)
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="auto" if styles_wanted() else None,
        # what fits is never folded by rich, which measures some characters in another way than we do
        width=2 * max(needed, width),
        height=len(rows) + 1,  # a dumb terminal would have 80 columns where only the width is given
        markup=False,
        highlight=False,
        emoji=False,
    )
    if needed > width:
        first, *others = table(header, rows, width).split("\n")
        console.print(Text(first, style="bold"), *map(Text, others), sep="\n")
    else:
        grid = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for name in header:
            grid.add_column(Text(name), no_wrap=True)
        for row in cells:
            grid.add_row(
                *(
                    Text(cell, style=_STYLES.get(cell, "") if column == states else "")
                    for column, cell in enumerate(row)
                )
            )
        console.print(grid)
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return written.removesuffix("\n")


def styles_wanted() -> bool:
    """Whether colours and bold text are wanted; see https://no-color.org for ``NO_COLOR``."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
