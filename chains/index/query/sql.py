"""Pieces of SQL with their values.

The text of a piece is written in this room and has no value in it. Values are bound by the driver, so no text
of a user is ever read as SQL. ``?`` stands for a value; the text has no other ``?`` and no ``%``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Bound = int | str | bytes


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL and the values of its ``?``, in order."""

    text: str
    values: tuple[Bound, ...] = ()

    def __add__(self, other: Sql) -> Sql:
        return Sql(f"{self.text} {other.text}", self.values + other.values)


NEVER = Sql("1 = 0")
"""A condition that does not hold."""


def all_of(conditions: Iterable[Sql]) -> Sql:
    """Return a condition that holds if all of these do."""
    return _joined(list(conditions), " AND ", Sql("1 = 1"))


def any_of(conditions: Iterable[Sql]) -> Sql:
    """Return a condition that holds if one of these does."""
    return _joined(list(conditions), " OR ", NEVER)


def not_true(condition: Sql) -> Sql:
    """Return a condition that holds if this one does not, or compares with NULL."""
    return Sql(f"({condition.text}) IS NOT TRUE", condition.values)


def one_of(column: str, values: Sequence[Bound]) -> Sql:
    """Return the condition that a column has one of these values."""
    if not values:
        return NEVER
    if len(values) == 1:
        return Sql(f"{column} = ?", (values[0],))
    return Sql(f"{column} IN ({', '.join('?' * len(values))})", tuple(values))


def between(column: str, first: Bound, behind: Bound | None) -> Sql:
    """Return the condition that a column is at least ``first`` and, unless None, less than ``behind``."""
    if behind is None:
        return Sql(f"{column} >= ?", (first,))
    return Sql(f"{column} >= ? AND {column} < ?", (first, behind))


def exists(table: str, alias: str, conditions: Iterable[Sql]) -> Sql:
    """Return the condition that a table has such a row."""
    where = all_of(conditions)
    return Sql(f"EXISTS (SELECT 1 FROM {table} AS {alias} WHERE {where.text})", where.values)  # noqa: S608


def _joined(conditions: list[Sql], word: str, empty: Sql) -> Sql:
    if len(conditions) < 2:  # noqa: PLR2004 - one needs no parentheses
        return conditions[0] if conditions else empty
    text = word.join(f"({one.text})" for one in conditions)
    return Sql(text, tuple(value for one in conditions for value in one.values))
