"""Places a drawing in columns, and writes it as SVG and as DOT. No program is needed.

A box is in the column of its distance. Within a column, boxes are ordered by those that lead to them, so that
few lines cross. States differ by the line around the box and by a word, so that the picture can be read in
black and white and by people who see no colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from chains.lineage.drawing import Arrow, Drawing, Node

_WIDTH, _LINE, _PADDING = 290, 17, 9
_GAP_X, _GAP_Y, _MARGIN, _HEAD = 110, 18, 24, 64
_LEGEND = 46
_BOLD = 8.6
"""The width of a bold letter."""
_TURNS = 4
"""How often the columns are ordered, forth and back."""
_FILL = {"wanted": "#222222", "verified": "#ffffff", "claimed": "#ffffff", "before": "#eeeeee"}
_DASH = {"wanted": "", "verified": "", "claimed": "7 4", "before": "2 3"}
_STROKE = {"wanted": "2", "verified": "3", "claimed": "2", "before": "2"}
_DOT_STYLE = {
    "wanted": 'style=filled, fillcolor="#222222", fontcolor=white',
    "verified": "penwidth=3",
    "claimed": "style=dashed",
    "before": 'style="dotted,filled", fillcolor="#eeeeee"',
}
_FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"


def to_dot(drawing: Drawing) -> str:
    """Return the drawing in Graphviz' language. Every text is quoted, and none can be a command."""
    lines = [
        f"digraph {drawing.title.lower().replace(' ', '_')} {{",
        f"  label={_quoted(drawing.description)}; labelloc=t; rankdir=LR;",
        "  node [shape=box];",
    ]
    for node in drawing.nodes:
        label = "\\n".join(_inner(line) for line in node.lines)
        style = f"tooltip={_quoted(node.title)}, {_DOT_STYLE[node.style]}"
        lines.append(f'  {_quoted(node.key)} [label="{label}", {style}];')
    for arrow in drawing.arrows:
        ends = f"{_quoted(arrow.source)} -> {_quoted(arrow.target)}"
        dashed = ", style=dashed" if arrow.is_dashed else ""
        lines.append(f"  {ends} [tooltip={_quoted(arrow.title)}{dashed}];")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return f'"{_inner(text)}"'


def _inner(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def to_svg(drawing: Drawing) -> str:
    """Return the drawing as a whole SVG document."""
    columns = _ordered(drawing)
    tallest = max((sum(_height(node) + _GAP_Y for node in column) for column in columns), default=0)
    places: dict[str, tuple[float, float, Node]] = {}
    for number, column in enumerate(columns):
        top = _HEAD + (tallest - sum(_height(node) + _GAP_Y for node in column)) / 2
        for node in column:
            places[node.key] = (_MARGIN + number * (_WIDTH + _GAP_X), top, node)
            top += _height(node) + _GAP_Y
    # beside the last column, arrows within it and back need room
    width = max(2 * _MARGIN + len(columns) * (_WIDTH + _GAP_X) - _GAP_X // 4, 760)
    height = _HEAD + tallest + _LEGEND + _MARGIN
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-labelledby='title desc' {_FONT} "
        f"font-size='13' width='{width}' height='{height:.0f}' viewBox='0 0 {width} {height:.0f}'>",
        f"<title id='title'>{escape(drawing.title)}</title>",
        f"<desc id='desc'>{escape(drawing.description)}</desc>",
        "<defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='8' markerHeight='8' "
        "orient='auto'><path d='M0 0 10 5 0 10z'/></marker></defs>",
        "<rect width='100%' height='100%' fill='#ffffff'/>",
        *_heading(drawing, width),
        *(_line(arrow, places) for arrow in drawing.arrows),
        *(_box(*place) for place in places.values()),
        *_legend(drawing.legend, height - _LEGEND - _MARGIN / 2),
        "</svg>",
    ]
    return "\n".join(lines)


def _ordered(drawing: Drawing) -> list[list[Node]]:
    """Return the columns. Boxes are near the middle of those beside that they are connected with."""
    numbers = sorted({node.column for node in drawing.nodes})
    columns = [[node for node in drawing.nodes if node.column == number] for number in numbers]
    beside: dict[str, list[str]] = {node.key: [] for node in drawing.nodes}
    for arrow in drawing.arrows:
        beside[arrow.source].append(arrow.target)
        beside[arrow.target].append(arrow.source)
    for turn in range(_TURNS):
        for at in range(1, len(columns)) if turn % 2 == 0 else range(len(columns) - 2, -1, -1):
            near = columns[at - 1 if turn % 2 == 0 else at + 1]
            rank = {node.key: place for place, node in enumerate(near)}
            own = {node.key: place for place, node in enumerate(columns[at])}
            columns[at].sort(key=lambda node, rank=rank, own=own: _middle(node, rank, own, beside))  # type: ignore[misc]
    return columns


def _middle(
    node: Node, rank: Mapping[str, int], own: Mapping[str, int], beside: Mapping[str, list[str]]
) -> tuple[float, int]:
    near = [rank[key] for key in beside[node.key] if key in rank]
    return (sum(near) / len(near) if near else own[node.key], own[node.key])


def _height(node: Node) -> float:
    return len(node.lines) * _LINE + 2 * _PADDING


def _heading(drawing: Drawing, width: float) -> list[str]:
    """Return the description, on two lines if it is long."""
    most = int((width - 2 * _MARGIN) / _BOLD)
    words = drawing.description.split(" ")
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) + 1 > most and len(lines) < 2:  # noqa: PLR2004 - two lines have room
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    lines = [line if len(line) <= most else f"{line[: most - 1]}…" for line in lines]
    return [
        f"<text x='{_MARGIN}' y='{_MARGIN + number * _LINE}' font-weight='bold'>{escape(line)}</text>"
        for number, line in enumerate(lines)
    ]


