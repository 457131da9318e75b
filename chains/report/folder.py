"""A report as a folder: written aside, and put in its place when it is whole.

Whoever ends the process meanwhile leaves no half report: the folder is renamed at the end. What is left of
such a process beside it is removed by the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chains.errors import InputError, UsageError
from chains.report.document.file import Document, read_document, write_document
from chains.report.forms.table import File, Form
from chains.report.names import REPORT, SUMS
from storage.durable import sync_files, sync_folder


@dataclass(frozen=True, slots=True)
class Written:
    """A file of a report: its name, and the SHA-256 of its content in hex."""

    name: str
    digest: str


Sign = Callable[[Document, Sequence[Written]], Iterable[File]]
"""Returns the files with the signatures over the files of a report."""


def write_folder(
    out: Path, document: Document, forms: Iterable[Form], sign: Sign | None = None
) -> list[Written]:
    """Write a report in some forms into a new folder, and return its files.

    The forms read the document from its file. Raises :class:`UsageError` for a folder that is not empty, or
    that another process is writing, and :class:`InputError` if something cannot be written.
    """
    try:
        with _aside(out) as folder:
            files = [_write_report(folder / REPORT, document)]
            written = read_document(folder / REPORT, is_own=True)
            for form in forms:
                files += [_write(folder, file) for file in form(written)]
            if sign is not None:
                files += [_write(folder, file) for file in sign(written, files)]
            sums = "".join(f"{one.digest}  {one.name}\n" for one in sorted(files, key=lambda one: one.name))
            _write(folder, File(SUMS, [sums.encode()]))
            sync_files(os.fspath(path) for path in sorted(folder.iterdir()))
            sync_folder(folder)
    except OSError as error:
        raise InputError(f"{error.filename or out}: {error.strerror or error}") from error
    return files


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """Give an empty folder beside ``out``, which gets its name at the end."""
    refuse_used(out)
    aside = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside.mkdir(exist_ok=True)
    handle = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{out}: another process is writing this report") from error
        _empty(aside)
        try:
            yield aside
            aside.rename(out)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_folder(out.parent)
    finally:
        os.close(handle)


def refuse_used(out: Path) -> None:
    """Raise :class:`UsageError` for a folder in which there is something, or a file."""
    if out.name in {"", "..", "."}:
        raise UsageError(f"{out}: name a folder for the report")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out}: is no folder: name a new one")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out}: is not empty: name a new folder for each report")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write_report(path: Path, document: Document) -> Written:
    with path.open("xb") as file:
        write_document(document, file)
    return Written(path.name, digest_of(path))


def _write(folder: Path, file: File) -> Written:
    digest = hashlib.sha256()
    with (folder / file.name).open("xb") as out:
        for part in file.parts:
            out.write(part)
            digest.update(part)
    return Written(file.name, digest.hexdigest())


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex. Raises :class:`OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
