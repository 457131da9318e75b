"""What holds for every text and every query."""

from __future__ import annotations

import string
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from chains.index.query.errors import QueryError
from chains.index.query.parse import LONGEST, parse
from chains.index.query.terms import Key, Query
from tests.unit.chains.index.query.made import queries

_ANY = st.text(st.characters(exclude_categories=()), max_size=80)
_NEAR = st.lists(
    st.sampled_from(
        (
            *(f"{key}:" for key in Key),
            "-",
            '"',
            "*",
            "\\",
            " ",
            "a",
            "sha256:",
            "SHA256:",
            "7d",
            "2026-10",
            "@",
            "/",
            "0" * 12,
        )
    ),
    max_size=12,
).map("".join)


def _parsed(text: str) -> Query | None:
    try:
        return parse(text)
    except QueryError:
        return None


@settings(deadline=None)
@given(_ANY | _NEAR)
def test_any_text_is_a_query_or_the_error_of_a_query(text: str) -> None:
    _parsed(text)


@settings(deadline=None)
@given(_ANY | _NEAR | queries.map(" ".join))
def test_the_text_of_a_query_is_the_same_query(text: str) -> None:
    query = _parsed(text)
    if query is not None and len(str(query)) <= LONGEST:
        assert parse(str(query)) == query
        assert str(parse(str(query))) == str(query)


@settings(deadline=None)
@given(queries, st.randoms(use_true_random=False))
def test_the_order_of_terms_changes_nothing(terms: list[str], random: Random) -> None:
    shuffled = list(terms)
    random.shuffle(shuffled)
    assert _parsed(" ".join(terms)) == _parsed("\n".join(shuffled))


@settings(deadline=None)
@given(queries)
def test_a_term_that_is_repeated_changes_nothing(terms: list[str]) -> None:
    once = _parsed(" ".join(terms))
    if once is not None:
        assert parse(" ".join((*terms, *terms))) == once


@settings(deadline=None)
@given(st.text(string.ascii_lowercase + "-", min_size=1, max_size=12).filter(lambda name: name[0] != "-"))
def test_a_key_that_is_not_known_is_never_ignored(name: str) -> None:
    if name in set(Key) or name in {"sha", "sha1", "sha256"}:
        return
    query = _parsed(f"namespace:shop {name}:x")
    assert query is None
