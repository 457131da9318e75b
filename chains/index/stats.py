"""What an index has, how large it is, and how far behind its stores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from chains.index.codes import Verdict, original, word
from chains.index.database import LIVE, Place, reading
from chains.index.tables import day, location, place, run, store, term, unread

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

_SIDECARS = ("", "-wal")
MOST_UNREAD = 1000
"""What could not be read that is listed."""


@dataclass(frozen=True, slots=True)
class StoreStats:
    """A store: copies that were indexed, what could not be read, its parts and how many of them were read.

    ``updated`` is when it was last read to the end, in seconds of Unix time; 0: never.
    """

    url: str
    copies: int
    unread: int
    parts: int
    read: int
    updated: int

    @property
    def behind(self) -> int:
        """Parts of the store that were not read when it was last read."""
        return max(self.parts - self.read, 0)


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of an index. ``types`` counts statements by predicate type and verdict; ``size`` is in bytes.

    ``newest`` is the end of the latest run that is known, in seconds of Unix time; 0 if there is none.
    """

    attestations: int
    runs: int
    verdicts: dict[str, int]
    types: dict[str, dict[str, int]]
    stores: tuple[StoreStats, ...]
    size: int
    newest: int


def stats(place: Place) -> Stats:
    """Return what an index has. Raises :class:`IndexAbsent` or :class:`IndexUnavailable`."""
    with reading(place) as connection:
        # without policies everything is judged
        verdicts = {word(one): 0 for one in Verdict if one is not Verdict.NOT_JUDGED}
        types: dict[str, dict[str, int]] = {}
        counted = (
            select(term.c.text, day.c.verdict, func.sum(day.c.n))
            .join(term, term.c.id == day.c.predicate)
            .where(day.c.namespace == 0)
            .group_by(term.c.text, day.c.verdict)
            .order_by(term.c.text)
        )
        for name, verdict, n in connection.execute(counted):
            counted_as = word(Verdict(verdict))
            verdicts[counted_as] = verdicts.get(counted_as, 0) + int(n)
            types.setdefault(original(name), {})[counted_as] = int(n)
        types = {name: dict.fromkeys(verdicts, 0) | by for name, by in types.items()}
        return Stats(
            attestations=sum(verdicts.values()),
            runs=_scalar(connection, select(func.count()).select_from(run)),
            verdicts=verdicts,
            types=types,
            stores=tuple(_stores(connection)),
            size=_size(connection, place),
            newest=_scalar(connection, select(func.max(run.c.finished))),
        )


def unread_of(place: Place) -> list[tuple[str, str, str]]:
    """Return store, place and reason of what could not be read, at most :data:`MOST_UNREAD` of them."""
    asked = (
        select(store.c.url, unread.c.location, unread.c.reason)
        .join(store, store.c.id == unread.c.store)
        .order_by(store.c.id, unread.c.location)
        .limit(MOST_UNREAD)
    )
    with reading(place) as connection:
        return [(original(url), original(at), original(why)) for url, at, why in connection.execute(asked)]


def _stores(connection: Connection) -> list[StoreStats]:
    copies = _by_store(connection, select(place.c.store).join(location, location.c.place == place.c.id))
    missed = _by_store(connection, select(unread.c.store))
    return [
        StoreStats(
            original(one.url), copies.get(one.id, 0), missed.get(one.id, 0), one.parts, one.read, one.updated
        )
        for one in connection.execute(select(store).order_by(store.c.id))
    ]


def _by_store(connection: Connection, rows: Select[Any]) -> dict[int, int]:
    counted = connection.execute(rows.add_columns(func.count()).group_by(rows.selected_columns[0]))
    return {int(number): int(n) for number, n in counted}


def _scalar(connection: Connection, asked: Any) -> int:
    return int(connection.execute(asked).scalar() or 0)


def _size(connection: Connection, place: Place) -> int:
    if not place.is_postgres:
        files = (Path(place.path + end) for end in _SIDECARS)
        return sum(one.stat().st_size for one in files if one.exists())
    sql = (
        "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s AND c.relkind = 'r'"
    )
    return int(connection.exec_driver_sql(sql, {"schema": LIVE}).scalar() or 0)
