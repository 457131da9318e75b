"""Bars of numbers by day, as SVG inside a page: with patterns beside colours, and words for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from chains.web.answers.overview import Bar

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 900, 210, 56, 26, 12
_LABELS: Final = 6


def days_svg(name: str, title: str, description: str, bars: Sequence[Bar]) -> Markup:
    """Return the picture. ``name`` is the beginning of its elements' ids."""
    most = _ceiling(max((bar.total for bar in bars), default=0))
    step = (_WIDTH - _LEFT - 8) / max(len(bars), 1)
    height = _HEIGHT - _BOTTOM - _TOP
    parts = [
        Markup(
            '<svg class="chart" role="img" aria-labelledby="{0}-title {0}-text" viewBox="0 0 {1} {2}">'
            '<title id="{0}-title">{3}</title><desc id="{0}-text">{4}</desc><defs>'
            '<pattern id="{0}-bad" width="6" height="6" patternUnits="userSpaceOnUse">'
            '<rect class="bad-fill" width="6" height="6"/><path class="hatch" d="M0 6 6 0"/></pattern>'
            '<pattern id="{0}-unsure" width="5" height="5" patternUnits="userSpaceOnUse">'
            '<rect class="unsure-fill" width="5" height="5"/><circle class="dot" cx="2.5" cy="2.5" r="1"/>'
            "</pattern></defs>"
        ).format(name, _WIDTH, _HEIGHT, title, description)
    ]
    for part in range(5):
        value = most * part // 4
        y = _TOP + height - height * part / 4
        parts.append(
            Markup(
                '<path class="grid" d="M{0} {1:.1f}H{2}"/>'
                '<text class="axis end" x="{3}" y="{4:.1f}">{5:,}</text>'
            ).format(_LEFT, y, _WIDTH - 8, _LEFT - 6, y + 4, value)
        )
    every = max(1, round(len(bars) / _LABELS))
    for number, bar in enumerate(bars):
        x = _LEFT + number * step
        parts.append(_bar(name, bar, x, step, height, most))
        if number % every == 0:
            parts.append(
                Markup('<text class="axis" x="{:.1f}" y="{}">{}</text>').format(
                    x, _HEIGHT - 8, f"{bar.day.day} {bar.day:%b}"
                )
            )
    return Markup("").join([*parts, Markup("</svg>")])


def _bar(name: str, bar: Bar, x: float, step: float, height: float, most: int) -> Markup:
    words = (
        f"{bar.day.isoformat()}: {bar.confirmed:,} confirmed, {bar.undecided:,} undecided, "
        f"{bar.failed:,} not confirmed"
    )
    found = [Markup("<g><title>{}</title>").format(words)]
    y = float(_TOP + height)
    fills = (
        ("ok-fill", "", bar.confirmed),
        ("", f"{name}-unsure", bar.undecided),
        ("", f"{name}-bad", bar.failed),
    )
    for kind, pattern, number in fills:
        if not number:
            continue
        size = max(height * number / most, 2.0)
        y -= size
        fill = Markup(' fill="url(#{})"').format(pattern) if pattern else Markup(' class="{}"').format(kind)
        found.append(
            Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"{}/>').format(
                x + step * 0.1, y, max(step * 0.8, 0.8), size, fill
            )
        )
    return Markup("").join([*found, Markup("</g>")])


def _ceiling(number: int) -> int:
    """Return a round number of at least this, which four parts divide."""
    if number <= 4:  # noqa: PLR2004 - the four parts of the axis
        return 4
    size = 1
    while size * 10 < number:
        size *= 10
    for step in (1, 2, 4, 8, 10):
        if step * size >= number:
            return max(step * size, 4)
    return size * 20
