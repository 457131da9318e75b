"""Opens an index: a SQLite file, or a PostgreSQL database by URL.

SQLAlchemy is imported by the functions, because its import takes longer than most commands.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as quote_path

from chains.errors import UsageError
from chains.extras import install_hint
from chains.index.codes import SCHEMA
from chains.index.errors import IndexAbsent, IndexUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

DEFAULT = ".chains/index.db"
"""The index of a working folder."""
LIVE = "chains_index"
"""The schema that has the index in a PostgreSQL database."""
BESIDE = "chains_index_new"
"""The schema in which a new index is built there, until it takes the place of the other."""
_POSTGRES = ("postgresql://", "postgres://")
_WAIT = 10
"""Seconds that a writer waits for another one, and a connection for its server."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an index is: the path of a SQLite file, or the URL of a PostgreSQL database.

    The URL may have a password, which the text does not show.
    """

    path: str = ""
    url: str = ""

    @property
    def is_postgres(self) -> bool:
        """Whether it is a PostgreSQL database."""
        return bool(self.url)

    def __str__(self) -> str:
        if not self.url:
            return self.path
        scheme, _, rest = self.url.partition("://")
        credentials, at, address = rest.rpartition("@")
        # a password may also be a parameter
        return f"{scheme}://{credentials.partition(':')[0]}{at}{address.partition('?')[0]}"

    __repr__ = __str__

    @property
    def build_command(self) -> str:
        """The command that builds it anew."""
        return "chains index build" + (f" --index {quote(str(self))}" if str(self) != DEFAULT else "")


def place_of(text: str) -> Place:
    """Return the place that a path or URL names. Raises :class:`UsageError` for a URL of another database."""
    if text.startswith(_POSTGRES):
        # SQLAlchemy knows one of the two spellings that PostgreSQL has
        return Place(url="postgresql://" + text.partition("://")[2])
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "sqlite":
        raise UsageError(f"the index {scheme}://… : expected a file, sqlite:///FILE or postgresql://…")
    path = rest.removeprefix("/") if separator else text
    if not path or "\0" in path:
        raise UsageError("the index has no file name: expected a file, sqlite:///FILE or postgresql://…")
    return Place(path=path)


@contextmanager
def reading(place: Place) -> Iterator[Connection]:
    """Open an index to read it: nothing in it can be changed through this connection.

    Raises :class:`IndexAbsent` if there is none or one of another schema, :class:`IndexUnavailable` if the
    database fails, now or while it is read, and :class:`UsageError` if a package is missing.
    """
    if not place.is_postgres and not Path(place.path).is_file():
        raise absent(place)
    engine = engine_of(place, is_read_only=True)
    try:
        with translated(place), engine.connect() as connection:
            check_schema(connection, place)
            yield connection
    finally:
        engine.dispose()


def engine_of(place: Place, *, is_read_only: bool = False, schema: str = LIVE) -> Engine:
    """Return the engine of a place, which has one connection. Nothing is checked and nothing is opened yet.

    ``schema`` is that of PostgreSQL; SQLite has another file instead. Raises :class:`UsageError` if a package
    is missing.
    """
    try:
        from sqlalchemy import create_engine, event  # noqa: PLC0415 - slow to import
        from sqlalchemy.pool import StaticPool  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(f"an index needs SQLAlchemy: {install_hint('index')}") from error
    if place.is_postgres:
        options = f"-csearch_path={schema}" + (" -cdefault_transaction_read_only=on" if is_read_only else "")
        try:
            return create_engine(
                place.url,
                poolclass=StaticPool,
                # a name by itself says who holds a lock; times are numbers, so no zone matters
                connect_args={
                    "options": options,
                    "connect_timeout": _WAIT,
                    "application_name": "chains index",
                },
            )
        except ModuleNotFoundError as error:
            raise UsageError(f"an index in PostgreSQL needs psycopg: {install_hint('postgres')}") from error

    engine = create_engine(
        "sqlite://", creator=lambda: open_sqlite(place.path, is_read_only=is_read_only), poolclass=StaticPool
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # a writer takes its lock at once: a lock that is taken later does not wait for another writer
        connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")

    return engine


def open_sqlite(path: str, *, is_read_only: bool = False) -> sqlite3.Connection:
    """Open a SQLite file with a transaction for each statement. Raises :class:`sqlite3.Error`."""
    mode = "rwc"
    if is_read_only:
        mode = "ro&immutable=1" if _is_immutable(Path(path)) else "ro"
    uri = f"file:{quote_path(path)}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=_WAIT, check_same_thread=False, isolation_level=None)


def _is_immutable(path: Path) -> bool:
    """Return whether nobody can write the file here: SQLite then may not look for other writers either."""
    return not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()


def check_schema(connection: Connection, place: Place) -> None:
    """Raise :class:`IndexAbsent` unless the database has an index of this version's schema."""
    from sqlalchemy import inspect, select  # noqa: PLC0415 - slow to import

    from chains.index.tables import meta  # noqa: PLC0415 - imports SQLAlchemy

    if not inspect(connection).has_table(meta.name):
        raise absent(place)
    check_number(connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar(), place)


def absent(place: Place) -> IndexAbsent:
    """Return the error for a place without an index, where there may be another file or database."""
    if not place.is_postgres and Path(place.path).exists():
        return IndexAbsent(
            f"there is no index in {place}: name one with --index, or build one with another name"
        )
    word = "in" if place.is_postgres else "at"
    return IndexAbsent(f"there is no index {word} {place}: build it with `{place.build_command}`")


def check_number(found: str | None, place: Place) -> None:
    """Raise :class:`IndexAbsent` unless this is the number of this version's schema."""
    if found != str(SCHEMA):
        raise IndexAbsent(
            f"the index {place} has schema {found or 'none'}, and this version reads {SCHEMA}: "
            f"build it anew with `{place.build_command}`"
        )


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Raise :class:`IndexUnavailable` for what the database or its driver refuses, without any secret."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - slow to import

    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise IndexUnavailable(f"the index {place}: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """Return what the database or its driver says in one line, with the next step where it is known."""
    cause: Any = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    text = lines[0] if lines else type(cause).__name__
    if "locked" in text:
        return f"{text}: another process writes it; try again when that has ended"
    if "malformed" in text or "not a database" in text:
        return f"{text}: remove it and build it anew"
    return text
