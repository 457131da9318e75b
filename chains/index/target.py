"""The database that is written: a new one beside the index, or the index itself.

A new index takes the place of the old one when it is complete. Until then the old one is read. The next build
with the same trust goes on with what is there of the new one. A file is replaced by a rename, a schema of
PostgreSQL by a rename in the transaction that drops the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from chains.errors import UsageError
from chains.index.codes import SCHEMA, original
from chains.index.database import (
    BESIDE,
    LIVE,
    Place,
    check_schema,
    engine_of,
    open_sqlite,
    reading,
    translated,
)
from chains.index.errors import IndexUnavailable
from chains.index.locks import lock_connection, locked_file, unlock_connection
from chains.index.reading import Trust
from chains.index.tables import FILLS, INDEXES, LOOKUPS, attestation, meta, metadata, store
from chains.index.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

T = TypeVar("T")
RETRY_SECONDS = 60.0
"""How long a transaction is tried again while the server of a PostgreSQL database is away."""
_PAUSE = 0.5
_SQLITE = b"SQLite format 3\0"
"""How a file of SQLite begins. Source: https://www.sqlite.org/fileformat.html"""
_BUILDING = ".building"
_PACKED = ".packed"
_SIDECARS = ("-wal", "-shm", "-journal")


class Target:
    """A database that is open for writing. A transaction is repeated if the server goes away."""

    def __init__(self, place: Place, at: Place, schema: str, *, is_build: bool) -> None:
        self.place = place
        self._is_build = is_build
        self._at, self._schema = at, schema
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._writer: Writer | None = None
        self._was_open = False
        self.is_complete = True

    def keep_old(self) -> None:
        """Leave the old index in its place, because the new one is not complete."""
        self.is_complete = False

    def connection(self) -> Connection:
        """Return the connection, opened and locked."""
        if self._connection is None:
            self._engine = engine_of(self._at, schema=self._schema)
            connection = self._engine.connect()
            if self.place.is_postgres:
                lock_connection(connection, self.place)
            else:
                # WAL: readers do not wait for the writer; NORMAL: a lost machine loses the last transactions
                for setting in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536"):
                    connection.connection.driver_connection.execute(f"PRAGMA {setting}")  # type: ignore[union-attr]
            self._connection = connection
            self._was_open = True
        return self._connection

    def write(self, work: Callable[[Writer], T]) -> T:
        """Do work that may be repeated. Raises :class:`IndexUnavailable`."""
        until = time.monotonic() + RETRY_SECONDS
        while True:
            with translated(self.place):
                try:
                    if self._writer is None:
                        self._writer = Writer(self.connection(), is_build=self._is_build)
                    return work(self._writer)
                except (DBAPIError, IndexUnavailable) as error:
                    is_lost = self.place.is_postgres and self._was_open and _is_away(error)
                    self.close()
                    if not is_lost or time.monotonic() >= until:
                        raise
                except BaseException:
                    self.close()
                    raise
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Close the connection. What was committed stays."""
        self._writer = None
        if self._connection is not None:
            with suppress(Exception):  # it may be the broken connection that is closed
                if self.place.is_postgres:
                    unlock_connection(self._connection)
                self._connection.close()
            self._connection = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def _is_away(error: DBAPIError | IndexUnavailable) -> bool:
    """Return whether a server ended the connection, or does not take one now.

    It may also hold the lock of the connection that broke, for as long as it does not know that it did.
    """
    if isinstance(error, IndexUnavailable):
        return True
    state = getattr(error.orig, "sqlstate", None)
    # 08: connection, 57P: shut down or starting; without a state the connection broke
    return error.connection_invalidated or state is None or state.startswith(("08", "57P"))


@contextmanager
def building(place: Place, trust: Trust) -> Iterator[Target]:
    """Open a new index beside the one that is there.

    It takes its place when the block ends, unless the block calls :meth:`Target.keep_old` or raises. Raises
    :class:`IndexUnavailable`.
    """
    if place.is_postgres:
        target = Target(place, place, BESIDE, is_build=True)
        with _closed(target):
            with translated(place):
                prepare_schema(target, trust)
            yield target
            if target.is_complete:
                with translated(place):
                    finish(target)
                    replace_schema(target.connection())
        return
    _refuse_other_file(place)
    with locked_file(place):
        beside = Place(path=place.path + _BUILDING)
        target = Target(place, beside, LIVE, is_build=True)
        with _closed(target):
            with translated(place):
                _prepare_file(target, beside, trust)
            yield target
            if not target.is_complete:
                return
            with translated(place):
                finish(target)
                target.connection().connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
            target.close()
            packed = Path(place.path + _PACKED)
            with translated(place):
                _pack(beside, packed)
            _replace_file(packed, Path(place.path))
            _remove(Path(beside.path))


def _refuse_other_file(place: Place) -> None:
    """Raise :class:`UsageError` for what is no index: a build would put one in its place."""
    path = Path(place.path)
    if path.is_dir():
        raise UsageError(f"the index {place} is a folder: pass --index FILE")
    try:
        with path.open("rb") as file:
            start = file.read(len(_SQLITE))
    except FileNotFoundError:
        return
    except OSError as error:
        raise IndexUnavailable(f"the index {place}: {error.strerror}") from error
    if start not in {b"", _SQLITE} or (start and _is_of_another_program(place)):
        raise UsageError(f"{place} is there and is no index: pass --index with another name, or remove it")


def _is_of_another_program(place: Place) -> bool:
    """Return whether a file of SQLite has tables, and none of them says that it is an index of any version.

    A damaged file is taken for an index: it can only be built anew.
    """
    try:
        with closing(open_sqlite(place.path, is_read_only=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if not {meta.name, attestation.name} <= tables:
                return bool(tables)
            sql = f"SELECT count(*) FROM {meta.name} WHERE key = 'schema'"  # noqa: S608 - a constant
            return not connection.execute(sql).fetchone()[0]
    except sqlite3.OperationalError:
        # no column of this name
        return True
    except sqlite3.DatabaseError:
        return False


@contextmanager
def updating(place: Place, trust: Trust) -> Iterator[Target]:
    """Open the index that is there, to add to it.

    Raises :class:`IndexAbsent` if there is none, :class:`IndexUnavailable`, and :class:`UsageError` if it was
    built with other trust.
    """
    with reading(place) as connection:
        refuse_other_trust(place, connection, trust)
    target = Target(place, place, LIVE, is_build=False)
    if place.is_postgres:
        with _closed(target):
            yield target
        return
    with locked_file(place), _closed(target):
        yield target


def refuse_other_trust(place: Place, connection: Connection, trust: Trust) -> None:
    """Raise :class:`UsageError` if an index was built with other trust."""
    if _told(connection) != _written(trust.told):
        raise UsageError(
            f"the index {place} was built with other keys or demands, and its verdicts are theirs: "
            f"build it anew with `{place.build_command}`"
        )


@contextmanager
def _closed(target: Target) -> Iterator[None]:
    try:
        yield
    finally:
        target.close()


def _written(told: Mapping[str, Any]) -> str:
    return json.dumps(told, sort_keys=True)


def _told(connection: Connection) -> str | None:
    found = connection.execute(select(meta.c.value).where(meta.c.key == "criteria")).scalar()
    return None if found is None else str(found)


def remembered(place: Place) -> tuple[dict[str, Any], list[str]]:
    """Return the options with which an index was built, and its stores.

    Raises :class:`IndexAbsent` or :class:`IndexUnavailable`.
    """
    with reading(place) as connection:
        options = connection.execute(select(meta.c.value).where(meta.c.key == "options")).scalar_one()
        urls = connection.execute(select(store.c.url).order_by(store.c.id)).scalars()
        return json.loads(options), [original(url) for url in urls]


def _prepare_file(target: Target, beside: Place, trust: Trust) -> None:
    path = Path(beside.path)
    if path.exists() and not _is_begun(target, trust):
        target.close()
        _remove(path)
    _create(target.connection(), trust)


def prepare_schema(target: Target, trust: Trust) -> None:
    """Make the schema of a new index, or go on with one that was begun with the same trust."""
    connection = target.connection()
    with connection.begin():
        connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {BESIDE}")
    if not _is_begun(target, trust):
        with connection.begin():
            connection.exec_driver_sql(f"DROP SCHEMA {BESIDE} CASCADE")
            connection.exec_driver_sql(f"CREATE SCHEMA {BESIDE}")
    _create(connection, trust)


def _is_begun(target: Target, trust: Trust) -> bool:
    """Return whether what a build left behind is one with the same trust and schema."""
    try:
        connection = target.connection()
        with connection.begin():
            check_schema(connection, target.place)
            return _told(connection) == _written(trust.told)
    except Exception:  # noqa: BLE001 - whatever it is, it is built anew
        return False


def _create(connection: Connection, trust: Trust) -> None:
    with connection.begin():
        if inspect(connection).has_table(meta.name):
            return
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table))
        for index in LOOKUPS:
            connection.execute(CreateIndex(index))
        rows = {
            "schema": str(SCHEMA),
            "criteria": _written(trust.told),
            "policy": hashlib.sha256(_written(trust.told).encode()).hexdigest(),
            "options": _written(trust.options),
        }
        connection.execute(meta.insert(), [{"key": key, "value": value} for key, value in rows.items()])


def finish(target: Target) -> None:
    """Fill the tables and make the indexes that a build makes at its end."""
    connection = target.connection()
    with connection.begin():
        for table, fill in FILLS.items():
            # a build that was stopped here goes on with what it had
            connection.execute(table.delete())
            connection.exec_driver_sql(fill)
    with connection.begin():
        for index in INDEXES:
            connection.execute(CreateIndex(index, if_not_exists=True))
    with connection.begin():
        connection.exec_driver_sql("ANALYZE")


def replace_schema(connection: Connection) -> None:
    """Put the new index in the place of the old one."""
    with connection.begin():
        connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {LIVE} CASCADE")
        connection.exec_driver_sql(f"ALTER SCHEMA {BESIDE} RENAME TO {LIVE}")


def _pack(beside: Place, packed: Path) -> None:
    """Copy a complete file without the room that rows in no order leave in its pages."""
    _remove(packed)
    try:
        with closing(open_sqlite(beside.path)) as connection:
            connection.execute("VACUUM INTO ?", (str(packed),))
    except BaseException:
        _remove(packed)
        raise


def _replace_file(beside: Path, path: Path) -> None:
    """Put a complete file in the place of the old one, without the log of the old one beside it."""
    if path.exists():
        with suppress(sqlite3.Error):
            old = sqlite3.connect(path)
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            old.close()
    for end in _SIDECARS:
        path.with_name(path.name + end).unlink(missing_ok=True)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(path: Path) -> None:
    for end in ("", *_SIDECARS):
        path.with_name(path.name + end).unlink(missing_ok=True)
