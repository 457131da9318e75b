"""The names of a report's files, and how a report is known by them. Fast to import."""

from __future__ import annotations

from pathlib import Path

REPORT, SUMS = "report.json", "SHA256SUMS"
BUNDLE = "report.bundle.json"
"""The Sigstore bundle of the first signer; that of a second one is ``report.2.bundle.json``."""
_BEGINS = b'{\n"artifacts":['


def bundle_name(number: int) -> str:
    """Return the name of the bundle of a signer, counted from 1."""
    return BUNDLE if number == 1 else f"report.{number}.bundle.json"


def is_report(word: str) -> bool:
    """Whether a word is the folder of a report, or the document of one."""
    path = Path(word)
    try:
        if path.is_dir():
            return (path / REPORT).is_file()
        if path.name != REPORT or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_BEGINS)) == _BEGINS
    except (OSError, ValueError):  # a name that no file can have
        return False
