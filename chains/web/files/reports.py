"""Folders that ``chains report`` wrote: each has a ``report.json``, other forms of it, and signatures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from chains.errors import InputError
from chains.report.document.file import Document, read_document
from chains.tekton.raw import objects_at, text_at
from chains.web.files.watched import files_of
from signers.errors import FormatError
from signers.formats.bundle import Bundle
from signers.formats.dsse import Envelope

REPORT: Final = "report.json"
MOST: Final = 100
"""Reports that are listed, the newest."""
LARGEST_FILE: Final = 512 * 1024 * 1024
_LARGEST_BUNDLE: Final = 16 * 1024 * 1024
_BUNDLE_END: Final = ".bundle.json"


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A file of a report: its name, size in bytes, and SHA-256 in hex."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Report:
    """One report. ``signatures`` says of each bundle what it is about; nothing is verified here."""

    name: str
    folder: Path
    document: Document
    digest: str
    files: tuple[ReportFile, ...]
    signatures: tuple[tuple[str, str], ...]

    @property
    def head(self) -> Any:
        """The report without its long lists."""
        return self.document.head

    def file(self, name: str) -> Path | None:
        """Return the path of one of its files, None if it has none of this name."""
        return next((self.folder / one.name for one in self.files if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Reports:
    """The reports, the newest first, and what could not be read."""

    reports: tuple[Report, ...]
    problems: tuple[str, ...]

    def named(self, name: str) -> Report | None:
        """Return a report by its name."""
        return next((one for one in self.reports if one.name == name), None)


def read_reports(paths: Sequence[Path]) -> Reports:
    """Read the reports below folders."""
    found: dict[str, Report] = {}
    problems = []
    for path in files_of(paths, (REPORT,)):
        if path.name != REPORT:
            continue
        try:
            report = _report(path, paths)
        except (InputError, OSError) as error:
            problems.append(f"{path.parent.name}: {error}")
            continue
        found.setdefault(report.name, report)
    newest = sorted(found.values(), key=lambda one: text_at(one.head, "scope", "at"), reverse=True)
    return Reports(tuple(newest[:MOST]), tuple(problems))


def _report(path: Path, paths: Sequence[Path]) -> Report:
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"larger than {LARGEST_FILE >> 20} MiB")
    folder = path.parent
    files = tuple(
        ReportFile(one.name, one.stat().st_size, _digest(one))
        for one in sorted(folder.iterdir())
        if one.is_file() and not one.is_symlink() and not one.name.startswith(".")
    )
    digest = next(one.digest for one in files if one.name == REPORT)
    signatures = tuple(
        (one.name, _signature(folder / one.name, digest))
        for one in files
        if one.name.endswith(_BUNDLE_END) and one.size <= _LARGEST_BUNDLE
    )
    return Report(_name(folder, paths), folder, read_document(path), digest, files, signatures)


def _name(folder: Path, paths: Sequence[Path]) -> str:
    """Return the folder's place below the folder of the option; its own name if it is that folder."""
    for path in paths:
        if folder != path and folder.is_relative_to(path):
            return "~".join(folder.relative_to(path).parts)
    return folder.name


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _signature(path: Path, digest: str) -> str:
    """Return what the statement in a bundle is about, in words."""
    try:
        content = Bundle.from_bytes(path.read_bytes()).content
        payload = orjson.loads(content.payload) if isinstance(content, Envelope) else None
    except (FormatError, OSError, orjson.JSONDecodeError):
        return "cannot be read as a signature"
    named = [
        text_at(one, "digest", "sha256")
        for one in objects_at({"subject": (payload or {}).get("subject")}, "subject")
    ]
    return "names the digest of this report" if digest in named else "names another digest than this report's"
