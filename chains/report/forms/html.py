"""A report as one HTML file: no script, no request, a style for paper, and one for dark screens.

The template escapes everything (autoescape), and every text is made visible first. The pictures are the only
markup that comes from elsewhere: :mod:`chains.report.charts` escapes what is in them. A policy in the file
itself forbids scripts and requests, and lets only its own style count, by its digest.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from chains.report.document.file import Document
from chains.report.forms.model import Bullets, Grid, Pairs, Picture, Words
from chains.report.forms.page import page_of
from chains.report.forms.table import File
from chains.text import plain

_KINDS = {Words: "words", Bullets: "bullets", Pairs: "pairs", Grid: "grid", Picture: "picture"}


def html_files(document: Document) -> Iterator[File]:
    """Yield the file."""
    folder = files(__package__)
    style = (folder / "report.css").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True,
        finalize=_visible,
        loader=DictLoader({"report": (folder / "report.html.jinja").read_text(encoding="utf-8")}),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    template = environment.get_template("report")
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    parts = template.generate(
        page=page_of(document),
        scope=document.head["scope"],
        style=Markup(style),  # noqa: S704 - our own file
        style_digest=digest,
        kind_of=lambda part: _KINDS[type(part)],
        picture_of=lambda chart: Markup(chart.svg),  # noqa: S704 - escaped where it is drawn
    )
    yield File("report.html", (part.encode() for part in parts))


def _visible(value: Any) -> Any:
    """Return a text with its invisible characters shown; markup stays as it is."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else plain(value)
