"""What may be seen of an index: all of it, or some namespaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chains.index.codes import What, clean
from chains.index.query.reader import Reader
from chains.index.query.sql import Sql, one_of


@dataclass(frozen=True, slots=True)
class View:
    """An index, of which only the rows of ``namespaces`` may be seen; None: all of it.

    ``namespaces`` are ids of ``term``.
    """

    reader: Reader
    namespaces: tuple[int, ...] | None = None

    def allowed(self, alias: str) -> tuple[Sql, ...]:
        """Return the condition that a row may be seen, or nothing if all may.

        Every statement whose rows reach a user has it for each of its tables with a namespace. A row without
        a namespace belongs to none.
        """
        if self.namespaces is None:
            return ()
        return (one_of(f"{alias}.namespace", self.namespaces),)


def view_of(reader: Reader, namespaces: Sequence[str] | None = None) -> View:
    """Return the view of these namespaces, or with None of everything."""
    if namespaces is None:
        return View(reader)
    found: list[int] = []
    for name in sorted(set(namespaces)):
        where = one_of("text", (clean(name),))
        select = f"SELECT id FROM term WHERE what = {int(What.NAMESPACE)} AND {where.text}"  # noqa: S608
        found += (row[0] for row in reader.rows(Sql(select, where.values)))
    return View(reader, tuple(found))
