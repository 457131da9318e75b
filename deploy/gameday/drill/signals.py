"""Ctrl-C, SIGTERM and SIGHUP end a game day in order: the fault is undone first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from drill.errors import InterruptedGameError

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen() -> None:
    """Raise :class:`InterruptedGameError` in the main thread when one of them comes."""
    for each in NUMBERS:
        signal.signal(each, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise InterruptedGameError(f"interrupted by {signal.Signals(number).name}")


@contextmanager
def held() -> Iterator[None]:
    """Hold them back for the length of the block. The first one that came is raised after it.

    They are not blocked: programs that are started meanwhile would inherit that.
    """
    came: list[int] = []
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        _interrupt(came[0], None)
