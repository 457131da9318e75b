"""The digest of a report: that of its file, which is canonical."""

from __future__ import annotations

import hashlib
from io import BufferedIOBase

from chains.report.document.file import Document, write_document


class _Sha256(BufferedIOBase):
    """A file that is hashed and kept nowhere."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.digest.update(data)
        return len(data)


def document_digest(document: Document) -> str:
    """Return the SHA-256 of the file of a report, in hexadecimal digits. Its lists are read once."""
    sink = _Sha256()
    write_document(document, sink)
    return sink.digest.hexdigest()
