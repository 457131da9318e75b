"""The exceptions of the ledger."""

from __future__ import annotations

from chains.errors import ChainsError


class LedgerError(ChainsError):
    """The ledger cannot be read or written: a file is missing, damaged, or used by another process."""


class LedgerBusy(LedgerError):  # noqa: N818 - the name says what is the case
    """Another process writes the log."""


class LedgerMissing(LedgerError):  # noqa: N818 - the name says what is missing
    """There is no ledger in the folder."""

    exit_code = 3


class NoLedgerFolder(LedgerError):  # noqa: N818 - the name says what is wrong
    """The path is a file, and no folder of a ledger."""

    exit_code = 2
