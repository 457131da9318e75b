"""The exceptions of this package.

:class:`StoreError`
 ├─ :class:`StoreUnavailable`  network, 5xx, throttling, a full disk; a later call may succeed
 └─ :class:`StoreRejected`     bad URL, no permission, wrong bytes returned; retrying does not help
     ├─ :class:`SubjectAbsent` the subject is absent; a call may succeed once it exists
     └─ :class:`BadContent`    stored bytes are wrong; a search reports them as skipped, with the reason
"""

from __future__ import annotations

from storage.record import Absence


class StoreError(Exception):
    """Base class of every exception that a store raises.

    The text is shown to users and never holds a credential. ``host`` (``scheme://host:port``) is the host
    that did not answer; empty if there is none or it is unknown.
    """

    host = ""

    absence: Absence = ""
    """Whether the cause is an absent subject, which may appear later."""


class StoreUnavailable(StoreError):  # noqa: N818 - the two names are the same in every port of this project
    """The store could not be reached or was busy. The same call may succeed later."""

    def __init__(self, reason: object, host: str = "") -> None:
        super().__init__(reason)
        self.host = host


class StoreRejected(StoreError):  # noqa: N818
    """The store, the request or the answer is wrong. The same call will not succeed later."""


class SubjectAbsent(StoreRejected):
    """The store does not have the subject to which the evidence should be attached."""

    absence: Absence = "certain"


class BadContent(StoreRejected):
    """Stored bytes are too large, do not have their digest, or cannot be parsed."""
