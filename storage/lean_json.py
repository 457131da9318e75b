"""Parses foreign JSON with bounded memory: the number of values is counted before parsing.

A limit in bytes is not enough: an empty list is two bytes of text and about sixty bytes of memory. Every
value except the first follows ``[``, ``{``, ``,`` or ``:``. Counting these characters, including those in
strings, takes a hundredth of the time of parsing and never gives a number that is too low. A value takes at
most 120 bytes at the peak (measured), so the largest document here takes 46 MiB besides its text.
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
"""The most memory that one value takes while a document is parsed."""
MOST_VALUES = 400_000
"""For a document of 4 MiB: one value per ten bytes. Image manifests have one per twenty."""
MOST_PAYLOAD_VALUES = 1_000_000
"""For a payload of 20 MiB."""
FEW_VALUES = 20_000
"""For a small document: a token, an error, an image configuration."""
_ASIDE = 64 * 1024
"""The size in bytes from which a document is parsed in a thread. Parsing a smaller one blocks for 15 ms at
most."""
_WITHOUT_GC = 10_000
"""Values from which the garbage collector is switched off while a document is parsed."""
T = TypeVar("T")


class TooMany(orjson.JSONDecodeError):
    """The document has more values than allowed."""

    def __init__(self, count: int, most: int) -> None:
        super().__init__(f"it has some {count} values, at most {most} are read", "", 0)


def values_in(data: bytes | memoryview) -> int:
    """Return an upper bound of the number of values in JSON text."""
    # memoryview has no count().
    text = bytes(data) if isinstance(data, memoryview) else data
    return 1 + text.count(b"[") + text.count(b"{") + text.count(b",") + text.count(b":")


def loads(data: bytes, most: int = MOST_VALUES) -> Any:
    """Parse JSON. Raises :class:`orjson.JSONDecodeError`, also for more than ``most`` values."""
    count = values_in(data)
    if count > most:
        raise TooMany(count, most)
    if count < _WITHOUT_GC:
        return orjson.loads(data)
    with _uncollected():
        return orjson.loads(data)


async def aside(data: bytes, work: Callable[[], T]) -> T:
    """Return the result of ``work``, which parses ``data``; in a thread if ``data`` is large."""
    return await one_by_one(work) if len(data) >= _ASIDE else work()


async def one_by_one(work: Callable[[], T]) -> T:
    """Run work on a large document in the one thread for such work, and return its result.

    The event loop is not blocked, and only one document takes memory at a time.
    """
    return await asyncio.get_running_loop().run_in_executor(_reader(), work)


# While a large document is parsed, the garbage collector would scan all new lists again and again and free
# nothing, so it is switched off. The counter handles several threads.
_lock = threading.Lock()
_readers, _was_on = 0, False


@contextmanager
def _uncollected() -> Iterator[None]:
    """Switch the garbage collector off while at least one caller is inside."""
    global _readers, _was_on  # noqa: PLW0603 - the garbage collector is global too
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
    """Return the one thread for large documents. Two at a time would take twice the memory."""
    global _pool  # noqa: PLW0603 - one per process
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(1, thread_name_prefix="json")
        return _pool
