"""Runs several jobs at the same time, so that none outlives the failure of another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def together(jobs: Iterable[Awaitable[T]]) -> list[T]:
    """Await all jobs to their end; return their results in order, or raise the first error.

    With a plain ``gather``, a request could continue after another one failed and outlive its store.
    """
    ended = await asyncio.gather(*jobs, return_exceptions=True)
    results: list[T] = []
    for result in ended:
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
