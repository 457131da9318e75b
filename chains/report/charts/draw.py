"""Two kinds of drawings: columns that are shares of a whole, and bars with their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chains.report.charts.svg import (
    NORMAL,
    Fill,
    cut,
    element,
    label,
    legend,
    line,
    picture,
    words,
)

WIDTH = 720
_LEFT, _RIGHT, _TOP = 44, 8, 34
_HEIGHT = 180
_ROW, _NAMES = 24, 260
_LABEL = 76
"""The room that the label of a time needs."""
_LONGEST_NAME, _LONGEST_IN_MAP = 30, 24
_WIDEST = 46


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its name, its number, its fill, and more about it for who points at it."""

    name: str
    number: int
    fill: Fill
    more: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, and the number of each part, from the bottom."""

    name: str
    parts: tuple[int, ...]


def columns(
    chart: str,
    title: str,
    description: str,
    kinds: Sequence[tuple[Fill, str]],
    given: Sequence[Column],
) -> str:
    """Return columns of which each is a whole, with a scale in percent."""
    base = _TOP + _HEIGHT
    drawn = [legend(chart, kinds, _LEFT, 14)]
    for share in (0, 25, 50, 75, 100):
        y = base - _HEIGHT * share / 100
        drawn += [
            line(_LEFT, y, WIDTH - _RIGHT, y, faint=True),
            label(_LEFT - 5, y + 4, f"{share} %", anchor="end"),
        ]
    step = (WIDTH - _LEFT - _RIGHT) / len(given)
    wide = min(step * 0.8, _WIDEST)
    every = math.ceil(_LABEL / step)
    for number, one in enumerate(given):
        x, y, total = _LEFT + step * number + (step - wide) / 2, float(base), sum(one.parts)
        for (fill, name), part in zip(kinds, one.parts, strict=True):
            if part:
                tall = _HEIGHT * part / total
                y -= tall
                drawn.append(fill.box(chart, x, y, wide, tall, f"{one.name}: {part} of {total} {name}"))
        if number % every == 0 and x + wide / 2 + _LABEL / 2 <= WIDTH:
            drawn.append(label(x + wide / 2, base + 16, one.name, anchor="middle"))
    drawn.append(line(_LEFT, base, WIDTH - _RIGHT, base))
    fills = [fill for fill, _ in kinds]
    return picture(chart, title, description, WIDTH, base + 26, fills, *drawn)


def bars(chart: str, title: str, description: str, given: Sequence[Bar]) -> str:
    """Return bars below each other, each with its name and its number."""
    most = max((one.number for one in given), default=0) or 1
    space = WIDTH - _NAMES - 70
    drawn = []
    for row, one in enumerate(given):
        y = 8 + row * _ROW
        drawn.append(label(_NAMES - 8, y + 13, cut(one.name, _LONGEST_NAME), anchor="end", size=NORMAL))
        long = space * one.number / most
        told = f"{one.name}: {one.number:,}{f' ({one.more})' if one.more else ''}"
        if one.number:
            drawn.append(one.fill.box(chart, _NAMES, y, long, _ROW - 7, told))
        drawn.append(label(_NAMES + long + 6, y + 13, f"{one.number:,}", size=NORMAL))
    height = 14 + _ROW * len(given)
    drawn.append(line(_NAMES, 2, _NAMES, height - 6))
    return picture(chart, title, description, WIDTH, height, [one.fill for one in given], *drawn)


@dataclass(frozen=True, slots=True)
class Cell:
    """A square of a map: its fill, a short text in it, and more about it."""

    fill: Fill
    text: str
    more: str


def grid(
    chart: str,
    title: str,
    description: str,
    kinds: Sequence[tuple[Fill, str]],
    names: Sequence[str],
    times: Sequence[str],
    cells: dict[tuple[str, str], Cell],
) -> str:
    """Return a map: a row for each name, a column for each time; what has no square is empty."""
    left, top, row = 190, 52, 22
    wide = (WIDTH - left - _RIGHT) / len(times)
    every = math.ceil(_LABEL / wide)
    drawn = [legend(chart, kinds, 8, 14)]
    for number, moment in enumerate(times):
        if number % every == 0 and left + wide * number + _LABEL <= WIDTH:
            drawn.append(label(left + wide * number, top - 8, moment))
    for place, name in enumerate(names):
        y = top + place * row
        drawn.append(label(left - 8, y + 15, cut(name, _LONGEST_IN_MAP), anchor="end", size=NORMAL))
        for number, moment in enumerate(times):
            cell = cells.get((name, moment))
            if cell is None:
                continue
            x = left + wide * number
            drawn.append(cell.fill.box(chart, x, y, wide, row - 2, f"{name}, {moment}: {cell.more}"))
            if cell.text and wide > 8 * len(cell.text) + 4:
                drawn.append(_on_paper(x + wide / 2, y + 14, cell.text))
    fills = [fill for fill, _ in kinds]
    return picture(chart, title, description, WIDTH, top + row * len(names) + 6, fills, *drawn)


def _on_paper(x: float, y: float, text: str) -> str:
    """Return a short text that is read on any pattern: black, with white around it."""
    shared: dict[str, str | float] = {
        "x": x,
        "y": y,
        "text_anchor": "middle",
        "font_size": 10,
        "font_weight": "bold",
    }
    around = element("text", words(text), **shared, stroke="#FFFFFF", stroke_width=3, fill="#FFFFFF")
    return around + element("text", words(text), **shared, fill="#000000")


def nothing(chart: str, title: str, why: str) -> str:
    """Return a picture that says why there is nothing to draw."""
    return picture(chart, title, why, WIDTH, 40, (), label(8, 24, why, size=NORMAL))
