"""Elements of SVG, as text. Every attribute and every text is escaped here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from chains.text import plain

FONT = "Noto Sans, DejaVu Sans, Liberation Sans, Arial, sans-serif"
SMALL, NORMAL = 11, 12
"""Sizes of text."""
_LONGEST = 300
"""Characters of what a reader sees who points at something."""
_SIZE = 6
"""The edge of a pattern."""
Number = int | float


def element(name: str, *inside: str, **attributes: str | Number) -> str:
    """Return an element. ``_`` in the name of an attribute is a dash; ``inside`` is markup."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_number(value))}"
        for key, value in attributes.items()
    )
    return f"<{name}{written}/>" if not inside else f"<{name}{written}>{''.join(inside)}</{name}>"


def _number(value: str | Number) -> str:
    """Return the value of an attribute; a fraction with at most two decimals."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".") or "0"
    return plain(str(value))


def words(text: str) -> str:
    """Return a text from a stranger as markup: visible, on one line, and no element."""
    return escape(plain(text))


def cut(text: str, longest: int) -> str:
    """Return a text with at most so many characters, as it is shown."""
    shown = plain(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def label(x: Number, y: Number, text: str, *, anchor: str = "start", size: int = SMALL) -> str:
    """Return a text at a place."""
    return element(
        "text", words(text), x=x, y=y, text_anchor=anchor, font_size=size, fill="currentColor"
    )  # fmt: skip


def line(x1: Number, y1: Number, x2: Number, y2: Number, *, faint: bool = False) -> str:
    """Return a line of an axis, or of a grid."""
    return element(
        "line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="currentColor", stroke_width=0.5 if faint else 1,
        stroke_opacity=0.35 if faint else 1,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fill:
    """How a kind of bar is filled: a colour of Okabe and Ito, and a pattern of lines in another colour.

    ``path`` is drawn on a square of six units; an empty one is a plain colour.
    """

    name: str
    colour: str
    path: str = ""
    ink: str = "#000000"

    def pattern(self, chart: str) -> str:
        """Return the definition of the pattern in a chart."""
        ground = element("rect", width=_SIZE, height=_SIZE, fill=self.colour)
        ink = (
            element("path", d=self.path, stroke=self.ink, stroke_width=1.2, fill="none") if self.path else ""
        )
        return element(
            "pattern", ground, ink, id=f"{chart}-{self.name}", width=_SIZE, height=_SIZE,
            patternUnits="userSpaceOnUse",
        )  # fmt: skip

    def box(self, chart: str, x: Number, y: Number, width: Number, height: Number, title: str = "") -> str:
        """Return a rectangle; ``title`` is what a reader sees who points at it."""
        inside = [element("title", words(cut(title, _LONGEST)))] if title else []
        return element(
            "rect", *inside, x=x, y=y, width=width, height=height, fill=f"url(#{chart}-{self.name})",
            stroke="currentColor", stroke_width=0.75,
        )  # fmt: skip


SOLID = Fill("solid", "#009E73")
LINES = Fill("lines", "#56B4E9", "M0 3H6")
DOTS = Fill("dots", "#F0E442", "M1.5 1.5h1M4.5 4.5h1")
SLASH = Fill("slash", "#D55E00", "M0 6L6 0M-1 1L1 -1M5 7L7 5", "#FFFFFF")
CROSS = Fill("cross", "#CC79A7", "M0 0L6 6M0 6L6 0")
BARS = Fill("bars", "#E69F00", "M3 0V6")
DENSE = Fill("dense", "#0072B2", "M0 1H6M0 4H6", "#FFFFFF")
EMPTY = Fill("empty", "#FFFFFF")


def picture(
    chart: str, title: str, description: str, width: int, height: int, fills: Iterable[Fill], *inside: str
) -> str:
    """Return a whole picture with its title and description, and the patterns that it uses."""
    patterns = element("defs", *(one.pattern(chart) for one in dict.fromkeys(fills)))
    return element(
        "svg",
        element("title", words(title), id=f"{chart}-title"),
        element("desc", words(description), id=f"{chart}-desc"),
        patterns,
        element("g", *inside, font_family=FONT),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{chart}-title {chart}-desc",
    )


def legend(chart: str, entries: Iterable[tuple[Fill, str]], x: int, y: int) -> str:
    """Return a line of boxes with their names."""
    made = []
    for fill, name in entries:
        made.append(fill.box(chart, x, y - 10, 12, 12))
        made.append(label(x + 17, y, name))
        x += 30 + 7 * len(name)
    return "".join(made)
