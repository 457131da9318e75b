"""The number of objects in a page of a list: smaller where the objects are large."""

from __future__ import annotations

import asyncio

import aiohttp

from storage.lean_json import values_in

PAGE = 500
"""The most objects of a page."""
PAGE_BYTES = 8 * 1024 * 1024
PAGE_VALUES = 600_000
"""Limits for a page of several objects. Five hundred ordinary runs have half of each."""
LARGEST_ANSWER = 16 * 1024 * 1024
"""The most bytes of one object: ten times etcd's default limit."""
MOST_IN_WORK = 4 * 1024 * 1024
"""The most weight of large runs that are processed at a time. They take about twenty times as much memory."""
MOST_OF_ONE = MOST_IN_WORK // 2
"""The same for one namespace."""
_SMALLER = 8
SMALL_BYTES = 128 * 1024
"""The most bytes, and the most weight, of an object that is not large."""
_SMALL_VALUES = 10_000
_BYTES_OF_A_VALUE = SMALL_BYTES / _SMALL_VALUES
MOST_LARGE_ANSWERS = 8
"""How many answers of more than :data:`SMALL_BYTES` one client reads at a time."""


def weight_of(data: bytes) -> int:
    """Return the memory that an object takes when it is decoded, in bytes of ordinary JSON."""
    return weight(len(data), values_in(data))


def weight(size: int, values: int) -> int:
    """Return the same as :func:`weight_of`, for counted bytes and values."""
    return int(max(size, values * _BYTES_OF_A_VALUE))


def is_large(data: bytes) -> bool:
    """Return whether an object takes so much memory when it is decoded that only a few are held at a time."""
    return weight_of(data) > SMALL_BYTES


class Pages:
    """The page size of one list or watch. It adapts to the size of the objects."""

    def __init__(self) -> None:
        self.objects = PAGE
        """The number of objects to ask for."""

    def takes(self, data: bytes | None) -> bool:
        """Return whether a page is accepted; otherwise the next request asks for fewer objects.

        ``None`` is a page that was too long. A page of one object is always accepted unless it was too long.
        """
        if data is None or (self.objects > 1 and values_in(data) > PAGE_VALUES):
            self.objects = max(1, self.objects // _SMALLER)
            return False
        if len(data) < PAGE_BYTES // _SMALLER:
            self.objects = min(PAGE, self.objects * 2)
        return True

    @property
    def largest(self) -> int:
        """The most bytes of a page that are read. One object alone may have :data:`LARGEST_ANSWER`."""
        return PAGE_BYTES if self.objects > 1 else LARGEST_ANSWER


async def read_some(
    answer: aiohttp.ClientResponse, limit: int, places: asyncio.Semaphore | None = None
) -> bytes | None:
    """Return the body of an answer; None if it is longer than ``limit`` bytes, of which no more is read.

    An answer of more than :data:`SMALL_BYTES` waits for one of the ``places`` and reads nothing more
    meanwhile. Whether an object is large is known only after all of it was read, and every worker may be
    reading one.
    """
    parts, has_place = bytearray(), False
    try:
        async for part in answer.content.iter_any():
            if len(parts) + len(part) > limit:
                answer.close()
                return None
            if places is not None and not has_place and len(parts) + len(part) > SMALL_BYTES:
                has_place = await places.acquire()
            parts += part
        return bytes(parts)
    finally:
        if places is not None and has_place:
            places.release()
