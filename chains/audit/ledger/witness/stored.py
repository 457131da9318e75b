"""The signatures of witnesses in a log's folder: a day's checkpoint with further signature lines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date

from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import CHECKPOINT, COSIGNED, LogFolder
from chains.audit.ledger.merkle import Tree, leaf_hash
from chains.audit.ledger.witness.client import ForkError, WitnessAhead, WitnessClient
from signers.errors import VerificationError
from signers.sigstore.cosignature import WitnessKey, find_cosignatures
from signers.sigstore.transparency import Checkpoint
from storage.durable import replace_file

MOST_DAYS = 31
"""The most days that are sent to a witness at a time, the oldest first."""


def missing_days(log: LogFolder, key: WitnessKey) -> tuple[int, list[date]]:
    """Return the size that a witness signed last as far as the folder says, and the closed days after it."""
    later: list[date] = []
    for day in reversed([day for day in log.days() if log.is_closed(day)]):
        checkpoint = _checkpoint(log, day)
        if key.name in _signed(checkpoint, key):
            return checkpoint.size, later[::-1][:MOST_DAYS]
        later.append(day)
    return 0, later[::-1][:MOST_DAYS]


async def cosign_day(log: LogFolder, day: date, known: int, client: WitnessClient) -> int:
    """Let a witness sign a closed day, store its signature, and return the size that it knows now.

    A day of which it knows a later one is passed over: its signature of that one covers it. Raises
    :class:`WitnessError`, :class:`ForkError` if it knows more than the log has.
    """
    note, size = log.note(day), _checkpoint(log, day).size

    def prove(old: int) -> Sequence[bytes]:
        tree = _tree(log, day)
        if tree.size < size:
            raise LedgerError(
                f"{log.path}: no proof for a witness: {tree.size} of {size} entries are in the folder; "
                "move the older days back"
            )
        return tree.consistency(old, size)

    async def consistency(old: int) -> Sequence[bytes]:
        return await asyncio.to_thread(prove, old)

    try:
        lines = await client.cosign(note, known, consistency)
    except WitnessAhead as ahead:
        closed = [each for each in log.days() if log.is_closed(each)]
        newest = _checkpoint(log, closed[-1]).size
        if ahead.size > newest:
            raise ForkError(
                f"fork: the witness {client.name} signed {ahead.size} entries of {log.origin()}, this folder "
                f"has {newest}: its end was cut off, or another copy of it goes on elsewhere"
            ) from ahead
        return ahead.size
    await asyncio.to_thread(replace_file, log.file(day, COSIGNED), note + lines, fsync=True)
    return size


def _checkpoint(log: LogFolder, day: date) -> Checkpoint:
    try:
        return Checkpoint.from_note(log.note(day).decode())
    except (VerificationError, UnicodeDecodeError) as error:
        raise LedgerError(f"{log.file(day, CHECKPOINT)}: {error}; restore it from a copy") from error


def _signed(checkpoint: Checkpoint, key: WitnessKey) -> Sequence[str]:
    try:
        return list(find_cosignatures(checkpoint, [key]))
    except VerificationError:
        return []  # it is asked again, and its signature replaces nothing: verify says what is wrong


def _tree(log: LogFolder, last: date) -> Tree:
    days = [day for day in log.days() if day <= last]
    return Tree([leaf_hash(line.removesuffix(b"\n")) for day in days for line in log.lines(day)])
