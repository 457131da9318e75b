"""A limit on requests per second: Tekton Chains' flags ``--kube-api-qps`` and ``--kube-api-burst``."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Lets ``rate`` callers through per second, ``burst`` at once after a pause. Rate 0 means no limit."""

    def __init__(self, rate: float = 0, burst: int = 1) -> None:
        self._rate, self._burst = rate, max(1, burst)
        self._free_at = 0.0

    async def turn(self) -> None:
        """Wait until the caller may send a request."""
        if self._rate <= 0:
            return
        now = time.monotonic()
        earliest = now - (self._burst - 1) / self._rate
        self._free_at = max(self._free_at, earliest)
        wait = self._free_at - now
        self._free_at += 1 / self._rate
        if wait > 0:
            await asyncio.sleep(wait)
