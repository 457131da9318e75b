"""The port of transparency logs, and the verification of inclusion proofs.

Sources: RFC 9162 section 2.1.3 (inclusion proofs), C2SP ``tlog-checkpoint`` and ``signed-note``
(checkpoints), sigstore/protobuf-specs ``sigstore_rekor.proto`` (entries).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signers.errors import SignerUnavailable, VerificationError
from signers.keys.public_key import PublicKey
from signers.sigstore.signed import Signed
from signers.sigstore.trusted_root import Log, TrustedRoot, find_log

_NOTE_LINES = 3
"""A checkpoint has at least three lines: origin, tree size and root hash."""
_KEY_HASH = 4
"""Bytes of the key hash before each signature of a note."""
_DIGITS = 19
"""The number of decimal digits of the largest 64 bit number."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A log's verified answer. ``content`` is the ``TransparencyLogEntry`` for a bundle, as JSON."""

    content: Mapping[str, Any]
    index: int
    url: str
    """Where people and tools look the entry up; the value of ``chains.tekton.dev/transparency``."""


class EntryExistsError(SignerUnavailable):
    """The log has this signature already and returns no proof of it. The caller signs again."""


class TransparencyLog(ABC):
    """A transparency log. Its methods block and may be called from several threads."""

    url: str
    refuses_equal: bool
    """Whether the log refuses a signature that it has and returns no proof of it, so that every attempt needs
    a new signature."""

    @abstractmethod
    def check_key(self, key: PublicKey) -> None:
        """Return if the log accepts signatures of this key. Raises :class:`SignerRejected`."""

    @abstractmethod
    def add(self, signed: Signed) -> LogEntry:
        """Add an entry and return it, verified.

        Raises :class:`SignerUnavailable` when a later call may succeed, :class:`EntryExistsError` when a new
        signature may, and :class:`SignerRejected` for what the log never accepts.
        """

    @abstractmethod
    def check(self, content: Mapping[str, Any], signed: Signed) -> LogEntry:
        """Verify that ``content`` is an entry for ``signed`` and return it.

        Raises :class:`VerificationError`.
        """


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The signed tree head of a log."""

    origin: str
    size: int
    root_hash: bytes
    text: bytes
    """The signed part of the note."""
    signatures: tuple[tuple[str, bytes, bytes], ...]
    """Name, key hash (4 bytes) and signature of each signature line."""

    @classmethod
    def from_note(cls, note: str) -> Checkpoint:
        """Read a signed note. Raises :class:`VerificationError`."""
        # A signed note is the text, an empty line, and one line per signature: em dash, name, base64.
        text, separator, tail = note.partition("\n\n")
        lines = text.split("\n")
        try:
            if not separator or len(lines) < _NOTE_LINES:
                raise ValueError  # noqa: TRY301 - one handler for all causes
            signatures = []
            for line in tail.splitlines():
                dash, name, encoded = line.split(" ")
                blob = b64decode(encoded, validate=True)
                if dash != "\N{EM DASH}" or len(blob) <= _KEY_HASH:
                    raise ValueError  # noqa: TRY301 - one handler for all causes
                signatures.append((name, blob[:_KEY_HASH], blob[_KEY_HASH:]))
            return cls(
                lines[0],
                int(lines[1]),
                b64decode(lines[2], validate=True),
                f"{text}\n".encode(),
                tuple(signatures),
            )
        except (ValueError, Base64Error) as error:
            raise VerificationError(
                "the log's checkpoint is not a signed note", "signature_invalid"
            ) from error

    def verify(self, log: Log) -> None:
        """Return if ``log`` signed this checkpoint as its own. Raises :class:`VerificationError`.

        Other signatures, such as those of witnesses, are ignored. The origin must be a name of the log; Rekor
        v1 appends the number of its tree to it.
        """
        expected = " or ".join(log.origins)
        origin = next((name for name in log.origins if _is_of(self.origin, name)), None)
        if origin is None:
            raise VerificationError(
                f"the checkpoint is of {self.origin[:64]!r}, not of {expected}", "signature_invalid"
            )
        hashes = log.key_hashes(origin)
        for name, key_hash, signature in self.signatures:
            # The first line that claims this key must verify: a log has one signature, and the others are
            # ignored.
            if name == origin and key_hash in hashes:
                log.verify(signature, self.text)
                return
        names = ", ".join(name[:64] for name, _, _ in self.signatures) or "nobody"
        raise VerificationError(
            f"the checkpoint is signed by {names}, not by {origin} with the trusted root's key",
            "signature_invalid",
        )


def _is_of(origin: str, name: str) -> bool:
    """Whether an origin line is the name of a log, or that name with the number of a tree."""
    return origin == name or origin.startswith(f"{name} - ")


def number(members: Mapping[str, Any], name: str) -> int:
    """Return a number of protobuf's JSON form, where an absent member is 0.

    Raises :class:`VerificationError`.
    """
    value = members.get(name) or "0"
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise VerificationError(f"the log entry's {name} is not a number", "signature_invalid")
    return int(text)


def decoded(members: Mapping[str, Any], name: str) -> bytes:
    """Return the bytes of a base64 member. Raises :class:`VerificationError` if it is missing or empty."""
    value = members.get(name)
    try:
        if isinstance(value, str) and value:
            return b64decode(value, validate=True)
    except ValueError:
        pass
    raise VerificationError(f"the log entry's {name} is missing or not base64", "signature_invalid")


def verify_inclusion(entry: Mapping[str, Any], root: TrustedRoot | None) -> bytes:
    """Verify the inclusion proof of an entry and return the entry's body.

    With ``root`` a log in it must have signed the checkpoint. Without ``root`` the proof is compared with the
    checkpoint's hash only. Raises :class:`VerificationError` if any part does not fit.
    """
    body = decoded(entry, "canonicalizedBody")
    try:
        proof = entry["inclusionProof"]
        index, size = number(proof, "logIndex"), number(proof, "treeSize")
        root_hash = decoded(proof, "rootHash")
        hashes = [b64decode(digest, validate=True) for digest in proof.get("hashes") or ()]
        checkpoint = Checkpoint.from_note(proof["checkpoint"]["envelope"])
        log_id = decoded(entry["logId"], "keyId")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError("the log entry has no valid inclusion proof", "signature_invalid") from error
    # 0x00 marks leaf hashes and 0x01 inner nodes (RFC 9162, section 2.1.1).
    computed = root_of_proof(index, size, hashlib.sha256(b"\0" + body).digest(), hashes)
    if computed != root_hash or (checkpoint.size, checkpoint.root_hash) != (size, root_hash):
        raise VerificationError(
            f"the inclusion proof of entry {index} does not match the log's checkpoint", "signature_invalid"
        )
    if root is not None:
        checkpoint.verify(find_log(root.logs, log_id))
    return body


def root_of_proof(index: int, size: int, leaf: bytes, hashes: Sequence[bytes]) -> bytes:
    """Return the root hash that an inclusion proof gives (RFC 9162, section 2.1.3.2).

    Raises :class:`VerificationError` for a proof of the wrong length.
    """
    node, last, computed = index, size - 1, leaf
    if not 0 <= index < size:
        raise VerificationError(f"entry {index} is outside a log of {size}", "signature_invalid")
    for sibling in hashes:
        if last == 0:
            raise VerificationError("the inclusion proof is too long", "signature_invalid")
        # A right child, or the last node of its level, has its sibling on the left.
        if node & 1 or node == last:
            computed = hashlib.sha256(b"\1" + sibling + computed).digest()
            # The last node of an incomplete level is carried up until it is a right child.
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = hashlib.sha256(b"\1" + computed + sibling).digest()
        node, last = node >> 1, last >> 1
    if last:
        raise VerificationError("the inclusion proof is too short", "signature_invalid")
    return computed


def same_bytes(encoded: object, expected: bytes) -> bool:
    """Whether ``encoded`` is the base64 of ``expected``."""
    try:
        return isinstance(encoded, str) and b64decode(encoded, validate=True) == expected
    except ValueError:
        return False
