"""The sum of the bounds in ``docs/limits.md`` is that of the code."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from chains.cluster.paging import SMALL_BYTES
from storage.limits.pool import Pool

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")
MIB = 1024 * 1024
ROWS = re.findall(r"^\| [^|]* \| (\d+) \| `([\w.]+)` \|$", PAGE, re.MULTILINE)
TIMES = {"MOST_LARGE_ANSWERS": 3 * MIB // 2, "PAGE_BYTES": 3, "FEWEST": SMALL_BYTES}
"""What a constant that is no number of bytes, or of several, is multiplied with."""


@pytest.mark.parametrize(("mib", "constant"), ROWS, ids=[constant for _, constant in ROWS])
def test_a_row_has_the_bytes_of_its_constant(mib: str, constant: str) -> None:
    module, _, name = constant.rpartition(".")
    value = getattr(import_module(module), name)
    size = value.size if isinstance(value, Pool) else value
    assert size * TIMES.get(name, 1) == int(mib) * MIB


def test_the_sum_is_that_of_its_rows() -> None:
    (told,) = re.findall(r"^\| \*\*sum\*\* \| \*\*(\d+)\*\* \| \|$", PAGE, re.MULTILINE)
    assert len(ROWS) == 11
    assert sum(int(mib) for mib, _ in ROWS) == int(told)
