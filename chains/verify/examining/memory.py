"""Examinations that are remembered: what some bytes say, and who signed them, for certain criteria.

An examination depends on the evidence, the criteria and what is wanted, which are all in the key of the
memory. The evidence is there by the SHA-256 of the bytes that were just read, so that a store is read each
time, and changed bytes are examined anew. Windows of keys, revocations, ages and exemptions are no part of
an examination and are judged each time.

The time is a part of an examination in one place: a verified time must have passed. Once it has, it has for
ever, so an examination counts from its own time on.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime

from chains.verify.criteria import Criteria
from chains.verify.evidence import Examined
from storage import lean_json
from storage.record import Evidence

MOST_BYTES = 32 * 1024 * 1024
"""Bytes of memory that all remembered examinations take at most, about."""
LARGEST = 256 * 1024
"""Bytes of the largest payload whose examination is remembered."""
LONGEST = 64 * 1024
"""The most that the annotations and the signature of evidence take that is remembered. They are a part of its
key, and whoever can write to a store chooses them."""
_PER_PIECE, _PER_CHECK, _PER_ANNOTATION = 1024, 160, 256
_NOTHING = Evidence("", "", "", "", b"")


@dataclass(frozen=True, slots=True)
class _Kept:
    criteria: Criteria
    """Held, so that no other criteria get its identity, which is part of the key."""
    examined: Examined
    since: datetime | None
    size: int


class Examinations:
    """Examinations by their key, within a limit on memory. Safe to use from several threads.

    If there is no room, any one is forgotten. If it were the one that was used longest ago, a memory for nine
    hundred images would be of no use where a thousand are asked about in turn.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = self._left = most
        self._kept: dict[Hashable, _Kept] = {}
        self._order: list[Hashable] = []
        self._chance = random.Random(0)  # noqa: S311 - no secret
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable, evidence: Evidence, criteria: Criteria, now: datetime) -> Examined | None:
        """Return what is known of this evidence, None for nothing.

        ``key`` has the digest of its bytes and everything else that :func:`examine` reads.
        """
        kept = self._kept.get((id(criteria), key))
        if kept is None or (kept.since is not None and now < kept.since):
            return None
        return kept.examined.at(evidence)

    def keep(self, key: Hashable, examined: Examined, criteria: Criteria, now: datetime) -> None:
        """Remember an examination, if it does not depend on the time or its time has come."""
        since = None
        if criteria.trusted_root is not None:
            # without a verified time, log entries are judged by the time of the examination
            if examined.signed_by is None or not examined.signed_by.times:
                return
            since = now
        payload = examined.authentic.payload if examined.authentic else b""
        size = _size(examined)
        if len(payload) > LARGEST or size > self._most or _beside(examined.evidence) > LONGEST:
            return
        kept = _Kept(criteria, replace(examined, evidence=_NOTHING), since, size)
        key = (id(criteria), key)
        with self._lock:
            if key in self._kept:
                self._forget(self._order.index(key))
            while self._left < size:
                self._forget(self._chance.randrange(len(self._order)))
            self._kept[key] = kept
            self._order.append(key)
            self._left -= size

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._order.clear()
            self._left = self._most

    def _forget(self, place: int) -> None:
        last = self._order.pop()
        key = last
        if place < len(self._order):
            key, self._order[place] = self._order[place], last
        self._left += self._kept.pop(key).size


def _beside(evidence: Evidence) -> int:
    """Return how much memory what comes with the bytes of evidence takes, at most."""
    pairs = evidence.annotations.items()
    # a character takes up to four bytes
    return len(evidence.signature) + sum(
        _PER_ANNOTATION + 4 * (len(name) + len(value)) for name, value in pairs
    )


def _size(examined: Examined) -> int:
    """Return how much memory an examination takes, at most, with what rules see of its statement."""
    payload = examined.authentic.payload if examined.authentic else b""
    texts = sum(len(check.expected) + len(check.actual) + _PER_CHECK for check in examined.checks)
    texts += _beside(examined.evidence)
    return _PER_PIECE + texts + 2 * len(payload) + lean_json.values_in(payload) * lean_json.VALUE_BYTES


KNOWN = Examinations()
"""The examinations of this process."""
