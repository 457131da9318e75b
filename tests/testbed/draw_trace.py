"""Draws the trace of one run as an SVG: a bar for each span, from the spans that a collector received."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from tests.testbed.collector import attributes

WIDTH, LEFT, ROW, TOP = 900, 250, 26, 40
COLOURS = {
    "run": "#475569", "read": "#0891b2", "snapshot": "#0d9488", "payload": "#65a30d", "sign": "#d97706",
    "store": "#7c3aed", "mark": "#be123c",
}  # fmt: skip


def draw(spans: Sequence[Any]) -> str:
    """Return the drawing of spans of one trace. Times are milliseconds from the beginning of the first."""
    ordered = sorted(spans, key=lambda each: (each.start_time_unix_nano, -each.end_time_unix_nano))
    begun, ended = ordered[0].start_time_unix_nano, max(each.end_time_unix_nano for each in ordered)
    scale = (WIDTH - LEFT - 90) / max(1, ended - begun)
    height = TOP + ROW * len(ordered) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="sans-serif" font-size="13">',
        f"<title>The trace of one run: {escape(', '.join(dict.fromkeys(each.name for each in ordered)))}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" fill="#0f172a" font-weight="bold">one run, {(ended - begun) / 1e6:.1f} ms</text>',
    ]
    for number, span in enumerate(ordered):
        y = TOP + ROW * number
        x = LEFT + (span.start_time_unix_nano - begun) * scale
        width = max(2.0, (span.end_time_unix_nano - span.start_time_unix_nano) * scale)
        took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        lines += [
            f'<text x="{12 if span.name == "run" else 28}" y="{y + 17}" fill="#0f172a">{escape(_label(span))}</text>',
            f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{ROW - 8}" rx="2" fill="{COLOURS[span.name]}"/>',
            f'<text x="{x + width + 6:.1f}" y="{y + 17}" fill="#334155">{took:.1f} ms</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _label(span: Any) -> str:
    found = attributes(span)
    detail = [str(found[key]).split(":")[0] for key in ("chains.payload", "chains.store") if key in found]
    return " ".join([span.name, *(each if len(each) < 24 else f"{each[:10]}…" for each in detail)])
