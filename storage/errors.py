"""The errors of this package.

:class:`StoreError`
 ├─ :class:`StoreUnavailable`  network, 5xx, throttling, a full disk: trying again can help
 └─ :class:`StoreRejected`     bad URL, no permission, wrong bytes came back: it cannot
     ├─ :class:`SubjectAbsent` the subject is not there: it can once somebody has put it there
     └─ :class:`BadContent`    the wrong bytes of these: in a search they are skipped, with the reason
"""

from __future__ import annotations

from storage.record import Absence


class StoreError(Exception):
    """Base of everything a store raises. The text is for the user and never holds a credential.

    ``host`` (``scheme://host:port``) is who gave no answer, empty where that is not known or not why.
    """

    host = ""

    absence: Absence = ""
    """Whether it was for want of the subject, which may come later."""


class StoreUnavailable(StoreError):  # noqa: N818 - "unavailable" and "rejected" are the two words of every port here
    """The store could not be reached or was busy; the same call may succeed later."""

    def __init__(self, reason: object, host: str = "") -> None:
        super().__init__(reason)
        self.host = host


class StoreRejected(StoreError):  # noqa: N818
    """The store, or what it answered, is wrong; the same call will not succeed later."""


class SubjectAbsent(StoreRejected):
    """The store does not have the subject that the evidence is to stand beside."""

    absence: Absence = "certain"


class BadContent(StoreRejected):
    """What came back is too large, is not what its digest says, or makes no sense."""
