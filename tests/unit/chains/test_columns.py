"""Lines and tables that fit into a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.columns import columns_of, folded, table


def test_a_line_goes_on_below_the_text_after_its_label() -> None:
    assert list(folded("  passed  one, two, three", 20)) == ["  passed  one, two,", "          three"]


def test_a_word_that_is_too_long_for_that_is_indented_less_and_cut_last() -> None:
    digest = "sha256:" + "a" * 20
    assert list(folded(f"  used          {digest}", 32)) == ["  used", f"    {digest}"]
    assert list(folded("  used          " + "b" * 40, 32)) == ["  used", "    " + "b" * 28, "    " + "b" * 12]


def test_a_reference_is_broken_ahead_of_its_digest() -> None:
    digest = "sha256:" + "a" * 20
    assert list(folded(f"VERIFIED example.com/app@{digest}", 35)) == [
        "VERIFIED example.com/app@",
        f"  {digest}",
    ]
    assert list(folded("signed by somebody@example.com", 24)) == ["signed by", "  somebody@example.com"]


@given(st.text(alphabet="ab 世é"), st.integers(10, 60))
def test_no_part_is_wider_and_no_word_is_lost(line: str, width: int) -> None:
    parts = list(folded(line, width))
    assert all(columns_of(part) <= width for part in parts)
    assert "".join("".join(parts).split()) == "".join(line.split())
    assert all(part.startswith("  ") for part in parts[1:])


ROWS = [
    ("taskrun/ci/first", "stored", "oci:one"),
    ("", "stored", "oci:two"),
    ("taskrun/ci/second", "failed", "no"),
]


@pytest.mark.parametrize("width", [None, 200])
def test_a_table_that_fits_has_one_line_for_each_row(width: int | None) -> None:
    assert table(("RUN", "STATE", "WHERE"), ROWS, width).splitlines() == [
        "RUN                STATE   WHERE",
        "taskrun/ci/first   stored  oci:one",
        "                   stored  oci:two",
        "taskrun/ci/second  failed  no",
    ]


def test_a_table_that_does_not_fit_gives_its_first_cells_lines_of_their_own() -> None:
    assert table(("RUN", "STATE", "WHERE"), ROWS, 28).splitlines() == [
        "RUN",
        "  STATE   WHERE",
        "taskrun/ci/first",
        "  stored  oci:one",
        "  stored  oci:two",
        "taskrun/ci/second",
        "  failed  no",
    ]


def test_short_first_cells_stay_where_they_are() -> None:
    rows = [("ok", "home", "a folder that can be written")]
    assert table(("STATE", "CHECK", "DETAIL"), rows, 30).splitlines() == [
        "STATE  CHECK  DETAIL",
        "ok     home   a folder that",
        "              can be written",
    ]
