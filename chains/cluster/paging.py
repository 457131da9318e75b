"""How many objects of a list are asked for at once: fewer where they are large, whoever made them so."""

from __future__ import annotations

import asyncio

import aiohttp

from storage.lean_json import values_in

PAGE = 500
"""Objects of a page, at most."""
PAGE_BYTES = 8 * 1024 * 1024
PAGE_VALUES = 600_000
"""In a page of several objects: five hundred ordinary runs have a half of each."""
LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of one object: ten times what etcd takes by default."""
MOST_IN_WORK = 4 * 1024 * 1024
"""Weight of the large runs in work at a time. They take about twenty times as much memory."""
MOST_OF_ONE = MOST_IN_WORK // 2
"""Of one namespace."""
_SMALLER = 8
SMALL_BYTES = 128 * 1024
"""Bytes, and weight, of an object that is not large."""
_SMALL_VALUES = 10_000
_BYTES_OF_A_VALUE = SMALL_BYTES / _SMALL_VALUES
MOST_LARGE_ANSWERS = 8
"""Answers of more than :data:`SMALL_BYTES` that are read at a time over one client."""


def weight_of(data: bytes) -> int:
    """Return what an object takes when it is decoded, as bytes of ordinary JSON that take as much."""
    return weight(len(data), values_in(data))


def weight(size: int, values: int) -> int:
    """:func:`weight_of`, of bytes and values that were counted."""
    return int(max(size, values * _BYTES_OF_A_VALUE))


def is_large(data: bytes) -> bool:
    """Whether an object takes so much memory when it is decoded that few are held at a time."""
    return weight_of(data) > SMALL_BYTES


class Pages:
    """The size of the pages of one list or watch, which follows what it holds."""

    def __init__(self) -> None:
        self.objects = PAGE
        """To ask for."""

    def takes(self, data: bytes | None) -> bool:
        """Whether a page is read; else fewer objects are to be asked for. None is one that was too long.

        Of a single object it takes everything but one that was too long.
        """
        if data is None or (self.objects > 1 and values_in(data) > PAGE_VALUES):
            self.objects = max(1, self.objects // _SMALLER)
            return False
        if len(data) < PAGE_BYTES // _SMALLER:
            self.objects = min(PAGE, self.objects * 2)
        return True

    @property
    def largest(self) -> int:
        """Bytes of a page that are read: one object is, however large."""
        return PAGE_BYTES if self.objects > 1 else LARGEST_ANSWER


async def read_some(
    answer: aiohttp.ClientResponse, limit: int, places: asyncio.Semaphore | None = None
) -> bytes | None:
    """Return the body of an answer; None where it has more than ``limit`` bytes, and no more is read.

    One of more than :data:`SMALL_BYTES` takes one of the ``places``: whether an object is large is known only
    when all of it was read, and every worker may be reading one. While it waits it reads nothing more.
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
