"""Freed memory that the C library keeps: it is given back before something large takes more."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""``M_MMAP_THRESHOLD`` and ``M_ARENA_MAX`` of glibc's ``malloc.h``, see mallopt(3)."""
_LARGE = 512 * 1024
_HEAPS = 2


@cache
def _function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library; None where it has none of that name, as musl's and macOS's."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
    return found


def return_large_blocks() -> None:
    """Let large blocks go back as soon as they are freed, and threads share what is kept of smaller ones.

    Without, glibc keeps blocks of up to 32 MiB in its heap once one of that size was freed, where anything
    that stands behind them holds them; and it has a heap for each thread, up to eight for each processor.
    """
    if (function := _function("mallopt")) is not None:
        function(_MMAP_THRESHOLD, _LARGE)
        function(_ARENA_MAX, _HEAPS)


def trim() -> None:
    """Give back what is free in the heap; takes some milliseconds, in which other threads go on."""
    if (function := _function("malloc_trim")) is not None:
        function(0)
