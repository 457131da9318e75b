"""Inserts rows into PostgreSQL with COPY in its binary format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

_TYPES = {
    "BIGINT": "int8",
    "INTEGER": "int4",
    "SMALLINT": "int2",
    "TEXT": "text",
    "BYTEA": "bytea",
    "BOOLEAN": "bool",
}


def copy_rows(connection: Connection, table: Table, columns: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows with all columns of a table."""
    types = [_TYPES[str(column.type.compile(connection.dialect)).split()[0]] for column in table.columns]
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN (FORMAT BINARY)') as copy,
    ):
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
