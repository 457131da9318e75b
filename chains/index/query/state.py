"""What an index was made from, and how far behind it is: what an empty answer has to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chains.index.codes import original
from chains.index.query.scope import View
from chains.index.query.sql import Sql


@dataclass(frozen=True, slots=True)
class StoreState:
    """A store of an index. ``updated`` is when it was last read to the end, in Unix time; 0: never.

    ``is_whole`` says whether everything in it was read then. ``behind`` is the number of its parts that were
    not read, ``unread`` that of the items in it that could not be read as evidence; both are None for readers
    of some namespaces, because they count what others have, too.
    """

    url: str
    updated: int
    is_whole: bool
    behind: int | None
    unread: int | None


@dataclass(frozen=True, slots=True)
class IndexState:
    """Everything that was searched. ``policy`` is the SHA-256 of who was trusted, in hex."""

    policy: str
    stores: Sequence[StoreState]

    @property
    def is_whole(self) -> bool:
        """Whether nothing can be missing but what came into the stores later."""
        return bool(self.stores) and all(store.is_whole for store in self.stores)


def state_of(view: View) -> IndexState:
    """Return the state of an index, as far as the view may tell it."""
    policy = view.reader.rows(Sql("SELECT value FROM meta WHERE key = 'policy'"))
    rows = view.reader.rows(
        Sql(
            "SELECT s.url, s.updated, s.parts, s.read, "
            "(SELECT count(*) FROM unread AS u WHERE u.store = s.id) FROM store AS s ORDER BY s.id"
        )
    )
    stores = []
    for url, updated, parts, read, unread in rows:
        is_whole = bool(updated) and parts <= read
        counts = (max(parts - read, 0), int(unread)) if view.namespaces is None else (None, None)
        stores.append(StoreState(original(url), updated, is_whole, *counts))
    return IndexState(policy[0][0] if policy else "", stores)
