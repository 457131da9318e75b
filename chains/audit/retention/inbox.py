"""Hands disposition records to the writer of a ledger, which is another process: through a folder.

A log has one writer, the controller. Whoever deletes evidence puts the signed record into the folder
``inbox`` beside the logs before anything is deleted. The writer takes it from there, and moves it to
``inbox/taken``. If it is killed in between, it takes the record again, so an entry may be there twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from chains.audit.ledger.entries import Disposition, fit, fit_reason
from chains.audit.retention.record import DispositionRecord
from chains.documents.load import read_bytes
from chains.errors import ChainsError
from signers.errors import SignerError
from signers.formats.bundle import Bundle
from storage.durable import replace_file, sync_folder

FOLDER, TAKEN, REFUSED = "inbox", "taken", "refused"
SUFFIX = ".bundle.json"
MOST_AT_ONCE = 20
"""Records that are taken at one time."""
_LARGEST = 8 * 1024 * 1024


def put(ledger: Path, record: DispositionRecord, bundle: bytes) -> None:
    """Put a signed record into the inbox of the ledger in a folder, unless it is or was there.

    Raises :class:`OSError`.
    """
    name = record.uid + SUFFIX
    inbox = ledger / FOLDER
    if any((place / name).exists() for place in (inbox, inbox / TAKEN)):
        return
    (inbox / TAKEN).mkdir(parents=True, exist_ok=True)
    replace_file(inbox / name, bundle, fsync=True)


def waiting(ledger: Path) -> list[Path]:
    """Return the records that wait, the first of them. Raises :class:`OSError`."""
    inbox = ledger / FOLDER
    if not inbox.is_dir():
        return []
    return sorted(one for one in inbox.iterdir() if one.name.endswith(SUFFIX))[:MOST_AT_ONCE]


def entries_of(path: Path, at: datetime) -> Iterator[Disposition]:
    """Yield the entries that a record makes, one for each piece that goes.

    Nothing is verified: an entry says what a record says, and an audit verifies the record itself. Raises
    :class:`ChainsError` for what is no record.
    """
    try:
        bundle = Bundle.from_bytes(read_bytes(path, _LARGEST))
    except SignerError as error:
        raise ChainsError(f"{path}: {error}") from error
    record = DispositionRecord.from_bytes(bundle.envelope.payload)
    for one in record.pieces:
        kept = f"class {one.rule}, kept until {one.kept_until.date()}"
        yield Disposition(
            at,
            fit(one.digest),
            fit(one.location),
            fit(record.approved_by),
            fit_reason(f"record {record.uid}: {kept}: {record.reason}"),
            fit(one.run.uid),
        )


def move(path: Path, name: str) -> None:
    """Move a record out of the inbox into a folder below it. Raises :class:`OSError`."""
    folder = path.parent / name
    folder.mkdir(exist_ok=True)
    path.rename(folder / path.name)
    sync_folder(folder)
