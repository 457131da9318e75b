"""Finds forks: two copies of a log, or a log and a checkpoint of it, that cannot be of one history."""

from __future__ import annotations

from collections.abc import Sequence

from chains.audit.ledger.checkpoint import verify_checkpoint
from chains.audit.ledger.merkle import Tree
from chains.audit.ledger.state import Finding
from chains.audit.ledger.walk import LogWalk
from signers.errors import VerificationError
from signers.keys.public_key import PublicKey


def compare(ours: LogWalk, other: LogWalk) -> list[Finding]:
    """Return what tells two copies of one log apart. One may have fewer entries, but no other ones."""
    shorter = min(len(ours.leaves), len(other.leaves))
    if ours.leaves[:shorter] != other.leaves[:shorter]:
        pairs = zip(ours.leaves, other.leaves, strict=False)
        index = next(index for index, (one, two) in enumerate(pairs) if one != two)
        day = next((day.day for day in ours.days if day.size > index), None)
        message = f"fork: entry {index} is not that of the other copy in {other.log.path}"
        return [Finding("fork", ours.origin, day, message)]
    if not (ours.is_whole and other.is_whole):
        message = f"only the first {shorter} entries could be compared with the copy in {other.log.path}"
        return [Finding("fork", ours.origin, None, message)]
    findings = []
    theirs = {day.day: day for day in other.days if day.is_closed}
    for each in ours.days:
        same = theirs.get(each.day)
        if each.is_closed and same is not None and (each.size, each.root) != (same.size, same.root):
            message = f"fork: it was closed with {each.size} entries, in the other copy with {same.size}"
            findings.append(Finding("fork", ours.origin, each.day, message))
    return findings


def compare_checkpoint(walk: LogWalk, note: bytes, keys: Sequence[PublicKey]) -> list[Finding]:
    """Return why a checkpoint is not of the history of a log: it was signed for another one.

    Raises :class:`VerificationError` for a checkpoint that no key signed, or of another log.
    """
    checkpoint = verify_checkpoint(note, keys)
    if checkpoint.origin != walk.origin:
        raise VerificationError(
            f"the checkpoint is of {checkpoint.origin[:80]!r}, the log is {walk.origin}", "signature_invalid"
        )
    if checkpoint.size > len(walk.leaves):
        message = (
            f"the checkpoint has {checkpoint.size} entries, the log {len(walk.leaves)}: its end was cut off"
        )
        return [Finding("truncated", walk.origin, None, message)]
    if Tree(walk.leaves).root(checkpoint.size) != checkpoint.root_hash:
        message = f"fork: the first {checkpoint.size} entries are not those of the checkpoint"
        return [Finding("fork", walk.origin, None, message)]
    return []
