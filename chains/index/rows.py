"""The ids of rows, of words and of artifacts, and rows on their way into the database.

Ids are given here, not by the database: one process writes an index at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import func, literal_column, select

from chains.index.codes import START, What, clean, start_of
from chains.index.tables import artifact, attestation, metadata, place, run, store, term

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Table

T = TypeVar("T")
AT_ONCE = 500
"""Values of one query."""
MOST_TERMS = 200_000
"""Words that are remembered. While the index has no more, all of them are, and no word is looked up."""
MOST_ARTIFACTS = 50_000
"""Artifacts that are remembered, so that what all runs have in common is not looked up for each batch."""
Artifact = tuple[bytes, int, int, int]
"""An artifact: its digest, and the ids or codes of its algorithm, role and name."""


def chunks(values: Iterable[T], size: int = AT_ONCE) -> Iterator[list[T]]:
    """Yield the values in lists of at most ``size``."""
    found = list(values)
    for start in range(0, len(found), size):
        yield found[start : start + size]


class Ids:
    """The next id of each table with ids, and the ids of what rows share. Valid while nobody else writes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = {
            table.name: (connection.execute(select(func.max(table.c.id))).scalar() or 0) + 1
            for table in (artifact, attestation, place, run, store, term)
        }
        self._artifacts: dict[Artifact, int] = {}
        columns = (place.c.store, place.c.folder, place.c.form, place.c.id)
        self._places = {
            (at, folder, form): number for at, folder, form, number in connection.execute(select(*columns))
        }
        # by the text as it was given, because most texts are given often; a list, as an enum is slow to hash
        self._given: list[dict[str, int]] = [{} for _ in range(max(What) + 1)]
        self._n_given = 0
        self._terms: dict[tuple[int, str], int] = {}
        self._new: list[tuple[int, int, str]] = []
        self._has_all = self._next[term.name] <= MOST_TERMS
        if self._has_all:
            for number, what, text in connection.execute(select(term.c.id, term.c.what, term.c.text)):
                self._terms[what, text] = number

    def new(self, table: Table) -> int:
        """Return an id that no row has."""
        number = self._next[table.name]
        self._next[table.name] = number + 1
        return number

    def word(self, what: What, text: str) -> int:
        """Return the id of a word, which gets one if it has none."""
        number = self._given[what].get(text)
        if number is None:
            number = self._given[what][text] = self._word(int(what), clean(text))
            self._n_given += 1
        return number

    def _word(self, what: int, cleaned: str) -> int:
        number = self._terms.get((what, cleaned)) or self._looked_up(what, cleaned)
        if number is None:
            number = self.new(term)
            self._new.append((number, what, cleaned))
        self._terms[what, cleaned] = number
        return number

    def maybe(self, what: What, text: str) -> int | None:
        """Return the id of a word, None for an empty one."""
        return self.word(what, text) if text else None

    def known(self, what: What, text: str) -> int | None:
        """Return the id of a word, None if it has none."""
        cleaned = clean(text)
        return self._terms.get((int(what), cleaned)) or self._looked_up(what, cleaned)

    def _looked_up(self, what: int, cleaned: str) -> int | None:
        if self._has_all:
            return None
        asked = select(term.c.id).where(term.c.what == what, term.c.text == cleaned)
        return self._connection.execute(asked).scalar()

    def artifacts(self, wanted: set[Artifact], pending: Pending) -> dict[Artifact, int]:
        """Return the ids of artifacts. The rows of new ones wait in ``pending``."""
        if len(self._artifacts) > MOST_ARTIFACTS:
            self._artifacts = {}
        known = self._artifacts
        missing = [one for one in wanted if one not in known]
        if self._next[artifact.name] > 1:
            columns = (artifact.c.digest, artifact.c.algorithm, artifact.c.role, artifact.c.name)
            for found in by_digest(self._connection, {one[0] for one in missing}, *columns, artifact.c.id):
                digest, algorithm, role, name, number = found
                known[bytes(digest), algorithm, role, name] = number
        for one in missing:
            if one not in known:
                known[one] = number = self.new(artifact)
                pending.add(artifact, number, *one)
        return {one: known[one] for one in wanted}

    def known_place(self, at: int, folder: str, form: str) -> int | None:
        """Return the id of a place in a store, None if it has none."""
        words = self.known(What.PLACE, folder), self.known(What.FORMAT, form)
        if words[0] is None or words[1] is None:
            return None
        return self._places.get((at, *words))

    def place(self, at: int, folder: int, form: int, pending: Pending) -> int:
        """Return the id of a place in a store. The row of a new one waits in ``pending``."""
        number = self._places.get((at, folder, form))
        if number is None:
            number = self._places[at, folder, form] = self.new(place)
            pending.add(place, number, at, folder, form)
        return number

    def take_new(self) -> list[tuple[int, int, str]]:
        """Return the rows of new words, and forget words if there are too many."""
        rows, self._new = self._new, []
        if self._n_given > MOST_TERMS:
            self._n_given = 0
            for given in self._given:
                given.clear()
        if len(self._terms) > MOST_TERMS:
            self._terms, self._has_all = {}, False
        return rows


def by_digest(
    connection: Connection, digests: set[bytes], first: Column[Any], *columns: Column[Any]
) -> Iterator[Sequence[Any]]:
    """Yield these columns of the rows with these digests; ``first`` is the column of the digest."""
    starts = {start_of(digest) for digest in digests}
    for some in chunks(starts):
        for row in connection.execute(select(first, *columns).where(literal_column(START).in_(some))):
            if bytes(row[0]) in digests:
                yield row


class Pending:
    """Rows that wait to be inserted, by table. The database has none of them."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Sequence[Any]]] = defaultdict(list)

    def add(self, table: Table, *values: Any) -> None:
        """Add a row, with its values in the order of the columns."""
        self._rows[table.name].append(values)

    def extend(self, table: Table, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows."""
        self._rows[table.name].extend(rows)

    def insert(self, connection: Connection) -> None:
        """Insert all rows."""
        for name, rows in self._rows.items():
            if rows:
                insert(connection, metadata.tables[name], rows)
        self._rows.clear()


def insert(connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows in the fastest way that the database has."""
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(table.columns))
        sql = f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})'  # noqa: S608 - names of our own
        connection.exec_driver_sql(sql, [tuple(row) for row in rows])
        return
    from chains.index.copying import copy_rows  # noqa: PLC0415 - PostgreSQL alone

    copy_rows(connection, table, columns, rows)
