"""Takes disposition records from the ledger's inbox: whoever deletes evidence put them there before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from chains.audit.ledger.entries import Entry
from chains.audit.ledger.errors import LedgerError
from chains.audit.retention import inbox
from chains.errors import ChainsError

SHARE = 0
"""The share whose log has the entries: each record comes into one log."""
_log = logging.getLogger("chains.ledger")


def take_records(folder: Path, append: Callable[[Sequence[Entry]], Sequence[LedgerError | None]]) -> None:
    """Write an entry for each piece that a waiting record names, and move the record away.

    What is no record is moved to ``inbox/refused``. Raises :class:`LedgerError` if entries cannot be written;
    the record then waits.
    """
    try:
        for path in inbox.waiting(folder):
            try:
                entries = list(inbox.entries_of(path, datetime.now(UTC)))
            except ChainsError as error:
                _log.error(
                    "a file in the inbox of the ledger is no disposition record", extra={"reason": str(error)}
                )
                inbox.move(path, inbox.REFUSED)
                continue
            if not any(append(entries)):
                inbox.move(path, inbox.TAKEN)
    except OSError as error:
        raise LedgerError(f"{error.filename or folder}: {error.strerror or error}") from error
