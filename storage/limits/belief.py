"""Remembers a successful check for a while, so that it need not be made for every record."""

from __future__ import annotations

import time

SECONDS = 3600.0
"""How long a successful check counts."""


class Belief:
    """Whether a check succeeded within the last :data:`SECONDS`."""

    def __init__(self) -> None:
        self._until = 0.0

    def __bool__(self) -> bool:
        return self._until > time.monotonic()

    def seen(self) -> None:
        """Remember that the check succeeded now."""
        self._until = time.monotonic() + SECONDS
