"""An event loop for one piece of work of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return a factory of uvloop's event loops; None, for asyncio's own, if uvloop is not installed."""
    try:
        import uvloop  # noqa: PLC0415 - of the extra controller, and only the controller uses it
    except ModuleNotFoundError:
        return None
    make: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return make


def carry_out(
    work: Coroutine[Any, Any, T], make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> T:
    """Run ``work`` as :func:`asyncio.run` does, and return its result or raise its exception.

    ``make_loop`` makes the event loop; None makes asyncio's own.

    The main task itself returns nothing. ``asyncio.run`` calls ``signal.getsignal``, which converts its
    handler to a text, with the task and its whole result, and discards the text. For a run of a thousand
    images that took half a minute and more than a gigabyte.
    """
    found: list[T] = []

    async def keep() -> None:
        found.append(await work)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(keep())
    return found[0]
