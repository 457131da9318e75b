"""Every form of a report, by the name that users give."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from chains.report.document.file import Document


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form: its name without a folder, and its content in parts, which are read once."""

    name: str
    parts: Iterable[bytes]


Form = Callable[[Document], Iterable[File]]
"""Makes the files of a form. Reads nothing but the document. Raises :class:`chains.errors.ChainsError`."""
FORMS: Final = {
    "html": ("chains.report.forms.html:html_files", "one page for a browser, without scripts or requests"),
    "markdown": ("chains.report.forms.markdown:markdown_files", "a page for repositories, with its charts"),
    "csv": ("chains.report.forms.csv_files:csv_files", "a table of each list, for spreadsheets"),
    "oscal": (
        "chains.report.oscal.results:oscal_files",
        "OSCAL assessment results, for programs of compliance",
    ),
    "pdf": ("chains.report.pdf.form:pdf_files", "pages to print and to keep, tagged and for archives"),
    "ksi": ("chains.report.controls.ksi:ksi_files", "a record of FedRAMP's Key Security Indicators"),
}
"""Where each form is, and what it is for. Its module is imported when the form is asked for."""


def open_form(name: str) -> Form:
    """Return a form of :data:`FORMS`. Raises :class:`ModuleNotFoundError` if its extra is not installed."""
    module, _, function = FORMS[name][0].partition(":")
    form: Form = getattr(import_module(module), function)
    return form
