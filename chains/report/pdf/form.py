"""The form ``pdf`` of a report: tagged (PDF/UA-1), for archives (PDF/A-2a), with equal bytes each time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

import typst

from chains.errors import ChainsError
from chains.report.charts.svg import FONT
from chains.report.document.digest import document_digest
from chains.report.document.file import Document
from chains.report.forms.page import page_of
from chains.report.forms.table import File
from chains.report.pdf.pages import chart_file, page_data, pictures
from chains.report.pdf.shown import shown

STANDARDS: Final = ["a-2a", "ua-1"]
"""PDF/A-2a has every demand of PDF/A-2 on structure, and goes together with PDF/UA-1; PDF/A-4 does not."""


_FONT: Final = "Libertinus Serif, DejaVu Sans Mono"


class PdfError(ChainsError):
    """typst did not make the pages."""


def pdf_files(document: Document) -> Iterator[File]:
    """Yield the file. Raises :class:`PdfError`."""
    yield File("report.pdf", [write_pdf(document)])


def picture(svg: str) -> str:
    """Return a chart with the fonts and the characters of the pages."""
    return shown(svg).replace(FONT, _FONT)


def write_pdf(document: Document) -> bytes:
    """Return the pages of a report as PDF. Raises :class:`PdfError`."""
    template = files(__package__).joinpath("report.typ").read_bytes()
    page = page_of(document)
    scope = document.head["scope"]
    data = page_data(
        page,
        at=scope["at"],
        digest=document_digest(document),
        tool=f"{scope['tool']['name']} {scope['tool']['version']}",
    )
    written_data = json.dumps(data, ensure_ascii=True, sort_keys=True).encode()
    charts = {chart_file(one): picture(one.svg).encode() for one in pictures(page)}
    made = datetime.fromisoformat(scope["at"])
    # its types do not know that files can be given in memory
    compile_files: Any = typst.compile
    try:
        written = compile_files(
            {"main.typ": template, "data.json": written_data, **charts},
            format="pdf",
            ignore_system_fonts=True,
            pdf_standards=STANDARDS,
            timestamp=made,
        )
    except typst.TypstError as error:
        raise PdfError(f"pdf: typst did not make the pages: {error.message}") from error
    except BaseException as error:
        # a panic of typst is no Exception
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise PdfError(f"pdf: typst failed inside: {error}") from error
    return bytes(written)
