"""A part of a store that one of several processes reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from chains.index.codes import SIGNATURE


@dataclass(frozen=True, slots=True)
class Shard:
    """The part ``number`` of ``total`` parts, from 0 on: what lies at a place belongs to the part it says."""

    number: int = 0
    total: int = 1

    @property
    def is_all(self) -> bool:
        """Whether it is everything."""
        return self.total == 1

    def has(self, location: str) -> bool:
        """Whether what lies at a place belongs to this part."""
        if self.is_all:
            return True
        name = location.partition(SIGNATURE)[0].encode(errors="surrogatepass")
        return int(hashlib.sha256(name).hexdigest()[:15], 16) % self.total == self.number
