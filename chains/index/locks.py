"""One writer at a time: ids are given by the process that writes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from chains.index.database import Place
from chains.index.errors import IndexBusy, IndexUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

_KEY = 0x636861696E73
"""The number of the lock in PostgreSQL: ``chains`` in ASCII."""


@contextmanager
def locked_file(place: Place) -> Iterator[None]:
    """Hold the lock of a SQLite index. Raises :class:`IndexUnavailable` if another process has it.

    The lock ends with the process, however it ends. Its file stays, as its removal would let two in.
    """
    path = Path(f"{place.path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise IndexUnavailable(f"the index {place}: cannot write {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy(place) from error
        yield
    finally:
        os.close(handle)


def lock_connection(connection: Connection, place: Place) -> None:
    """Take the lock of a PostgreSQL index; it ends with the connection.

    Raises :class:`IndexUnavailable` if another process has it.
    """
    with connection.begin():
        taken = connection.exec_driver_sql("SELECT pg_try_advisory_lock(%(key)s)", {"key": _KEY}).scalar()
    if not taken:
        raise busy(place)


def unlock_connection(connection: Connection) -> None:
    """Give the lock of a PostgreSQL index back: the server notices the end of a connection a little later."""
    with connection.begin():
        connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")


def busy(place: Place) -> IndexBusy:
    """Return the error for an index that another process writes."""
    return IndexBusy(f"the index {place}: another process writes it; try again when that has ended")
