"""A progress bar on a terminal. Without a terminal, nothing is drawn and rich is not imported."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TextIO

from chains.cli.tables import styles_wanted
from chains.terminal import watched_error

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_WIDTH = 30
_INTERVAL = 0.1
"""The shortest time between two drawings, in seconds."""


class Progress:
    """A bar on standard error that shows how many items are done and how many failed.

    With ``is_timed`` it also shows how many are done each second, and how long the rest takes at that rate.
    """

    def __init__(
        self, total: int, noun: str, stream: TextIO | None = None, *, is_timed: bool = False
    ) -> None:
        given = stream or watched_error()
        is_watched = given is not None and given.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = _start(given, total, noun) if given is not None and is_watched and total > 0 else None
        self._total = total
        self._done = self._failed = 0
        self._drawn = 0.0
        self._started = time.monotonic() if is_timed else None

    def advance(self, *, failed: bool = False) -> None:
        """Count one item as done, and as failed if it failed."""
        self._done += 1
        self._failed += failed
        now = time.monotonic()
        if self._bar is not None and (now - self._drawn >= _INTERVAL or self._done == self._total):
            self._drawn = now
            failures = f", {self._failed} failed" if self._failed else ""
            if self._started is not None:
                failures += pace(self._done, self._total, now - self._started)
            self._bar.update(self._bar.task_ids[0], completed=self._done, failures=failures, refresh=True)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.stop()


def pace(done: int, total: int, seconds: float) -> str:
    """Return how many items are done each second and how long the rest takes, nothing in the first second."""
    if seconds < 1 or not done:
        return ""
    rate = done / seconds
    left = round(max(total - done, 0) / rate)
    hours, minutes = divmod(left // 60, 60)
    told = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{left} s"
    return f", {rate:.0f}/s, {told} left"


def _start(stream: TextIO, total: int, noun: str) -> Bar:
    from rich.console import Console  # noqa: PLC0415 - takes long, and only a terminal needs it
    from rich.progress import BarColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    class VisibleCursor(Console):
        """A console that never hides the cursor, because a killed command could not show it again."""

        def show_cursor(self, show: bool = True) -> bool:
            del show
            return False

    console = VisibleCursor(
        file=stream,
        force_terminal=True,
        color_system="auto" if styles_wanted() else None,
        markup=False,
        highlight=False,
        emoji=False,
    )
    bar = Bar(
        BarColumn(bar_width=_WIDTH),
        TextColumn("{task.completed}/{task.total} {task.description}{task.fields[failures]}", markup=False),
        console=console,
        # only advance() draws the bar: there is no thread, and nothing is left at the end
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        # lines that are written to standard error meanwhile appear above the bar
        redirect_stderr=True,
    )
    bar.add_task(noun, total=total, failures="")
    bar.start()
    return bar
