"""Tables of results. On a terminal rich draws them; a pipe or a file gets aligned plain text."""

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
"""The style of a cell in the column STATE, by its word."""


def write_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a header and rows to standard output.

    Lines that are too long for the terminal are folded. In a pipe or a file every row is one line.
    """
    width = terminal_width()
    if width is None:
        write_text(table(header, rows))
    else:
        write_styled(drawn(header, rows, width))


def drawn(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return a header and rows for a terminal of ``width`` columns, with styles if the user wants them.

    Every cell is escaped before rich gets it. Rich gets it as ``Text``, so markup, emoji codes and links in a
    cell are shown as they are written.
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
        # the lines fit; rich counts the columns of some characters differently and must not fold them
        width=2 * max(needed, width),
        height=len(rows) + 1,  # without a height, rich ignores the width on a dumb terminal
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
    """Whether the user wants colours and bold text. Source of ``NO_COLOR``: https://no-color.org."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
