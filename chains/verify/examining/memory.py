"""Examinations that are remembered: what some bytes say, and who signed them, for certain criteria.

An examination depends on the evidence, the criteria and what is wanted, which are all in the key of the
memory. The evidence is there by the SHA-256 of the bytes that were just read, so that a store is read each
time, and changed bytes are examined anew. Windows of keys, revocations, ages and exemptions are no part of
an examination and are judged each time.

The time is a part of an examination in one place: a verified time must have passed. Once it has, it has for
ever, so an examination counts from its own time on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime

from chains.verify.criteria import Criteria
from chains.verify.evidence import Examined
from storage.record import Evidence

MOST_BYTES = 32 * 1024 * 1024
"""Bytes of memory that all remembered examinations take, about. What was used longest ago is forgotten."""
LARGEST = 256 * 1024
"""Bytes of the largest payload whose examination is remembered."""
_PER_BYTE = 16
"""Memory for each byte of JSON, about."""
_PER_PIECE = 1024
_PER_CHECK = 160
_NOTHING = Evidence("", "", "", "", b"")


@dataclass(frozen=True, slots=True)
class _Kept:
    criteria: Criteria
    """Held, so that no other criteria get its identity, which is part of the key."""
    examined: Examined
    since: datetime | None
    size: int


class Examinations:
    """Examinations by their key, within a limit on memory. Safe to use from several threads."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = self._left = most
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable, evidence: Evidence, criteria: Criteria, now: datetime) -> Examined | None:
        """Return what is known of this evidence, None for nothing.

        ``key`` has the digest of its bytes and everything else that :func:`examine` reads.
        """
        key = (id(criteria), key)
        kept = self._kept.get(key)
        if kept is None or (kept.since is not None and now < kept.since):
            return None
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
        return kept.examined.at(evidence)

    def keep(self, key: Hashable, examined: Examined, criteria: Criteria, now: datetime) -> None:
        """Remember an examination, if it does not depend on the time or its time has come."""
        since = None
        if criteria.trusted_root is not None:
            # without a verified time, log entries are judged by the time of the examination
            if examined.signed_by is None or not examined.signed_by.times:
                return
            since = now
        size = _size(examined)
        if size > min(LARGEST * _PER_BYTE, self._most):
            return
        kept = _Kept(criteria, replace(examined, evidence=_NOTHING), since, size)
        key = (id(criteria), key)
        with self._lock:
            before = self._kept.pop(key, None)
            self._left += before.size if before else 0
            while self._left < size:
                _, oldest = self._kept.popitem(last=False)
                self._left += oldest.size
            self._kept[key] = kept
            self._left -= size

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._left = self._most


def _size(examined: Examined) -> int:
    payload = len(examined.authentic.payload) if examined.authentic else 0
    texts = sum(len(check.expected) + len(check.actual) + _PER_CHECK for check in examined.checks)
    return _PER_PIECE + texts + payload * _PER_BYTE


KNOWN = Examinations()
"""The examinations of this process."""
