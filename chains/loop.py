"""An event loop for one piece of work of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def carry_out(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` as :func:`asyncio.run` does, and return its result or raise its exception.

    The main task itself returns nothing. ``asyncio.run`` calls ``signal.getsignal``, which converts its
    handler to a text, with the task and its whole result, and discards the text. For a run of a thousand
    images that took half a minute and more than a gigabyte.
    """
    found: list[T] = []

    async def keep() -> None:
        found.append(await work)

    asyncio.run(keep())
    return found[0]
