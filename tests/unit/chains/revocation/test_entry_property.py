"""Windows of entries: what covers another strikes wherever that one does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chains.revocation.entry import Entry, Identity, Kind, Name
from tests.unit.chains.revocation.made import at

Json = Any
TIMES = st.none() | st.integers(0, 6).map(lambda day: at("2026-01-01T00:00:00Z") + timedelta(days=day))
WINDOWS = st.tuples(TIMES, TIMES).filter(lambda one: None in one or one[0] < one[1])


@given(WINDOWS, WINDOWS, st.lists(TIMES.filter(bool), max_size=3))
def test_an_entry_that_covers_another_strikes_wherever_that_one_does(
    one: Json, two: Json, times: Json
) -> None:
    identity = Identity(Name("a"), Name("b"))
    first = Entry(Kind.IDENTITY, "", "r", *one, identity)
    second = Entry(Kind.IDENTITY, "", "r", *two, identity)
    if first.covers(second) and second.strikes(times):
        assert first.strikes(times)
