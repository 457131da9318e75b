"""Proofs: a file that shows offline that a log has the entries of a run, and that it grew from an older head.

::

    {"mediaType": "application/vnd.provenance-chains.ledger-proof.v1+json", "run": "UID",
     "checkpoint": "HOST/PATH\\n7\\n…", "entries": [{"index": 4, "entry": "{…}", "hashes": ["base64", …]}],
     "consistency": {"checkpoint": "HOST/PATH\\n3\\n…", "hashes": ["base64", …]}}

``checkpoint`` is the signed head of a closed day. ``consistency`` is optional: the older checkpoint, and the
hashes that show that nothing of it was changed.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from chains.audit.ledger.checkpoint import verify_checkpoint
from chains.audit.ledger.entries import RunEntry
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.lines import parse_entry
from chains.audit.ledger.merkle import Tree, is_consistent, is_included, leaf_hash
from signers.errors import FormatError, VerificationError
from signers.keys.public_key import PublicKey
from signers.sigstore.transparency import Checkpoint
from signers.strict_json import decode_base64, member, objects, parse_object

MEDIA_TYPE = "application/vnd.provenance-chains.ledger-proof.v1+json"
LARGEST = 8 * 1024 * 1024
"""Bytes of the largest proof that is read."""
_FIELDS = frozenset({"mediaType", "run", "checkpoint", "entries", "consistency"})
_MOST_HASHES = 64


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof shows: the head, and the run's entries with their indexes."""

    checkpoint: Checkpoint
    run: str
    entries: tuple[tuple[int, RunEntry], ...]
    since: Checkpoint | None
    """The older head from which the log grew, None if the proof is about the run alone."""


def make_proof(log: LogFolder, uid: str, older: bytes = b"") -> bytes | None:
    """Return the proof of a run's entries in a log, None if no closed day of it has any.

    ``older`` is a checkpoint of the log that the reader has from before. Nothing is verified here, that is
    for the reader. Raises :class:`LedgerError` if the log cannot be read, or ``older`` is not of its history.
    """
    leaves: list[bytes] = []
    found: list[tuple[int, bytes]] = []
    name = orjson.dumps(uid)
    closed = [day for day in log.days() if log.is_closed(day)]
    for line in (line for day in closed for line in log.lines(day)):
        content = line.removesuffix(b"\n")
        if name in content:
            entry = parse_entry(content)
            if isinstance(entry, RunEntry) and entry.run.uid == uid:
                found.append((len(leaves), content))
        leaves.append(leaf_hash(content))
    if not found:
        return None
    note, tree = log.note(closed[-1]).decode(errors="replace"), Tree(leaves)
    written: dict[str, object] = {
        "mediaType": MEDIA_TYPE,
        "run": uid,
        "checkpoint": note,
        "entries": [
            {"index": index, "entry": content.decode(), "hashes": _encoded(tree.inclusion(index))}
            for index, content in found
        ],
    }
    if older:
        written["consistency"] = _consistency(log, tree, older)
    return orjson.dumps(written, option=orjson.OPT_INDENT_2) + b"\n"


def verify_proof(data: bytes, keys: Sequence[PublicKey]) -> Proven:
    """Return what a proof shows if one of the keys signed its checkpoints.

    Raises :class:`FormatError` for what is no proof, :class:`VerificationError` if it does not hold.
    """
    what = "ledger proof"
    members = parse_object(data, what, LARGEST)
    if unknown := sorted(members.keys() - _FIELDS):
        raise FormatError(f"{what}: unknown field {unknown[0][:40]!r}")
    media_type = member(members, "mediaType", str, what)
    if media_type != MEDIA_TYPE:
        raise FormatError(f"{what}: mediaType is {media_type[:96]!r}: expected {MEDIA_TYPE}")
    checkpoint = verify_checkpoint(member(members, "checkpoint", str, what).encode(), keys)
    uid = member(members, "run", str, what)
    listed = objects(member(members, "entries", list, what), f"{what}: entry")
    if not listed:
        raise FormatError(f"{what}: it has no entries")
    entries = tuple(_verified_entry(item, uid, checkpoint) for item in listed)
    since = None
    if "consistency" in members:
        since = _verified_consistency(member(members, "consistency", dict, what), checkpoint, keys)
    return Proven(checkpoint, uid, entries, since)


def _verified_entry(item: Mapping[str, object], uid: str, checkpoint: Checkpoint) -> tuple[int, RunEntry]:
    what = "ledger proof: entry"
    index, line = member(item, "index", int, what), member(item, "entry", str, what).encode()
    try:
        entry = parse_entry(line)
    except LedgerError as error:
        raise FormatError(f"{what}: {error}") from error
    if not isinstance(entry, RunEntry) or entry.run.uid != uid:
        raise FormatError(f"{what} {index}: it is not about the run {uid[:80]!r}")
    hashes = _decoded(item, what)
    if not is_included(index, checkpoint.size, leaf_hash(line), hashes, checkpoint.root_hash):
        raise VerificationError(
            f"entry {index} is not in the log {checkpoint.origin} of {checkpoint.size} entries",
            "signature_invalid",
        )
    return index, entry


def _verified_consistency(
    members: Mapping[str, object], checkpoint: Checkpoint, keys: Sequence[PublicKey]
) -> Checkpoint:
    what = "ledger proof: consistency"
    older = verify_checkpoint(member(members, "checkpoint", str, what).encode(), keys)
    heads = (older.size, checkpoint.size, older.root_hash, checkpoint.root_hash)
    if older.origin != checkpoint.origin or not is_consistent(*heads, _decoded(members, what)):
        raise VerificationError(
            f"the log of {checkpoint.size} entries did not grow from that of {older.size}: another history",
            "signature_invalid",
        )
    return older


def _consistency(log: LogFolder, tree: Tree, older: bytes) -> dict[str, object]:
    try:
        checkpoint = Checkpoint.from_note(older.decode())
    except (VerificationError, UnicodeDecodeError) as error:
        raise LedgerError(
            f"the older checkpoint is not a signed note: {error}; name a .checkpoint file of the ledger"
        ) from error
    origin = log.origin()
    if checkpoint.origin != origin or checkpoint.size > tree.size:
        raise LedgerError(
            f"the older checkpoint is of {checkpoint.origin[:80]!r} with {checkpoint.size} entries, "
            f"the closed days of {origin} have {tree.size}: name one of this log"
        )
    if tree.root(checkpoint.size) != checkpoint.root_hash:
        raise LedgerError(
            f"fork: the first {checkpoint.size} entries are not those of the older checkpoint: "
            "keep both, and compare this ledger with another copy (chains ledger verify --against)"
        )
    return {"checkpoint": older.decode(), "hashes": _encoded(tree.consistency(checkpoint.size))}


def _encoded(hashes: Sequence[bytes]) -> list[str]:
    return [b64encode(each).decode() for each in hashes]


def _decoded(members: Mapping[str, object], what: str) -> list[bytes]:
    found = member(members, "hashes", list, what)
    if len(found) > _MOST_HASHES:
        raise FormatError(f"{what}: {len(found)} hashes, at most {_MOST_HASHES} are read")
    if not all(isinstance(each, str) for each in found):
        raise FormatError(f"{what}: a hash is not text")
    return [decode_base64(each, f"{what}: hash") for each in found]
