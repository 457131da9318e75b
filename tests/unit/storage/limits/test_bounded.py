"""Tables that strangers can add to: neither how many texts they have nor how long these are makes them grow."""

from __future__ import annotations

import pytest
from cachetools import FIFOCache, LRUCache

from storage.errors import StoreRejected
from storage.formats.reference import parse_image
from storage.limits.bounded import remembered


def test_of_many_texts_the_newest_are_remembered_and_long_ones_are_not() -> None:
    asked: list[str] = []

    @remembered(2, longest=3)
    def shout(text: str) -> str:
        asked.append(text)
        return text.upper()

    assert [shout(text) for text in ("a", "b", "a", "long", "long", "c", "b", "a")] == [
        "A", "B", "A", "LONG", "LONG", "C", "B", "A",
    ]  # fmt: skip
    assert asked == ["a", "b", "long", "long", "c", "b", "a"]
    assert shout.__name__ == "shout"


def test_of_an_lru_cache_the_entry_that_was_read_longest_ago_makes_room() -> None:
    table: LRUCache[str, int] = LRUCache(2)
    table["a"] = 1
    table["b"] = 2
    assert table.get("a") == 1
    assert "b" in table, "to look whether it is there is no use of it"
    table["c"] = 3
    assert sorted(table) == ["a", "c"]
    assert [table.get(key) for key in "abc"] == [1, None, 3]
    table["a"] = 4
    table.pop("c", None)
    table.pop("c", None)
    assert (len(table), table.get("a")) == (1, 4)


def test_of_a_fifo_cache_the_entry_that_was_put_first_makes_room() -> None:
    table: FIFOCache[str, int] = FIFOCache(2)
    table["a"] = 1
    table["b"] = 2
    assert table.get("a") == 1
    table["c"] = 3
    assert [table.get(key) for key in "abc"] == [None, 2, 3]


@pytest.mark.parametrize("host", ["a" * 245 + ".example", "a" * 245 + ".example:65535"])
def test_a_registry_has_the_longest_name_that_a_host_may_have(host: str) -> None:
    assert parse_image(f"{host}/app").repository.registry == host
    with pytest.raises(StoreRejected, match=r"is not host\[:port\]") as told:
        parse_image(f"{'a' * 1_000_000}.{host}/app")
    assert len(str(told.value)) < 1000, "an error does not repeat a long name"
