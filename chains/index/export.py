"""Writes an index for other programs: a row for each statement, with what is known about its run.

JSON has one object a line. Parquet has a folder for each day on which runs ended, as data lakes and DuckDB
read it. Rows are read in pages, so the size of an index does not matter.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import select, tuple_

from chains.columns import csv_line
from chains.errors import UsageError
from chains.index.codes import Kind, Level, Outcome, Role, Verdict, digest_text, original, uid_text, word
from chains.index.database import Place, reading
from chains.index.rows import chunks
from chains.index.tables import artifact, attestation, part, run, summary, term
from chains.text import rfc3339

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Row

_PAGE = 10_000
_MOST_WORDS = 200_000
_TIMES = ("finishedAt", "checkedAt", "createdAt", "startedAt")
_NUMBERS = ("size", "podWait", "stepWait", "retries", "requestedCpu", "requestedMemory")
COLUMNS = (
    "digest", "predicateType", "verdict", "signer", "reason", "detail", "checkedAt", "size", "finishedAt",
    "namespace", "pipeline", "builder", "repository", "level", "outcome", "subjects", "runUid", "runKind",
    "runName", "task", "commit", "trigger", "sender", "serviceAccount", "node", "runReason", "createdAt",
    "startedAt", "podWait", "stepWait", "retries", "requestedCpu", "requestedMemory", "spotWish",
    "levelReason", "policy", "policyDigest", "result", "verifier", "verifiedLevels",
)  # fmt: skip
"""The names of the columns; their meaning is that of the tables ``attestation`` and ``run``."""
_UNKNOWN_DAY = "unknown"
_RUN = (
    run.c.uid, run.c.kind, run.c.name, run.c.task, run.c.commit, run.c.trigger, run.c.sender, run.c.account,
    run.c.node, run.c.reason, run.c.created, run.c.started, run.c.pod_wait, run.c.step_wait, run.c.retries,
    run.c.cpu, run.c.memory, run.c.spot_wish, run.c.level_reason,
)  # fmt: skip
_SUMMARY = (summary.c.passed, summary.c.verifier, summary.c.levels)
_WORDS = (
    attestation.c.policy, attestation.c.predicate, attestation.c.signer, attestation.c.reason,
    attestation.c.namespace, attestation.c.pipeline, attestation.c.builder, attestation.c.repository,
    run.c.task, run.c.trigger,
    run.c.sender, run.c.account, run.c.node, run.c.reason, run.c.level_reason,
)  # fmt: skip


def to_json_lines(place: Place) -> Iterator[str]:
    """Yield a line of JSON for each statement, oldest run first. Fields that are not known are null.

    Raises :class:`IndexAbsent` or :class:`IndexUnavailable`.
    """
    for row in _rows(place):
        times = {name: _shown(row[name]) for name in _TIMES}
        yield orjson.dumps(row | times).decode()


def to_csv(place: Place) -> Iterator[str]:
    """Yield the lines of a CSV file. What a spreadsheet takes for a formula is escaped."""
    yield csv_line(COLUMNS)
    for row in _rows(place):
        yield csv_line([_cell(name, row[name]) for name in COLUMNS])


def write_parquet(place: Place, folder: Path) -> int:
    """Write ``day=2026-01-02/statements.parquet`` for each day into a new folder. Return how many rows.

    Raises :class:`UsageError` if the folder is there, and :class:`ModuleNotFoundError` without pyarrow.
    """
    import pyarrow as pa  # noqa: PLC0415 - an optional package
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415

    if folder.exists():
        raise UsageError(f"{folder} is there already: name a new folder")
    beside = folder.with_name(f"{folder.name}.part")
    # what an export that was stopped left behind
    shutil.rmtree(beside, ignore_errors=True)
    schema = pa.schema([(name, _type(name)) for name in COLUMNS])
    written, day = 0, ""
    writer: ParquetWriter | None = None
    try:
        for rows in _pages(place):
            for on, some in _by_day(rows):
                if on != day or writer is None:
                    if writer is not None:
                        writer.close()
                    day = on
                    path = beside / f"day={day}"
                    path.mkdir(parents=True, exist_ok=True)
                    writer = ParquetWriter(path / "statements.parquet", schema, compression="zstd")
                columns = [[row[name] for row in some] for name in COLUMNS]
                writer.write_table(pa.table(columns, schema=schema))
                written += len(some)
    finally:
        if writer is not None:
            writer.close()
    beside.mkdir(parents=True, exist_ok=True)
    beside.rename(folder)
    return written


def _type(name: str) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415 - an optional package

    if name in _TIMES:
        return pa.timestamp("s", "UTC")
    if name in _NUMBERS:
        return pa.int64()
    if name == "spotWish":
        return pa.bool_()
    return pa.list_(pa.string()) if name == "subjects" else pa.string()


def _by_day(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the rows of each day, which follow one another."""
    day = ""
    some: list[dict[str, Any]] = []
    for row in rows:
        seconds = row["finishedAt"]
        on = datetime.fromtimestamp(seconds, UTC).date().isoformat() if seconds else _UNKNOWN_DAY
        if on != day and some:
            yield day, some
            some = []
        day = on
        some.append(row)
    if some:
        yield day, some


