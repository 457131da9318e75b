"""The files of a log.

::

    LEDGER/share-0-of-1/origin                      the log's name, one line
                        lock                        held by the writer
                        2026-11-29.jsonl            the entries of a UTC day, one a line
                        2026-11-29.open.jsonl       the entries of runs that were open or pending at its end
                        2026-11-29.bundle.json      the signed day statement, a Sigstore bundle
                        2026-11-29.checkpoint       the signed head of the tree at the end of the day
                        2026-11-29.cosigned         the same with the signatures of witnesses

A day is closed if it has a bundle. The other files of a closed day are written before it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from chains.audit.ledger.errors import LedgerError, LedgerMissing, NoLedgerFolder
from chains.audit.ledger.lines import LONGEST_LINE
from chains.config.ledger import is_origin
from storage.files import open_file, read_file

LARGEST_BUNDLE = 1024 * 1024
"""Bytes of the largest bundle and checkpoint that are read."""
ENTRIES, OPEN, BUNDLE, CHECKPOINT, STORED, COSIGNED = (
    ".jsonl",
    ".open.jsonl",
    ".bundle.json",
    ".checkpoint",
    ".stored.json",
    ".cosigned",
)
ORIGIN, LOCK = "origin", "lock"
_DAY = re.compile(r"(\d{4}-\d\d-\d\d)\.(jsonl|bundle\.json)", re.ASCII)
_MOST_LOGS = 1000
_SHORT_LINES = 4096
"""Bytes at the end of a file that have its last line, if lines are as long as most are."""
_LONGEST = timedelta(days=36_600)


class LogFolder:
    """One log's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def origin(self) -> str:
        """Return the log's name. Raises :class:`LedgerError`."""
        text = self._read(self.path / ORIGIN, 1024).decode(errors="replace").removesuffix("\n")
        if not is_origin(text):
            raise LedgerError(f"{self.path / ORIGIN}: {text[:80]!r} is no name of a log")
        return text

    def file(self, day: date, suffix: str) -> Path:
        """Return the path of a day's file."""
        return self.path / f"{day.isoformat()}{suffix}"

    def days(self) -> list[date]:
        """Return the days that have entries or a bundle, in order. Raises :class:`LedgerError`."""
        try:
            names = [path.name for path in self.path.iterdir()]
        except OSError as error:
            raise LedgerError(f"{self.path}: {error.strerror or error}") from error
        found = {match[1] for name in names if (match := _DAY.fullmatch(name))}
        try:
            days = sorted(map(date.fromisoformat, found))
        except ValueError as error:
            raise LedgerError(f"{self.path}: a file is named after a day that does not exist") from error
        if days and days[-1] - days[0] > _LONGEST:
            raise LedgerError(f"{self.path}: its days are from {days[0]} to {days[-1]}, more than is read")
        return days

    def is_closed(self, day: date) -> bool:
        """Whether a day has a bundle."""
        return self.file(day, BUNDLE).exists()

    def lines(self, day: date, suffix: str = ENTRIES) -> Iterator[bytes]:
        """Yield the lines of a file with their line breaks; the last one may have none.

        A file that does not exist has none. Raises :class:`LedgerError`.
        """
        path = self.file(day, suffix)
        try:
            with open_file(path) as file:
                while line := file.readline(LONGEST_LINE + 1):
                    yield line
        except FileNotFoundError:
            return
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror or error}") from error

    def last_line(self, day: date) -> bytes:
        """Return the last whole entry of a day without its line break, empty if it has none.

        Raises :class:`LedgerError`.
        """
        path = self.file(day, ENTRIES)
        try:
            with open_file(path) as file:
                size = file.seek(0, os.SEEK_END)
                for length in (_SHORT_LINES, 2 * LONGEST_LINE):
                    file.seek(max(0, size - length))
                    whole, line_break, _ = file.read().rpartition(b"\n")
                    if b"\n" in whole:
                        break
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror or error}") from error
        return whole.rpartition(b"\n")[2] if line_break else b""

    def whole_lines(self, day: date) -> Iterator[bytes]:
        """Yield the entries of a day without line breaks, and not a last one that is still being written."""
        return (line[:-1] for line in self.lines(day) if line.endswith(b"\n"))

    def read(self, day: date, suffix: str) -> bytes:
        """Return a bundle or checkpoint. Raises :class:`LedgerError`."""
        return self._read(self.file(day, suffix), LARGEST_BUNDLE)

    def note(self, day: date) -> bytes:
        """Return the checkpoint of a closed day, with the signatures of witnesses if it has any.

        Raises :class:`LedgerError`.
        """
        return self.read(day, COSIGNED if self.file(day, COSIGNED).exists() else CHECKPOINT)

    def _read(self, path: Path, limit: int) -> bytes:
        try:
            return read_file(path, limit)
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror or error}") from error


def find_logs(folder: Path) -> list[LogFolder]:
    """Return the logs of a ledger in the order of their names; ``folder`` may be one of them.

    Raises :class:`LedgerMissing` if there is none, :class:`LedgerError` if the folder cannot be read.
    """
    if (folder / ORIGIN).exists():
        return [LogFolder(folder)]
    try:
        paths = sorted(path for path in folder.iterdir() if (path / ORIGIN).exists())
    except FileNotFoundError as error:
        raise LedgerMissing(f"{folder}: there is no such folder; name that of ledger.folder") from error
    except NotADirectoryError as error:
        raise NoLedgerFolder(f"{folder} is a file: expected the folder of a ledger") from error
    except OSError as error:
        raise LedgerError(f"{folder}: {error.strerror or error}") from error
    if not paths:
        raise LedgerMissing(
            f"{folder}: there is no ledger in it: expected folders such as share-0-of-1; name that of "
            "ledger.folder"
        )
    if len(paths) > _MOST_LOGS:
        raise LedgerError(f"{folder}: {len(paths)} logs, at most {_MOST_LOGS} are read")
    return [LogFolder(path) for path in paths]
