"""One piece of evidence: what rules demand of it, compared with the locks that its store told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chains.audit.retention.format import LockWanted
from chains.audit.retention.rules import Demand
from chains.text import count, rfc3339
from storage.locks import COMPLIANCE, GOVERNANCE, LockState, ObjectLock


class State(StrEnum):
    """What becomes of a piece of evidence."""

    KEEP = "keep"
    """Its term is not over."""
    HELD = "held"
    """A legal hold covers it."""
    DISPOSABLE = "disposable"
    """Every term is over and no hold covers it: it may be disposed of."""
    UNDECIDED = "undecided"
    """Until when it must be kept is not known, so it is kept."""
    GONE = "gone"
    """It was there, and no store has it, and no disposition record says why."""
    DISPOSED = "disposed"
    """It was deleted with a signed disposition record."""


class Code(StrEnum):
    """The stable code of a problem. ``docs/retention.md`` explains each."""

    LOCK_MISSING = "lock_missing"
    LOCK_WEAK = "lock_weak"
    LOCK_SHORT = "lock_short"
    HOLD_MISSING = "hold_missing"
    GONE = "gone"
    LOCK_UNKNOWN = "lock_unknown"
    UNCLASSIFIED = "unclassified"
    TIME_UNKNOWN = "time_unknown"
    NOT_VERIFIED = "not_verified"


UNDECIDED = frozenset({Code.LOCK_UNKNOWN, Code.UNCLASSIFIED, Code.TIME_UNKNOWN, Code.NOT_VERIFIED})
"""The problems because of which nothing can be said; the others are wrong."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a piece, or not known."""

    code: Code
    words: str

    def __str__(self) -> str:
        return f"{self.code}: {self.words}"


def state_of(demand: Demand, now: datetime) -> State:
    """Return what becomes of a piece that verifies."""
    if demand.holds:
        return State.HELD
    if demand.is_over(now):
        return State.DISPOSABLE
    return State.UNDECIDED if demand.until is None else State.KEEP


def problems_of(demand: Demand, locks: Sequence[ObjectLock], now: datetime) -> list[Problem]:
    """Return what is wrong with a piece that verifies. Only the versions that readers get are looked at."""
    found = []
    if not demand.classes:
        found.append(Problem(Code.UNCLASSIFIED, "no class has it: nothing says how long it must be kept"))
    if demand.unknown_starts:
        names = ", ".join(demand.unknown_starts)
        found.append(Problem(Code.TIME_UNKNOWN, f"the time from which {names} counts is not known"))
    current = [one for one in locks if one.is_current]
    wanted: dict[Code, list[str]] = {}
    for one in current or [ObjectLock("", detail="the store lists no object of it")]:
        for code, words in _wrong(demand, one, now):
            wanted.setdefault(code, []).append(words)
    for code, told in wanted.items():
        of = f" ({count(len(told), 'object')} of {len(current)})" if len(current) > 1 else ""
        found.append(Problem(code, f"{told[0]}{of}"))
    return found


def _wrong(demand: Demand, lock: ObjectLock, now: datetime) -> Iterator[tuple[Code, str]]:
    """Yield what is wrong with the lock of one object."""
    over = demand.until is not None and demand.until <= now
    wants_lock = demand.lock is not LockWanted.NONE and not over
    if not (wants_lock or demand.wants_hold):
        return
    where = "" if lock.is_evidence else f"{lock.location}: "
    if lock.state is LockState.UNKNOWN:
        told = f": {lock.detail}" if lock.detail else ""
        yield Code.LOCK_UNKNOWN, f"{where}whether it is locked is not known{told}"
        return
    if wants_lock and not lock.mode:
        yield Code.LOCK_MISSING, f"{where}expected {demand.lock.value}, got no lock"
    elif wants_lock:
        if demand.lock is LockWanted.COMPLIANCE and lock.mode != COMPLIANCE:
            yield Code.LOCK_WEAK, f"{where}expected compliance, got {lock.mode.lower()}"
        if demand.until is not None and (lock.until is None or lock.until < _whole(demand.until)):
            end = rfc3339(lock.until) if lock.until is not None else "no time"
            yield Code.LOCK_SHORT, f"{where}expected until {rfc3339(demand.until)}, got until {end}"
    if demand.wants_hold and not lock.hold:
        yield Code.HOLD_MISSING, f"{where}expected a legal hold, got none"


def _whole(moment: datetime) -> datetime:
    """Return a time as S3 stores it, in whole seconds."""
    return moment.replace(microsecond=0)


def wanted_mode(demand: Demand, lock: ObjectLock) -> str:
    """Return the mode in which an object is to be locked: what is demanded, or what is stricter already."""
    strict = demand.lock is LockWanted.COMPLIANCE or lock.mode == COMPLIANCE
    return COMPLIANCE if strict else GOVERNANCE
