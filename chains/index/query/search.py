"""Carries out a query: its newest attestations page by page, and how many there are.

The rows of one term lead the search: those of which there are fewest, newest first from an index. The other
terms are then asked about each of these rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from chains.index.query.conditions import ATTESTATION, Condition, Source, condition_of, on_column
from chains.index.query.cursor import Position
from chains.index.query.lookup import MOST, Found
from chains.index.query.reader import Reader
from chains.index.query.scope import View
from chains.index.query.sql import Sql, all_of, exists
from chains.index.query.terms import Key, Query

MOST_COUNTED = 10_000
"""More rows than this are not counted."""
MOST_CANDIDATES = 10_000
"""Rows of the leading term of which each is asked for the other terms, to count what fits all of them."""
SLOW_CANDIDATES = 2_000
"""The same where a term fits so many words that each row is asked for its names."""
_LOOKED = 20_000
"""Rows that are counted to see which term has fewest."""
_SORTED = 20_000
"""Rows that are sorted, where no index has them in the order of time."""
_TIMES = (Key.FROM, Key.TO, Key.LAST)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Sources that have all rows, each with the conditions that it does not show by itself."""

    sources: Sequence[Source]
    filters: tuple[Sql, ...]
    is_slow: bool = False
    """Whether it takes long to ask a row for its conditions."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows there are. ``has_more``: there are at least so many, and perhaps more."""

    number: int
    has_more: bool = False


