"""What a store says about how its objects are protected, and about objects that were deleted.

The types are what the store said when it was asked, and nothing that was configured. A store that cannot say
answers ``unknown``; one that has no locks answers ``none``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"
"""The modes of a lock: somebody with a permission of its own may lift the first, nobody the second."""


class LockState(StrEnum):
    """Whether an object is protected."""

    LOCKED = "locked"
    """It has a mode and an end, or a legal hold."""
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """One version of one object, and its lock. ``hold`` is its legal hold, None if that is unknown.

    ``is_current``: it is the version that readers get. ``is_evidence``: the object is the evidence itself and
    not something that leads to it or belongs to it. ``detail`` says why a state is unknown.
    """

    location: str
    version: str = ""
    state: LockState = LockState.UNKNOWN
    mode: str = ""
    until: datetime | None = None
    hold: bool | None = None
    stored: datetime | None = None
    """When the store took the object, by the store's clock."""
    is_current: bool = True
    is_evidence: bool = True
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Protection:
    """How a store as a whole protects what it has: whether objects can be locked, and what is the default.

    ``default`` is the lock of new objects that ask for none, such as ``COMPLIANCE 365 days``.
    """

    state: LockState
    detail: str
    versioning: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """An object of evidence that was deleted, according to the store; ``digest`` is what its name says."""

    location: str
    digest: str
    uid: str
    at: datetime | None = None


FOLDER_PROTECTION = Protection(
    LockState.NONE, "a folder has no locks: whoever may write to it can delete what is in it"
)


@dataclass(frozen=True, slots=True)
class Doomed:
    """A piece of evidence to delete, as a disposition record names it.

    ``uid`` is that of its run according to the store, empty if it names none. ``about`` is ``algorithm:hex``
    of what the evidence is about.
    """

    location: str
    digest: str
    uid: str = ""
    about: tuple[str, ...] = ()
