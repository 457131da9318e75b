"""The columns of a picture."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from chains.web.render.graph import layers


@pytest.mark.parametrize(
    ("after", "columns"),
    [
        ({}, {}),
        ({"a": ()}, {"a": 0}),
        ({"a": ("b", "c"), "b": ("c",), "c": ()}, {"a": 2, "b": 1, "c": 0}),
        ({"c": (), "b": ("c",), "a": ("c", "b", "c")}, {"a": 2, "b": 1, "c": 0}),
        ({"a": ("gone",), "b": ("a", "gone")}, {"a": 0, "b": 1}),
        ({"a": ("b", "c"), "b": ("d",), "c": ("e",), "d": (), "e": ("d",)}, {"a": 3, "b": 1, "c": 2, "d": 0, "e": 1}),
        # circles are cut where they come back to
        ({"a": ("a",)}, {"a": 0}),
        ({"a": ("b",), "b": ("a",)}, {"a": 1, "b": 0}),
        ({"a": ("b",), "b": ("c",), "c": ("a", "d"), "d": ()}, {"a": 3, "b": 2, "c": 1, "d": 0}),
    ],
)  # fmt: skip
def test_a_box_is_behind_all_that_it_comes_after(
    after: Mapping[str, tuple[str, ...]], columns: dict[str, int]
) -> None:
    assert layers(after) == columns


@pytest.mark.parametrize("order", [1, -1])
def test_a_chain_longer_than_python_s_recursion_has_its_columns(order: int) -> None:
    after = {f"task-{number}": (f"task-{number + 1}",) for number in range(3000)[::order]}
    assert layers(after) == {f"task-{number}": 2999 - number for number in range(3000)}
