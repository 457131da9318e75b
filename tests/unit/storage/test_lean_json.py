from __future__ import annotations

import asyncio
import gc
import json
import threading
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import lean_json
from storage.lean_json import MOST_VALUES, TooMany, aside, loads, values_in

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=60,
)


def count(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    if isinstance(value, dict):
        return 1 + sum(1 + count(one) for one in value.values())
    return 1


@settings(deadline=None)
@given(JSON)
def test_the_count_is_never_too_low(value: Any) -> None:
    for data in (orjson.dumps(value), json.dumps(value, indent=1).encode()):
        assert values_in(data) >= count(value)
        assert loads(data) == value


@pytest.mark.parametrize("unit", [b"[]", b"{}", b'""', b'"ab"', b"1", b"1.5", b'{"a":1}', b"[[]]", b"null"])
def test_a_value_takes_as_much_memory_as_is_said_at_most(unit: bytes) -> None:
    data = b"[%b]" % b",".join([unit] * 50_000)
    values = values_in(data)
    tracemalloc.start()
    try:
        found = loads(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 50_000
    assert peak <= values * lean_json.VALUE_BYTES + len(data)


def test_more_values_are_refused_before_any_is_made() -> None:
    data = b"[%b]" % b",".join([b"[]"] * MOST_VALUES)
    tracemalloc.start()
    try:
        with pytest.raises(TooMany, match=r"it has some \d+ values, at most 400000 are read"):
            loads(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    with pytest.raises(orjson.JSONDecodeError):  # who reads JSON need not know
        loads(data)


def test_long_texts_are_few_values() -> None:
    data = b'{"payload":"%b"}' % (b"QUFB" * 1_000_000)
    assert loads(data, 10)["payload"].startswith("QUFB")


def test_the_collector_rests_while_a_large_document_is_read_and_no_longer() -> None:
    data = b"[%b]" % b",".join([b"[]"] * 20_000)
    assert gc.isenabled()
    before = gc.get_stats()[2]["collections"]
    loads(data)
    assert gc.isenabled()
    assert gc.get_stats()[2]["collections"] == before
    with pytest.raises(orjson.JSONDecodeError):
        loads(data[:-1])
    assert gc.isenabled()
    gc.disable()
    try:
        loads(data)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_large_document_is_read_by_another_thread_and_a_small_one_at_once() -> None:
    async def work() -> None:
        here = threading.get_ident()
        assert await aside(b"small", threading.get_ident) == here
        large = await asyncio.gather(*(aside(b"x" * 100_000, threading.get_ident) for _ in range(4)))
        assert here not in large
        assert len(set(large)) == 1, "one at a time, however many wait"

    asyncio.run(work())
