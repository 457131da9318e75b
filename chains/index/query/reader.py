"""Runs SQL on an index through the database's own driver.

SQLAlchemy is not used here: its import alone takes longer than a whole search may.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from chains.errors import UsageError
from chains.extras import install_hint
from chains.index.database import LIVE, Place, absent, check_number, open_sqlite, reason_of
from chains.index.errors import IndexUnavailable
from chains.index.query.sql import Bound, Sql

Rows = Sequence[tuple[Any, ...]]
SECONDS = 60.0
"""How long all statements of one search may take together."""
_STEPS = 20_000
"""Instructions of SQLite's machine between two looks at the clock; they take about a millisecond."""
_WAIT = 10


class QueryTooSlow(IndexUnavailable):
    """A search was stopped because it took too long."""


class Reader:
    """A snapshot of an index, which changes of others do not reach.

    ``is_postgres`` says which dialect the database has.
    """

    def __init__(self, run: Callable[[str, tuple[Bound, ...]], Rows], *, is_postgres: bool) -> None:
        self._run = run
        self.is_postgres = is_postgres

    def rows(self, sql: Sql) -> Rows:
        """Return the rows of a statement. Raises :class:`IndexUnavailable`."""
        return self._run(sql.text, sql.values)

    def explain(self, sql: Sql) -> list[str]:
        """Return how the database would carry out a statement, a line for each step."""
        word = "EXPLAIN" if self.is_postgres else "EXPLAIN QUERY PLAN"
        return [str(row[-1]) for row in self._run(f"{word} {sql.text}", sql.values)]


@contextmanager
def reading(place: Place, seconds: float = SECONDS) -> Iterator[Reader]:
    """Open a snapshot of an index. Nothing in it can be changed through the reader.

    Raises :class:`~chains.index.errors.IndexAbsent` if there is none or one of another schema,
    :class:`IndexUnavailable` if the database fails, now or while it is read, :class:`QueryTooSlow` after
    ``seconds``, and :class:`UsageError` if a package is missing.
    """
    with _postgres(place, seconds) if place.is_postgres else _sqlite(place, seconds) as reader:
        yield reader


@contextmanager
def _sqlite(place: Place, seconds: float) -> Iterator[Reader]:
    if not Path(place.path).is_file():
        raise absent(place)
    end = time.monotonic() + seconds
    try:
        with closing(open_sqlite(place.path, is_read_only=True)) as connection:
            connection.execute("BEGIN")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchall():
                raise absent(place)
            _check(place, connection.execute(_SCHEMA).fetchall())
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            yield Reader(lambda text, values: connection.execute(text, values).fetchall(), is_postgres=False)
    except sqlite3.Error as error:
        if time.monotonic() > end:
            raise _too_slow(seconds) from error
        raise IndexUnavailable(f"the index {place}: {reason_of(error)}") from error


@contextmanager
def _postgres(place: Place, seconds: float) -> Iterator[Reader]:
    try:
        import psycopg  # noqa: PLC0415 - slow to import, and only PostgreSQL needs it
    except ImportError as error:
        raise UsageError(f"an index in PostgreSQL needs psycopg: {install_hint('postgres')}") from error
    options = f"-csearch_path={LIVE} -cstatement_timeout={int(seconds * 1000)}"
    try:
        with psycopg.connect(
            place.url, options=options, connect_timeout=_WAIT, application_name="chains search"
        ) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            if connection.execute("SELECT to_regclass('meta')").fetchall() == [(None,)]:
                raise absent(place)
            _check(place, connection.execute(_SCHEMA).fetchall())

            def run(text: str, values: tuple[Bound, ...]) -> Rows:
                return connection.execute(text.replace("?", "%s").encode(), values).fetchall()

            yield Reader(run, is_postgres=True)
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:
            raise IndexUnavailable(f"the index {place}: {reason_of(error)}") from error
        # the words of the driver may have a part of the password
        how = "write special characters of its password as %XX"
        raise UsageError(f"the index {place}: the URL cannot be read: {how}") from None
    except psycopg.errors.QueryCanceled as error:
        raise _too_slow(seconds) from error
    except psycopg.Error as error:
        raise IndexUnavailable(f"the index {place}: {reason_of(error)}") from error


_SCHEMA = "SELECT value FROM meta WHERE key = 'schema'"


def _check(place: Place, rows: Rows) -> None:
    check_number(rows[0][0] if rows else None, place)


def _too_slow(seconds: float) -> QueryTooSlow:
    return QueryTooSlow(
        f"the search took more than {seconds:g} seconds: add a term that fits fewer, such as namespace:, "
        "signer: or from:"
    )
