"""From a file, the keys that may sign it and what was seen before to the revocations that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chains.revocation.envelope import verify_list
from chains.revocation.errors import RevocationError
from chains.revocation.memory import Memory
from chains.revocation.revocations import Revocations
from signers.formats.dsse import MAX_ENVELOPE_BYTES
from signers.keys.keyset import ListedKey
from storage.files import read_file


@dataclass(frozen=True, slots=True)
class ListWanted:
    """A list that somebody configured.

    ``keys`` may sign it, one of them is enough. ``minimum`` is the least version. ``memory`` is where the
    highest version is remembered, None where nothing is.
    """

    path: str
    keys: Sequence[ListedKey]
    minimum: int = 0
    memory: Memory | None = None


def read_revocations(wanted: ListWanted, now: datetime) -> Revocations:
    """Read a list and remember its version. Never raises: what is wrong with it makes answers undecided."""
    try:
        data = read_file(Path(wanted.path), MAX_ENVELOPE_BYTES)
    except (OSError, ValueError) as error:
        return _unusable(wanted, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    try:
        found, _ = verify_list(data, wanted.keys, now)
        if wanted.memory is not None:
            wanted.memory.admit(found, [one.key.keyid for one in wanted.keys])
    except RevocationError as error:
        return _unusable(wanted, str(error))
    if found.version < wanted.minimum:
        why = f"the list has version {found.version}, at least {wanted.minimum} is demanded: get the newest"
        return _unusable(wanted, why)
    return Revocations((found,))


def _unusable(wanted: ListWanted, why: str) -> Revocations:
    return Revocations(problems=(f"revocation list {wanted.path}: {why}",))
