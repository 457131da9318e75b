"""The ids of rows and of words, and rows on their way into the database.

Ids are given here, not by the database: one process writes an index at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import func, select

from chains.index.codes import What, clean
from chains.index.tables import attestation, metadata, run, store, term

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

T = TypeVar("T")
AT_ONCE = 500
"""Values of one query."""
MOST_TERMS = 200_000
"""Words that are remembered. While the index has no more, all of them are, and no word is looked up."""


def chunks(values: Iterable[T], size: int = AT_ONCE) -> Iterator[list[T]]:
    """Yield the values in lists of at most ``size``."""
    found = list(values)
    for start in range(0, len(found), size):
        yield found[start : start + size]


class Ids:
    """The next id of each table with ids, and the ids of words. Valid while nobody else writes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = {
            table.name: (connection.execute(select(func.max(table.c.id))).scalar() or 0) + 1
            for table in (attestation, run, store, term)
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