def _cell(name: str, value: Any) -> str:
    if name in _TIMES:
        return _shown(value) or ""
    if isinstance(value, list):
        return " ".join(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _shown(seconds: int | None) -> str | None:
    return rfc3339(datetime.fromtimestamp(seconds, UTC)) if seconds else None


def _rows(place: Place) -> Iterator[dict[str, Any]]:
    for page in _pages(place):
        yield from page


def _pages(place: Place) -> Iterator[list[dict[str, Any]]]:
    """Yield all statements by the end of their run, as they are when the first is read."""
    asked = (
        select(
            attestation,
            *(column.label(f"run_{column.name}") for column in _RUN),
            *(column.label(f"summary_{column.name}") for column in _SUMMARY),
        )
        .outerjoin(run, run.c.id == attestation.c.run)
        .outerjoin(summary, summary.c.attestation == attestation.c.id)
        .order_by(attestation.c.finished, attestation.c.id)
        .limit(_PAGE)
    )
    with reading(place) as connection:
        words = _Words(connection)
        after = (-1, -1)
        while True:
            behind = tuple_(attestation.c.finished, attestation.c.id) > after
            found = connection.execute(asked.where(behind)).all()
            if not found:
                return
            words.learn(found)
            subjects = _subjects(connection, words, [row.id for row in found])
            yield [_row(row, words, subjects.get(row.id, [])) for row in found]
            after = (found[-1].finished, found[-1].id)


class _Words:
    """The texts of words, as many as are remembered."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._texts: dict[int, str] = {}

    def learn(self, rows: Iterable[Row[Any]]) -> None:
        """Look up the words of rows."""
        names = [column.name if column.table is attestation else f"run_{column.name}" for column in _WORDS]
        self.look_up({getattr(row, name) for row in rows for name in (*names, "summary_verifier")})

    def look_up(self, numbers: set[int | None]) -> None:
        """Look up words by their ids."""
        if len(self._texts) > _MOST_WORDS:
            self._texts = {}
        for some in chunks(numbers - self._texts.keys() - {None}):
            for number, text in self._connection.execute(
                select(term.c.id, term.c.text).where(term.c.id.in_(some))
            ):
                self._texts[number] = original(text)

    def __call__(self, number: int | None) -> str | None:
        return None if number is None else self._texts[number]


def _subjects(connection: Connection, words: _Words, numbers: list[int]) -> dict[int, list[str]]:
    """Return ``name@algorithm:hex`` of the subjects of some statements."""
    found: dict[int, list[str]] = {}
    columns = (part.c.attestation, artifact.c.name, artifact.c.algorithm, artifact.c.digest)
    subjects = (
        select(*columns)
        .join(artifact, artifact.c.id == part.c.artifact)
        .where(artifact.c.role == Role.SUBJECT, artifact.c.digest != b"")
    )
    for some in chunks(numbers):
        rows = connection.execute(subjects.where(part.c.attestation.in_(some))).all()
        words.look_up({number for row in rows for number in (row.name, row.algorithm)})
        for number, name, algorithm, digest in rows:
            text = f"{words(name)}@{words(algorithm)}:{digest_text(bytes(digest))}"
            found.setdefault(number, []).append(text)
    for listed in found.values():
        listed.sort()
    return found


def _row(row: Row[Any], words: _Words, subjects: list[str]) -> dict[str, Any]:
    uid, commit = row.run_uid, row.run_commit
    values = (
        bytes(row.digest).hex(), words(row.predicate), word(Verdict(row.verdict)), words(row.signer),
        words(row.reason), _text(row.detail), row.checked, row.size, row.finished or None,
        words(row.namespace), words(row.pipeline), words(row.builder), words(row.repository),
        word(Level(row.level)) if row.level else None, word(Outcome(row.outcome)) if row.outcome else None,
        subjects, None if uid is None else uid_text(bytes(uid)),
        word(Kind(row.run_kind)) if row.run_kind else None, _text(row.run_name), words(row.run_task),
        None if commit is None else digest_text(bytes(commit)), words(row.run_trigger),
        words(row.run_sender), words(row.run_account), words(row.run_node), words(row.run_reason),
        row.run_created, row.run_started, row.run_pod_wait, row.run_step_wait, row.run_retries, row.run_cpu,
        row.run_memory, row.run_spot_wish, words(row.run_level_reason), words(row.policy),
        None if row.policy_digest is None else bytes(row.policy_digest).hex(),
        None if row.summary_passed is None else "passed" if row.summary_passed else "failed",
        words(row.summary_verifier), _text(row.summary_levels),
    )  # fmt: skip
    return {name: _utf8(value) for name, value in zip(COLUMNS, values, strict=True)}


def _text(text: str | None) -> str | None:
    return None if text is None else original(text)


def _utf8(value: Any) -> Any:
    """Return a value without lone surrogates, which no format has."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return [_utf8(one) for one in value] if isinstance(value, list) else value
