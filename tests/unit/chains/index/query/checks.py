"""What every answer of a search is compared with, on any database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from chains.index.query.cursor import Position
from chains.index.query.errors import QueryError
from chains.index.query.parse import parse
from chains.index.query.reader import Reader
from chains.index.query.scope import view_of
from chains.index.query.search import Count, Search
from chains.index.query.terms import Query
from tests.unit.chains.index.query.by_hand import answered
from tests.unit.chains.index.query.index import Row
from tests.unit.chains.index.query.made_rows import NOW

_NOW = datetime.fromtimestamp(NOW, UTC)


def parsed(texts: Sequence[str]) -> Iterator[Query]:
    """Yield the queries of these texts; what contradicts itself is no query."""
    for text in texts:
        try:
            yield parse(text)
        except QueryError:
            continue


def ids(found: Sequence[Position]) -> list[int]:
    return [one.id for one in found]


def _by_pages(search: Search, size: int) -> list[Position]:
    found = page = search.page(size)
    while page:
        page = search.page(size, page[-1])
        found = found + page
    return found


def check_by_hand(
    reader: Reader, made: Sequence[Row], texts: Sequence[str], namespaces: Sequence[str] | None
) -> None:
    """Compare answers, pages and counts with a look at each row."""
    for query in parsed(texts):
        search = Search(view_of(reader, namespaces), query, _NOW)
        expected = answered(made, query, _NOW, namespaces)
        assert ids(search.page(100)) == expected, str(query)
        assert ids(_by_pages(search, 2)) == expected, str(query)
        assert search.count() == Count(len(expected)), str(query)
        assert search.count(1) == Count(min(len(expected), 1), len(expected) > 1), str(query)


def check_apart(whole: Reader, apart: Reader, texts: Sequence[str], namespaces: Sequence[str]) -> None:
    """Compare what is seen of an index with an index that has nothing else."""
    for query in parsed(texts):
        shown = Search(view_of(whole, namespaces), query, _NOW)
        alone = Search(view_of(apart, namespaces), query, _NOW)
        assert shown.page(100) == alone.page(100), str(query)
        assert shown.count() == alone.count(), str(query)
        for candidates in (1, 3):
            cut = [one.count(candidates=candidates).has_more for one in (shown, alone)]
            assert cut[0] == cut[1], str(query)
