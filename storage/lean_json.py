"""JSON from strangers, read at a known price: how many values it has is counted before any of them is made.

A list without anything in it takes two bytes of text and some sixty of memory, so a limit in bytes bounds
nothing. Every value but the first stands behind ``[``, ``{``, ``,`` or ``:``; counting these characters,
those within strings too, takes a hundredth of the time that reading takes and is never too low. Measured, a
value takes at most 120 bytes at the peak, so the largest of these documents takes 46 MiB beside its text.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson

VALUE_BYTES = 120
"""Memory of one value at the peak of reading, at most."""
MOST_VALUES = 400_000
"""In a document of 4 MiB: a value for each ten bytes. Image manifests have one for twenty."""
MOST_PAYLOAD_VALUES = 1_000_000
"""In a payload of 20 MiB."""
FEW_VALUES = 20_000
"""In what has one answer: a token, an error, an image's configuration."""
_MARKS = (b"[", b"{", b",", b":")
_ASIDE = 64 * 1024
"""Bytes above which a document is read in a thread. The interpreter is held for 15 ms at most."""
_WITHOUT_GC = 10_000
T = TypeVar("T")


class TooMany(orjson.JSONDecodeError):
    """The document has more values than are read."""

    def __init__(self, found: int, most: int) -> None:
        super().__init__(f"it has some {found} values, at most {most} are read", "", 0)


def values_in(data: bytes | memoryview) -> int:
    """Return how many values JSON has at most."""
    text = bytes(data) if isinstance(data, memoryview) else data
    return 1 + sum(text.count(mark) for mark in _MARKS)


def loads(data: bytes, most: int = MOST_VALUES) -> Any:
    """Return what JSON says. Raises :class:`orjson.JSONDecodeError`, with more than ``most`` values too."""
    found = values_in(data)
    if found > most:
        raise TooMany(found, most)
    if found < _WITHOUT_GC:
        return orjson.loads(data)
    with _uncollected():
        return orjson.loads(data)


async def aside(data: bytes, work: Callable[[], T]) -> T:
    """Return what ``work`` makes of ``data``, in a thread when that may take long."""
    return await one_by_one(work) if len(data) >= _ASIDE else work()


async def one_by_one(work: Callable[[], T]) -> T:
    """Return what ``work`` makes of something large, in the thread that does one such thing at a time.

    The event loop goes on meanwhile, and the memory that it takes is taken once.
    """
    return await asyncio.get_running_loop().run_in_executor(_reader(), work)


# the collector looks at every new list again and again while a document is read, and finds nothing
_lock = threading.Lock()
_readers, _was_on = 0, False


@contextmanager
def _uncollected() -> Iterator[None]:
    global _readers, _was_on  # noqa: PLW0603 - so is the collector's switch
    with _lock:
        if _readers == 0:
            _was_on = gc.isenabled()
            gc.disable()
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0 and _was_on:
                gc.enable()


_pool: ThreadPoolExecutor | None = None


def _reader() -> ThreadPoolExecutor:
    """Return the one thread for what is large: two such things at a time would take twice the memory."""
    global _pool  # noqa: PLW0603 - for the whole process
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(1, thread_name_prefix="json")
        return _pool
