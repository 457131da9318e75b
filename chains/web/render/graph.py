"""Boxes in columns with lines between them, as SVG inside a page.

Kinds differ by outline and by a word in the box, so that the picture can be read in black and white. Colours
are those of the style sheet: the SVG has classes and no style of its own. A list beside it says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from chains.columns import columns_of
from chains.text import plain

_WIDTH, _LINE, _PADDING = 196, 16, 8
_GAP_X, _GAP_Y, _MARGIN = 44, 14, 6
_LETTERS: Final = 24
"""Letters that fit into a line of a box."""
_TURNS: Final = 4
_SMALL: Final = 800
"""A picture of this width is never wider than its page."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box: lines of text, the whole text for who points at it, its kind, its column, its page."""

    key: str
    lines: tuple[str, ...]
    title: str
    kind: str
    column: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line with an arrow from one box to another."""

    source: str
    target: str
    title: str
    is_dashed: bool = False


def layers(after: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return the column of each key: behind all those that it comes after. A circle is cut."""
    found: dict[str, int] = {}
    for first in after:
        if first in found:
            continue
        # a stack, and not recursion: a chain may be longer than Python's
        way = {first: 0}
        stack = [(first, iter(after[first]))]
        while stack:
            key, rest = stack[-1]
            for one in rest:
                if one in found:
                    way[key] = max(way[key], found[one] + 1)
                elif one in after and one not in way:
                    way[one] = 0
                    stack.append((one, iter(after[one])))
                    break
            else:
                stack.pop()
                found[key] = way.pop(key)
                if stack:
                    behind = stack[-1][0]
                    way[behind] = max(way[behind], found[key] + 1)
    return found


def graph_svg(name: str, title: str, description: str, boxes: Sequence[Box], lines: Sequence[Line]) -> Markup:
    """Return the picture. ``name`` is the beginning of its elements' ids, and must differ within a page."""
    columns = _ordered(boxes, lines)
    heights = [sum(_height(box) + _GAP_Y for box in column) - _GAP_Y for column in columns]
    tallest = max(heights, default=0)
    places: dict[str, tuple[float, float, Box]] = {}
    for number, (column, height) in enumerate(zip(columns, heights, strict=True)):
        top = _MARGIN + (tallest - height) / 2
        for box in column:
            places[box.key] = (_MARGIN + number * (_WIDTH + _GAP_X), top, box)
            top += _height(box) + _GAP_Y
    width = 2 * _MARGIN + max(len(columns) * (_WIDTH + _GAP_X) - _GAP_X, _WIDTH)
    whole = f"{tallest + 2 * _MARGIN:.0f}"
    parts = [
        Markup(
            '<svg class="graph{5}" role="group" aria-labelledby="{0}-title {0}-text" width="{1}" '
            'height="{2}" viewBox="0 0 {1} {2}"><title id="{0}-title">{3}</title>'
            '<desc id="{0}-text">{4}</desc>'
            '<defs><marker id="{0}-tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            'markerHeight="7" orient="auto"><path class="tip" d="M0 0 10 5 0 10z"/></marker></defs>'
        ).format(name, width, whole, plain(title), plain(description), " small" if width < _SMALL else "")
    ]
    parts += [_line(name, line, places) for line in lines if {line.source, line.target} <= places.keys()]
    parts += [_box(*place) for place in places.values()]
    return Markup("").join([*parts, Markup("</svg>")])


def _height(box: Box) -> int:
    return len(box.lines) * _LINE + 2 * _PADDING


def _fitted(text: str) -> str:
    one = plain(text)
    if columns_of(one) <= _LETTERS:
        return one
    kept = one[: _LETTERS - 1]
    while columns_of(kept) >= _LETTERS:
        kept = kept[:-1]
    return f"{kept}…"


def _box(x: float, y: float, box: Box) -> Markup:
    texts = [
        Markup('<text class="{}" x="{:.0f}" y="{:.1f}">{}</text>').format(
            "first" if number == 0 else "more",
            x + _PADDING + 2,
            y + _PADDING + 12 + number * _LINE,
            _fitted(line),
        )
        for number, line in enumerate(box.lines)
    ]
    shape = Markup('<rect x="{:.0f}" y="{:.1f}" width="{}" height="{}" rx="7"/>').format(
        x, y, _WIDTH, _height(box)
    )
    inner = Markup("<title>{}</title>{}{}").format(plain(box.title), shape, Markup("").join(texts))
    group = Markup('<g class="box-of {}">{}</g>').format(box.kind, inner)
    if not box.path:
        return group
    # the list beside the picture has the same links for the keyboard
    return Markup('<a href="{}" tabindex="-1">{}</a>').format(box.path, group)


def _line(name: str, line: Line, places: Mapping[str, tuple[float, float, Box]]) -> Markup:
    x1, y1, source = places[line.source]
    x2, y2, target = places[line.target]
    start, end = y1 + _height(source) / 2, y2 + _height(target) / 2
    x1 += _WIDTH
    if x2 <= x1:  # within a column, or back: around the right side
        out = x1 + _GAP_X * 0.7
        path = f"M{x1:.0f} {start:.1f} C{out:.0f} {start:.1f} {out:.0f} {end:.1f} {x1:.0f} {end:.1f}"
    else:
        middle = x2 - _GAP_X / 2
        path = f"M{x1:.0f} {start:.1f} C{middle:.0f} {start:.1f} {middle:.0f} {end:.1f} {x2:.0f} {end:.1f}"
    return Markup('<path class="line{}" d="{}" marker-end="url(#{}-tip)"><title>{}</title></path>').format(
        " dashed" if line.is_dashed else "", path, name, plain(line.title)
    )


def _ordered(boxes: Sequence[Box], lines: Sequence[Line]) -> list[list[Box]]:
    """Return the columns; boxes are near the middle of those beside that they are connected with."""
    numbers = sorted({box.column for box in boxes})
    columns = [[box for box in boxes if box.column == number] for number in numbers]
    beside: dict[str, list[str]] = {box.key: [] for box in boxes}
    for line in lines:
        if line.source in beside and line.target in beside:
            beside[line.source].append(line.target)
            beside[line.target].append(line.source)
    for turn in range(_TURNS):
        order = range(1, len(columns)) if turn % 2 == 0 else range(len(columns) - 2, -1, -1)
        for at in order:
            rank = {box.key: place for place, box in enumerate(columns[at - 1 if turn % 2 == 0 else at + 1])}
            own = {box.key: place for place, box in enumerate(columns[at])}
            columns[at] = sorted(columns[at], key=lambda box: _middle(box.key, rank, own, beside))
    return columns


def _middle(
    key: str, rank: Mapping[str, int], own: Mapping[str, int], beside: Mapping[str, Sequence[str]]
) -> tuple[float, int]:
    near = [rank[one] for one in beside[key] if one in rank]
    return (sum(near) / len(near) if near else own[key], own[key])
