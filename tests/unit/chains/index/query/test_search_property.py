"""Queries of an index find what a look at each row finds, and show nobody what is not theirs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.index.database import Place
from chains.index.query.reader import Reader, reading
from tests.unit.chains.index.query.checks import check_apart, check_by_hand
from tests.unit.chains.index.query.index import Row, sqlite_index
from tests.unit.chains.index.query.made_rows import NAMESPACES, queries, rows

_many = st.lists(queries, min_size=1, max_size=12)
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


@_settings
@given(made=rows, texts=_many, namespaces=st.none() | st.lists(st.sampled_from(NAMESPACES[:3]), max_size=2))
def test_a_query_finds_what_a_look_at_each_row_finds(
    make: Made, made: Sequence[Row], texts: Sequence[str], namespaces: Sequence[str] | None
) -> None:
    with _open(make, made) as reader:
        check_by_hand(reader, made, texts, namespaces)


@_settings
@given(made=rows, texts=_many, namespaces=st.lists(st.sampled_from(NAMESPACES[:3]), max_size=2))
def test_what_may_not_be_seen_changes_no_answer(
    make: Made, made: Sequence[Row], texts: Sequence[str], namespaces: Sequence[str]
) -> None:
    own = [row for row in made if row.namespace in namespaces and row.run.namespace in namespaces]
    other = [row for row in made if row.namespace not in namespaces]
    with _open(make, [*own, *other]) as whole, _open(make, own) as apart:
        check_apart(whole, apart, texts, namespaces)
