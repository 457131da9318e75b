"""How many requests one viewer or address may make: a bucket of tokens for each, in bounded memory."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

from chains.web.access.settings import Rate

MOST: Final = 10_000
"""Buckets that are kept; the one that was longest unused is dropped, and is full when it comes again."""
_IPV6_NETWORK: Final = 64
"""Bits of an IPv6 address that one customer of a provider has; the rest is theirs to choose."""


class Limits:
    """Counts requests. ``clock`` returns seconds of the machine."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._per_second, self._burst = rate.per_minute / 60, rate.burst
        self._clock = clock
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(most)

    def take(self, whose: str) -> int:
        """Count a request. Return 0 if it may be answered, else the seconds after which one may be."""
        now = self._clock()
        left, at = self._buckets.get(whose, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._per_second)
        if left < 1:
            self._buckets[whose] = (left, now)
            return math.ceil((1 - left) / self._per_second)
        self._buckets[whose] = (left - 1, now)
        return 0

    def __len__(self) -> int:
        return len(self._buckets)


def network_of(address: str) -> str:
    """Return what an address is counted as: itself, or the network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:  # of a socket for both
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network(f"{address.partition('%')[0]}/{_IPV6_NETWORK}", strict=False))
