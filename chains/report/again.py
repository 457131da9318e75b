"""The forms of a report in its folder, made again from its document and compared byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from chains.errors import ChainsError
from chains.report.check import Differences
from chains.report.document.file import Document
from chains.report.folder import digest_of
from chains.report.forms.table import FORMS, open_form
from chains.report.gather.program import this_program

_FIRST = {
    "html": "report.html",
    "markdown": "report.md",
    "csv": "*.csv",
    "oscal": "oscal-*.json",
    "pdf": "report.pdf",
    "ksi": "fedramp-*.json",
}
"""Which files say that a folder has a form."""


def compare_forms(folder: Path, document: Document, into: Differences) -> Iterator[str]:
    """Add each file of a form that is not what the document gives. Yield what could not be compared, and why.

    Another program may write a form in another way, so its forms are not compared. Raises :class:`OSError`.
    """
    there = [name for name in FORMS if any(folder.glob(_FIRST[name]))]
    if there and document.head["scope"]["tool"] != this_program():
        yield f"{', '.join(there)}: another program made the report; its files were not made again"
        return
    for name in there:
        try:
            files = list(open_form(name)(document))
        except (ModuleNotFoundError, ChainsError) as error:
            yield f"{name}: it was not made again: {error}"
            continue
        for file in files:
            path, made = folder / file.name, hashlib.sha256()
            for part in file.parts:
                made.update(part)
            said = digest_of(path) if path.is_file() else None
            if said != made.hexdigest():
                into.add(file.name, said and f"sha256:{said}", f"sha256:{made.hexdigest()}")
