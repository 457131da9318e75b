"""Makes locks as rules demand: longer, stricter, with a legal hold. Nothing becomes shorter or weaker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chains.audit.retention.format import LockWanted
from chains.audit.retention.judge import wanted_mode
from chains.audit.retention.survey import Kept
from chains.text import rfc3339
from storage.base import Store
from storage.errors import StoreError
from storage.locks import COMPLIANCE, ObjectLock


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to the lock of one object. ``until`` is None if its time stays; ``problem``: why not."""

    lock: ObjectLock
    mode: str
    until: datetime | None
    hold: bool
    problem: str = ""

    @property
    def words(self) -> str:
        """The change in words."""
        told = []
        if self.until is not None:
            before = (
                f"{self.lock.mode.lower()} until {rfc3339(self.lock.until)}"
                if self.lock.mode and self.lock.until is not None
                else "no lock"
            )
            told.append(f"{before} becomes {self.mode.lower()} until {rfc3339(self.until)}")
        if self.hold:
            told.append("gets a legal hold")
        return ", ".join(told)

    def to_json(self) -> dict[str, Any]:
        """Return the change as plain JSON values."""
        return {
            "location": self.lock.location,
            "version": self.lock.version or None,
            "mode": self.mode if self.until is not None else None,
            "until": rfc3339(self.until) if self.until is not None else None,
            "legalHold": self.hold,
            "words": self.words,
            "problem": self.problem or None,
        }


def changes_of(kept: Kept, now: datetime) -> Iterator[Change]:
    """Yield what has to be done to the locks of a piece, so that they are as demanded."""
    demand = kept.demand
    for lock in kept.locks:
        if not lock.is_current:
            continue
        mode, until = wanted_mode(demand, lock), None
        if demand.lock is not LockWanted.NONE and demand.until is not None and demand.until > now:
            end = demand.until.replace(microsecond=0)
            is_short = lock.until is None or lock.until < end or not lock.mode
            is_weak = mode == COMPLIANCE and lock.mode != COMPLIANCE
            if is_short or is_weak:
                until = max(filter(None, (end, lock.until)))
        hold = demand.wants_hold and not lock.hold
        if until is not None or hold:
            yield Change(lock, mode, until, hold)


def merged(changes: Iterable[Change]) -> list[Change]:
    """Return one change for each object: pieces of one run share objects, and the longest lock counts."""
    found: dict[tuple[str, str], Change] = {}
    for one in changes:
        key = (one.lock.location, one.lock.version)
        before = found.get(key, one)
        until = max(filter(None, (before.until, one.until)), default=None)
        mode = COMPLIANCE if COMPLIANCE in {before.mode, one.mode} else one.mode
        found[key] = Change(one.lock, mode, until, before.hold or one.hold)
    return list(found.values())


async def apply(store: Store, changes: Sequence[Change]) -> list[str]:
    """Make changes, several at the same time. Return for each why it could not be made, empty if it was."""

    async def work(change: Change) -> str:
        try:
            await store.lengthen(change.lock, change.mode, change.until, hold=change.hold)
        except StoreError as error:
            return str(error)
        return ""

    return list(await asyncio.gather(*map(work, changes)))
