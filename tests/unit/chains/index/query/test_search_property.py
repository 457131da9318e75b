"""Queries of an index find what a look at each row finds, and show nobody what is not theirs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.index.database import Place
from chains.index.query.cursor import Position
from chains.index.query.errors import QueryError
from chains.index.query.parse import parse
from chains.index.query.reader import Reader, reading
from chains.index.query.scope import view_of
from chains.index.query.search import Search
from chains.index.query.terms import Query
from tests.unit.chains.index.query.by_hand import answered
from tests.unit.chains.index.query.index import Row, sqlite_index
from tests.unit.chains.index.query.made_rows import NAMESPACES, NOW, rows, terms, times

_now = datetime.fromtimestamp(NOW, UTC)
_queries = st.builds(lambda some, time: " ".join((*some, time)), st.lists(terms(), max_size=3), times)
_many = st.lists(_queries, min_size=1, max_size=12)
_settings = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Made = Callable[[Sequence[Row]], Place]


@pytest.fixture
def make(tmp_path: Path) -> Made:
    numbers = itertools.count()
    return lambda made: sqlite_index(tmp_path / f"{next(numbers)}.db", made)


@contextmanager
def _open(make: Made, made: Sequence[Row]) -> Iterator[Reader]:
    place = make(made)
    with reading(place) as reader:
        yield reader
    Path(place.path).unlink()


def _parsed(texts: Sequence[str]) -> Iterator[Query]:
    for text in texts:
        try:
            yield parse(text)
        except QueryError:  # its terms contradict each other
            continue


def _ids(found: Sequence[Position]) -> list[int]:
    return [one.id for one in found]


def _by_pages(search: Search, size: int) -> list[Position]:
    found = page = search.page(size)
    while page:
        page = search.page(size, page[-1])
        found = found + page
    return found


@_settings
@given(made=rows, texts=_many, namespaces=st.none() | st.lists(st.sampled_from(NAMESPACES[:3]), max_size=2))
def test_a_query_finds_what_a_look_at_each_row_finds(
    make: Made, made: Sequence[Row], texts: Sequence[str], namespaces: Sequence[str] | None
) -> None:
    with _open(make, made) as reader:
        for query in _parsed(texts):
            search = Search(view_of(reader, namespaces), query, _now)
            expected = answered(made, query, _now, namespaces)
            assert _ids(search.page(100)) == expected, str(query)
            assert _ids(_by_pages(search, 2)) == expected, str(query)
            assert search.count() == len(expected), str(query)
            assert search.count(1) == min(len(expected), 2), str(query)


@_settings
@given(made=rows, texts=_many, namespaces=st.lists(st.sampled_from(NAMESPACES[:3]), max_size=2))
def test_what_may_not_be_seen_changes_no_answer(
    make: Made, made: Sequence[Row], texts: Sequence[str], namespaces: Sequence[str]
) -> None:
    own = [row for row in made if row.namespace in namespaces and row.run.namespace in namespaces]
    other = [row for row in made if row.namespace not in namespaces]
    with _open(make, [*own, *other]) as whole, _open(make, own) as apart:
        for query in _parsed(texts):
            shown = Search(view_of(whole, namespaces), query, _now)
            alone = Search(view_of(apart, namespaces), query, _now)
            assert shown.page(100) == alone.page(100), str(query)
            assert shown.count() == alone.count(), str(query)
