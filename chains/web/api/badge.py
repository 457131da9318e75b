"""A small picture for an image: whether the index could confirm its evidence, and when it looked.

It says "confirmed", with the day: that a signature was confirmed then does not make an image safe, and says
nothing about today.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from chains.errors import ChainsError
from chains.index.codes import Verdict
from chains.index.query.answer import answered
from chains.index.query.scope import View
from chains.index.query.terms import Digest, Key, Query, Term
from chains.web.api.problems import NOT_THERE, problem
from chains.web.api.route import tagged
from chains.web.keys import SOURCE
from chains.web.viewer import VIEWER

LABEL: Final = "evidence"
_MOST: Final = 100
_VALUE: Final = re.compile(r"([0-9a-f]{64})\.svg")
_LETTER: Final = 6.6
"""Pixels of a letter on average, of the font and size below."""
_COLOURS: Final = {"confirmed": "#1a5e20", "not": "#7a1f1f", "unknown": "#4a4a4a"}
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


async def badge(request: web.Request) -> web.Response:
    """Answer with the picture of an image. What may not be seen is unknown."""
    match = _VALUE.fullmatch(request.match_info["file"])
    if match is None:
        return problem(404, NOT_THERE)  # raised, it would become a page
    source, viewer = request.app[SOURCE], request[VIEWER]
    query = Query((Term(Key.IMAGE, Digest(match[1], "sha256")),))

    def work(view: View) -> str:
        found = answered(source.place, view, query, source.clock(), limit=_MOST, namespaces=viewer.namespaces)
        confirmed = [hit.checked for hit in found.hits if hit.verdict is Verdict.VERIFIED]
        if confirmed:
            day = datetime.fromtimestamp(max(confirmed), UTC)
            return f"confirmed {day.day} {_MONTHS[day.month - 1]} {day.year}"
        return "not confirmed" if found.hits else "unknown"

    try:
        words = await source.read(viewer, work)
    except ChainsError:
        return web.Response(
            body=picture("unknown"),
            status=503,
            headers={"Content-Type": "image/svg+xml", "Cache-Control": "no-store"},
        )
    return tagged(request, picture(words), "image/svg+xml")


def picture(words: str) -> bytes:
    """Return the SVG with one of the words above: text and a colour, no script, nothing from elsewhere."""
    left, right = round(len(LABEL) * _LETTER) + 12, round(len(words) * _LETTER) + 12
    colour = _COLOURS[words.partition(" ")[0]]
    text = 'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle" fill="#fff"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{LABEL}: {words}"><title>{LABEL}: {words}</title>'
        f'<rect width="{left}" height="20" fill="#333"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/>'
        f'<text x="{left / 2:g}" y="14" {text}>{LABEL}</text>'
        f'<text x="{left + right / 2:g}" y="14" {text}>{words}</text></svg>\n'
    ).encode()