def _box(x: float, y: float, node: Node) -> str:
    fill, ink = _FILL[node.style], "#ffffff" if node.style == "wanted" else "#000000"
    texts = "".join(
        f"<text x='{_PADDING}' y='{_PADDING + 13 + number * _LINE}' fill='{ink}' "
        f"font-weight='{'normal' if number else 'bold'}'>{escape(line)}</text>"
        for number, line in enumerate(node.lines)
    )
    return (
        f"<g><title>{escape(node.title)}</title>"
        f"<rect x='{x}' y='{y:.1f}' width='{_WIDTH}' height='{_height(node)}' rx='4' fill='{fill}' "
        f"{_border(node.style)}/>"
        # an inner picture cuts off what is too wide for the box
        f"<svg x='{x}' y='{y:.1f}' width='{_WIDTH - _PADDING}' height='{_height(node)}'>{texts}</svg></g>"
    )


def _border(style: str) -> str:
    return f"stroke='#000000' stroke-width='{_STROKE[style]}' stroke-dasharray='{_DASH[style]}'"


def _line(arrow: Arrow, places: Mapping[str, tuple[float, float, Node]]) -> str:
    """Return a curve; one that leads back or stays in its column goes around on the right."""
    x1, y1, source = places[arrow.source]
    x2, y2, target = places[arrow.target]
    start, end = y1 + _height(source) / 2, y2 + _height(target) / 2
    if x2 > x1:
        out, last = (x1 + _WIDTH + x2) / 2, x2
    else:
        out, last = x1 + _WIDTH + _GAP_X * 0.6, x2 + _WIDTH
        start, end = start + 8, end - 8
    curve = f"C{out:.1f} {start:.1f} {out:.1f} {end:.1f} {last} {end:.1f}"
    path = f"M{x1 + _WIDTH} {start:.1f} {curve}"
    dashed = " stroke-dasharray='7 4'" if arrow.is_dashed else ""
    return (
        f"<path d='{path}' fill='none' stroke='#444444' stroke-width='1.3'{dashed} marker-end='url(#tip)'>"
        f"<title>{escape(arrow.title)}</title></path>"
    )


def _legend(legend: Mapping[str, str], y: float) -> list[str]:
    lines = []
    x = float(_MARGIN)
    for style, meaning in legend.items():
        lines.append(
            f"<rect x='{x}' y='{y:.1f}' width='30' height='14' fill='{_FILL[style]}' {_border(style)}/>"
            f"<text x='{x + 38}' y='{y + 13:.1f}' font-size='11'>{escape(f'{style}: {meaning}')}</text>"
        )
        y += 19
    return lines
