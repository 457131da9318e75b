"""The exceptions of the index.

:class:`~chains.errors.ChainsError`
 ├─ :class:`IndexAbsent`        2: there is no index, or not one that this version reads
 └─ :class:`IndexUnavailable`   1: the database does not answer, is locked, full or damaged
     └─ :class:`IndexBusy`      1: another process writes it
"""

from __future__ import annotations

from chains.errors import ChainsError


class IndexAbsent(ChainsError):  # noqa: N818 - nothing broke: it has to be built first
    """There is no index at this place, or one of another schema. The text has the command that builds it."""

    exit_code = 2


class IndexUnavailable(ChainsError):  # noqa: N818 - like StoreUnavailable
    """The database cannot be read or written now."""


class IndexBusy(IndexUnavailable):
    """Another process writes the index."""