class Search:
    """One query on one snapshot. ``now`` counts for ages."""

    def __init__(self, view: View, query: Query, now: datetime) -> None:
        self._reader: Reader = view.reader
        self._own = _own(view)
        since, until = query.since(now), query.until()
        self._since = None if since is None else int(since.timestamp())
        self._until = None if until is None else int(until.timestamp())
        wanted = [condition_of(view, term) for term in query.terms if term.key not in _TIMES]
        self._wanted = tuple(one.sql for one in wanted)
        self._plan = self._planned([*wanted, *_seen(view)])

    def page(self, limit: int, after: Position | None = None) -> list[Position]:
        """Return the newest rows, at most ``limit``, in the order of time and id, after a position."""
        rows = {(row[0], row[1]) for sql in self.statements(limit, after) for row in self._reader.rows(sql)}
        return [Position(*row) for row in sorted(rows, reverse=True)[:limit]]

    def statements(self, limit: int, after: Position | None = None) -> list[Sql]:
        """Return the statements for a page. Their rows together have the page."""
        order = Sql("ORDER BY 1 DESC, 2 DESC") + _limit(limit)
        return [self._select(self._plan, source, after) + order for source in self._plan.sources]

    def count(self, most: int = MOST_COUNTED, candidates: int = MOST_CANDIDATES) -> Count:
        """Return how many rows there are, without counting more than ``most``.

        For readers of some namespaces the newest of their own rows are the candidates: neither the number nor
        whether it is cut depends on what others have.
        """
        # that nothing at all fits a term is not told to those who see a part: others may have what fits
        plan = self._plan if self._own is None else _Plan(self._own, self._wanted)
        if not plan.sources:
            return Count(0)
        if plan.is_slow:
            candidates = min(candidates, SLOW_CANDIDATES)
        parts = [
            self._select(plan, source, candidates=candidates) + _limit(most + 1) for source in plan.sources
        ]
        every = " UNION ".join(f"SELECT * FROM ({part.text}) AS p{n}" for n, part in enumerate(parts))  # noqa: S608
        values = tuple(value for part in parts for value in part.values)
        rows = self._reader.rows(Sql(f"SELECT count(*) FROM ({every}) AS every", values))  # noqa: S608
        number = int(rows[0][0])
        is_cut = bool(plan.filters) and self._size(plan.sources, candidates + 1) > candidates
        return Count(min(number, most), number > most or is_cut)

    def _planned(self, conditions: Sequence[Condition]) -> _Plan:
        if any(one.is_impossible for one in conditions):
            return _Plan((), ())
        sources: Sequence[Source] = (Source(ATTESTATION, Sql("1 = 1"), "attestation_finished"),)
        leading: Condition | None = None
        able = [one for one in conditions if one.sources is not None]
        ordered = [one for one in able if all(source.is_ordered for source in one.sources or ())]
        if len(able) == 1 and ordered:
            leading, sources = able[0], able[0].sources or ()
        else:
            # what an index has in the order of time is never more than everything in that time
            least = _LOOKED if ordered else self._size(sources)
            # of equal ones the first leads, for the keys are in the order of how much they select
            for one in reversed(able):
                size = self._size(one.sources or ())
                # rows of unknown number are not sorted
                if size <= least and (size < _LOOKED or one in ordered):
                    sources, leading, least = one.sources or (), one, size
        asked = [one for one in conditions if one is not leading]
        return _Plan(sources, tuple(one.sql for one in asked), any(one.is_slow for one in asked))

    def _size(self, sources: Sequence[Source], most: int = _LOOKED) -> int:
        """Return how many rows sources have together, at most ``most``.

        Rows that would have to be sorted, and are too many for that, count as ``most``.
        """
        found = 0
        for source in sources:
            limit = min(most - found, most if source.is_ordered else _SORTED)
            if limit <= 0:
                break
            some = source.size or self._from(source, "1", all_of((source.where, *self._bounds(source))))
            cut = some + _limit(limit)
            number = self._reader.rows(Sql(f"SELECT count(*) FROM ({cut.text}) AS cut", cut.values))[0][0]  # noqa: S608
            if number == limit and not source.is_ordered:
                return most
            found += number
        return found

    def _select(self, plan: _Plan, source: Source, after: Position | None = None, candidates: int = 0) -> Sql:
        """Return the rows of a source that fit; of the first ``candidates`` rows alone unless 0."""
        alias, number = _columns(source)
        where = [source.where, *self._bounds(source)]
        if after is not None:
            where.append(Sql(f"({alias}.finished, {number}) < (?, ?)", (after.finished, after.id)))
        columns, filters = f"{alias}.finished, {number} AS id", list(plan.filters)
        if source.table != ATTESTATION:
            # an attestation can have several names or artifacts that fit, but each of them once
            columns = columns if source.is_ordered else f"DISTINCT {columns}"
            filters = [exists(ATTESTATION, "a", (Sql("a.id = s.attestation"), *filters))] if filters else []
        if not candidates or not filters:
            return self._from(source, columns, all_of((*where, *filters)))
        some = self._from(source, f"{alias}.*", all_of(where)) + _limit(candidates)
        fits = all_of(filters)
        select = f"SELECT {columns} FROM ({some.text}) AS {alias} WHERE {fits.text}"  # noqa: S608
        return Sql(select, some.values + fits.values)

    def _from(self, source: Source, columns: str, where: Sql) -> Sql:
        alias, _ = _columns(source)
        hint = f" INDEXED BY {source.index}" if source.index and not self._reader.is_postgres else ""
        return Sql(f"SELECT {columns} FROM {source.table} AS {alias}{hint} WHERE {where.text}", where.values)  # noqa: S608

    def _bounds(self, source: Source) -> Iterator[Sql]:
        alias, _ = _columns(source)
        if self._since is not None:
            yield Sql(f"{alias}.finished >= ?", (self._since,))
        if self._until is not None:
            yield Sql(f"{alias}.finished < ?", (self._until,))


def _seen(view: View) -> Iterator[Condition]:
    if view.namespaces is not None:
        few = len(view.namespaces) <= MOST
        yield on_column("namespace", Found(view.namespaces)) if few else Condition(view.allowed("a")[0])


def _own(view: View) -> tuple[Source, ...] | None:
    """Return the way to all rows that readers of some namespaces may see, None for readers of everything."""
    if view.namespaces is None:
        return None
    every = Source(ATTESTATION, all_of(view.allowed("a")), "attestation_namespace")
    return (every,) if view.namespaces else ()


def _columns(source: Source) -> tuple[str, str]:
    """Return the alias of a source's table, and its column with the id of the attestation."""
    return ("a", "a.id") if source.table == ATTESTATION else ("s", "s.attestation")


def _limit(number: int) -> Sql:
    return Sql("LIMIT ?", (number,))
