"""The form ``pdf`` of a report: tagged (PDF/UA-1), for archives (PDF/A-2a), with equal bytes each time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

import typst

from chains.errors import ChainsError
from chains.report.charts.charts import charts_of
from chains.report.charts.svg import FONT
from chains.report.document.file import Document
from chains.report.forms.table import File
from chains.report.pdf.pages import chart_file, pages
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
    charts = charts_of(document)
    data = json.dumps(pages(document, charts), ensure_ascii=True, sort_keys=True).encode()
    pictures = {chart_file(one): picture(one.svg).encode() for one in charts}
    made = datetime.fromisoformat(document.head["scope"]["at"])
    # its types do not know that files can be given in memory
    compile_files: Any = typst.compile
    try:
        written = compile_files(
            {"main.typ": template, "data.json": data, **pictures},
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
