"""What was seen once is believed for a while: a check that need not be made for every record."""

from __future__ import annotations

import time

SECONDS = 3600.0


class Belief:
    """Whether something was seen within :data:`SECONDS`."""

    def __init__(self) -> None:
        self._until = 0.0

    def __bool__(self) -> bool:
        return self._until > time.monotonic()

    def seen(self) -> None:
        """Believe it from now on."""
        self._until = time.monotonic() + SECONDS
