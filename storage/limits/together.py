"""Several jobs at once, none of which outlives the others' failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def together(jobs: Iterable[Awaitable[T]]) -> list[T]:
    """Await all jobs to their end, then return what they gave in their order, or raise the first error.

    A request that is left behind by a failed one would outlive its store.
    """
    ended = await asyncio.gather(*jobs, return_exceptions=True)
    given: list[T] = []
    for one in ended:
        if isinstance(one, BaseException):
            raise one
        given.append(one)
    return given
