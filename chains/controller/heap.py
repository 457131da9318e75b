"""Memory that the C library keeps after it was freed: it is returned to the system before a large run is
read."""

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
    """Return large blocks as soon as they are freed, and let all threads share two heaps.

    By default glibc keeps freed blocks of up to 32 MiB in its heap, and cannot return them while any block
    behind them is in use. It also has a heap for each thread, up to eight for each processor.
    """
    if (function := _function("mallopt")) is not None:
        function(_MMAP_THRESHOLD, _LARGE)
        function(_ARENA_MAX, _HEAPS)


def trim() -> None:
    """Return the free memory of the heap. Takes some milliseconds, in which other threads go on."""
    if (function := _function("malloc_trim")) is not None:
        function(0)
