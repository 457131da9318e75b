"""An event loop for one piece of work of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def carry_out(work: Coroutine[Any, Any, T]) -> T:
    """Carry out ``work`` as :func:`asyncio.run` does, and return its result or raise what it raised.

    The finished task has no result: ``asyncio.run`` asks ``signal.getsignal`` for its handler, which makes
    a text of the handler, with the task and all of its result in it, and throws the text away. For a run of a
    thousand images that took half a minute and more than a gigabyte.
    """
    found: list[T] = []

    async def keep() -> None:
        found.append(await work)

    asyncio.run(keep())
    return found[0]
