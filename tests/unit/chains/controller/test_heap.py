"""Freed memory goes back to the system: a process of its own is measured, before and after."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chains.controller import heap

_MEASURED = """
import os
from pathlib import Path
from chains.controller import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

before = resident()
blocks = [bytearray(b"x") * 100_000 for _ in range(1000)]
held = blocks[::100]
taken = resident() - before
del blocks
heap.trim()
print(taken, resident() - before)
"""


@pytest.mark.skipif(heap._function("malloc_trim") is None, reason="the C library has no malloc_trim")
def test_freed_memory_goes_back_though_something_behind_it_is_held() -> None:
    told = subprocess.check_output([sys.executable, "-c", _MEASURED], text=True)
    taken, left = map(int, told.split())
    assert taken >= 90
    assert left <= taken / 2


def test_a_c_library_that_has_no_such_function_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_function", lambda _: None)
    heap.trim()
    heap.return_large_blocks()


def test_a_name_that_the_c_library_does_not_have_is_no_error() -> None:
    assert heap._function("no_such_function_anywhere") is None
