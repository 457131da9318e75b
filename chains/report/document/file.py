"""A report as a file, and read again.

The file is canonical: the members of every object are sorted by name, each member of the report begins on a
line of its own, and each entry of a long list is one line. So the same report has the same bytes, and a long
list is read line by line. A file of another layout is refused. Invisible characters are JSON escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast, get_type_hints

import orjson

from chains.errors import AbsentError, InputError
from chains.report.document.format import ROWS, SCHEMA, Artifact, Attestation, Head, Row, Run
from chains.report.document.shape import Fits, fits
from chains.text import plain, plain_json, why_of

_ROWS = {"runs": Run, "artifacts": Artifact, "attestations": Attestation}
_HEAD = get_type_hints(Head, include_extras=True)
LONGEST_LINE = 64 * 1024 * 1024
"""Bytes of the longest line that is read."""


@dataclass(frozen=True, slots=True)
class Document:
    """A report. The long lists are read each time that they are asked for, so that none is in memory."""

    head: Head
    read_runs: Callable[[], Iterable[Run]]
    read_artifacts: Callable[[], Iterable[Artifact]]
    read_attestations: Callable[[], Iterable[Attestation]]

    @classmethod
    def of(
        cls,
        head: Head,
        runs: Sequence[Run] = (),
        artifacts: Sequence[Artifact] = (),
        attestations: Sequence[Attestation] = (),
    ) -> Document:
        """Return a document whose lists are in memory."""
        return cls(head, lambda: runs, lambda: artifacts, lambda: attestations)

    def runs(self) -> Iterator[Run]:
        """Yield every run, in the order of their ends."""
        return iter(self.read_runs())

    def artifacts(self) -> Iterator[Artifact]:
        """Yield every artifact, in the order of their runs."""
        return iter(self.read_artifacts())

    def attestations(self) -> Iterator[Attestation]:
        """Yield every piece of evidence, in the order of their runs."""
        return iter(self.read_attestations())

    def rows(self, name: str) -> Iterator[Row]:
        """Yield the entries of a list of :data:`ROWS`."""
        lists: dict[str, Callable[[], Iterator[Row]]] = {
            "runs": self.runs, "artifacts": self.artifacts, "attestations": self.attestations,
        }  # fmt: skip
        return lists[name]()


def canonical(value: object) -> bytes:
    """Return a value as one line of canonical JSON, without a line break."""
    written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return written if written.isascii() and b"\x7f" not in written else plain_json(written.decode()).encode()


def write_document(document: Document, out: BinaryIO | BufferedIOBase) -> None:
    """Write a report. Raises :class:`OSError`."""
    first = True
    for name in sorted((*document.head, *ROWS)):
        out.write((b"{\n" if first else b",\n") + canonical(name) + b":")
        first = False
        if name not in ROWS:
            out.write(canonical(document.head[name]))  # type: ignore[literal-required]
            continue
        out.write(b"[")
        separator = b"\n"
        for row in document.rows(name):
            out.write(separator + canonical(row))
            separator = b",\n"
        out.write(b"\n]")
    out.write(b"\n}\n")


def read_document(path: Path, *, is_own: bool = False) -> Document:
    """Open the report in a file. Its long lists are read when they are asked for, from the file again.

    Every line is compared with its form and its type once, but not in a file that this process wrote
    (``is_own``).
    Raises :class:`InputError` for a file that :func:`write_document` would not
    have written, or that cannot be read.
    """
    head: dict[str, Any] = {}
    places: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            _read(path, file, head, places, is_own=is_own)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AbsentError(f"{path}: {why_of(error)}") from error
    except OSError as error:
        raise InputError(f"{path}: {why_of(error)}") from error
    return Document(
        cast("Head", head),
        lambda: _rows(path, places["runs"]),
        lambda: _rows(path, places["artifacts"]),
        lambda: _rows(path, places["attestations"]),
    )


def _read(
    path: Path, file: BufferedReader, head: dict[str, Any], places: dict[str, int], *, is_own: bool
) -> None:
    if _line(path, file) != b"{":
        raise _refused(path, "it does not begin with a brace on a line of its own")
    names: list[str] = []
    is_last = False
    while not is_last:
        where = file.tell()
        line = _line(path, file)
        name = _name(path, line)
        names.append(name)
        rest = line[len(canonical(name)) + 1 :]
        if name in ROWS:
            if rest != b"[":
                raise _refused(path, f"{name} is no list with an entry in each line")
            places[name] = where + len(line) + 1
            is_last = _skip(path, file, None if is_own else fits(_ROWS[name]))
            continue
        is_last = not rest.endswith(b",")
        head[name] = _value(path, rest if is_last else rest[:-1])
        kind = _HEAD.get(name)
        if kind is None or not (is_own or fits(kind)(head[name])):
            raise _refused(path, f"{plain(name[:40])!r} is not what a report has there")
    if _line(path, file) != b"}" or file.read(1):
        raise _refused(path, "it does not end with a brace on a line of its own")
    wanted = sorted((*Head.__annotations__, *ROWS))
    if names != wanted or head.get("schema") != SCHEMA:
        raise _refused(path, f"its members are not those of a report of {SCHEMA}")


def _skip(path: Path, file: BufferedReader, is_entry: Fits | None) -> bool:
    """Look at the entries of a list, and return whether it is the last member of the report."""
    before = True
    while (line := _line(path, file)) not in {b"]", b"],"}:
        if not before:
            raise _refused(path, "an entry of a list has no comma after it")
        before = line.endswith(b",")
        if is_entry is not None and not is_entry(_value(path, line[:-1] if before else line)):
            raise _refused(path, "an entry of a list is not what a report has there")
    return line == b"]"


def _rows(path: Path, place: int) -> Iterator[Any]:
    with path.open("rb") as file:
        file.seek(place)
        while (line := _line(path, file)) not in {b"]", b"],"}:
            yield orjson.loads(line[:-1] if line.endswith(b",") else line)


def _line(path: Path, file: BufferedReader) -> bytes:
    line = file.readline(LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise _refused(path, "it ends in the middle of a line" if line else "it ends too early")
    return line[:-1]


def _name(path: Path, line: bytes) -> str:
    name, colon, _ = line.partition(b":")
    found = _value(path, name) if colon else None
    if not isinstance(found, str):
        raise _refused(path, "a line does not begin with the name of a member")
    return found


def _value(path: Path, written: bytes) -> Any:
    try:
        found = orjson.loads(written)
    except orjson.JSONDecodeError as error:
        raise _refused(path, f"a line is no JSON: {plain(str(error))}") from error
    if canonical(found) != written:
        raise _refused(path, "a line is not in the one form that is written")
    return found


def _refused(path: Path, why: str) -> InputError:
    return InputError(f"{path}: this is no report as it was written: {why}; it was changed, or is damaged")
