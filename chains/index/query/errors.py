"""The exceptions of a query."""

from __future__ import annotations

from chains.errors import UsageError


class QueryError(UsageError):
    """A query cannot be understood. The text says what is wrong with it and what is expected."""


class CursorError(UsageError):
    """A cursor is damaged, or belongs to another query."""
