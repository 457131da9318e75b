"""The port of transparency logs, and the proof that an entry is in one.

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
from signers.formats.dsse import Envelope
from signers.keys.public_key import PublicKey
from signers.sigstore.trusted_root import Log, TrustedRoot, find_log

_NOTE_LINES = 3
_KEY_HASH = 4
_DIGITS = 19
"""As many as the largest 64 bit number has."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that goes into a log: over ``data``, which is the PAE of ``envelope`` if there is one."""

    data: bytes
    signature: bytes
    key: PublicKey
    certificate: bytes = b""
    """DER; empty for a plain key."""
    envelope: Envelope | None = None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A log's answer, verified: the ``TransparencyLogEntry`` that a bundle carries, as JSON."""

    content: Mapping[str, Any]
    index: int
    url: str
    """Where people and tools look the entry up: what ``chains.tekton.dev/transparency`` holds."""


class EntryExistsError(SignerUnavailable):
    """The log has this very signature and gives no proof of it: sign again, which makes another one."""


class TransparencyLog(ABC):
    """Takes signatures; calls block and may come from many threads."""

    url: str
    refuses_equal: bool
    """Whether equal signatures are refused without a proof, so that each one has to be another."""

    @abstractmethod
    def check_key(self, key: PublicKey) -> None:
        """Return if the log takes signatures of such a key. Raises :class:`SignerRejected` if not."""

    @abstractmethod
    def add(self, signed: Signed) -> LogEntry:
        """Make an entry and return it, verified.

        Raises :class:`SignerUnavailable` when trying again can help, :class:`EntryExistsError` when signing
        again can, and :class:`SignerRejected` for what the log will never take.
        """

    @abstractmethod
    def check(self, content: Mapping[str, Any], signed: Signed) -> LogEntry:
        """Return the entry that ``content`` is, verified. Raises :class:`VerificationError`."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's signed head."""

    origin: str
    size: int
    root_hash: bytes
    text: bytes
    """What is signed."""
    signatures: tuple[tuple[str, bytes, bytes], ...]
    """Name, key hash (4 bytes) and signature of each."""

    @classmethod
    def from_note(cls, note: str) -> Checkpoint:
        """Read a signed note. Raises :class:`VerificationError`."""
        text, separator, tail = note.partition("\n\n")
        lines = text.split("\n")
        try:
            if not separator or len(lines) < _NOTE_LINES:
                raise ValueError  # noqa: TRY301 - one way to say that it is none
            signatures = []
            for line in tail.splitlines():
                dash, name, encoded = line.split(" ")
                blob = b64decode(encoded, validate=True)
                if dash != "\N{EM DASH}" or len(blob) <= _KEY_HASH:
                    raise ValueError  # noqa: TRY301 - one way to say that it is none
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
        """Return if ``log`` signed this as its own head. Raises :class:`VerificationError`.

        Other signatures may stand beside, such as those of witnesses. The origin is the log's name, which
        Rekor v1 writes with the number of its tree.
        """
        expected = " or ".join(log.origins)
        origin = next((name for name in log.origins if _is_of(self.origin, name)), None)
        if origin is None:
            raise VerificationError(
                f"the checkpoint is of {self.origin[:64]!r}, not of {expected}", "signature_invalid"
            )
        hashes = log.key_hashes(origin)
        for name, key_hash, signature in self.signatures:
            if name == origin and key_hash in hashes:
                log.verify(signature, self.text)
                return
        names = ", ".join(name[:64] for name, _, _ in self.signatures) or "nobody"
        raise VerificationError(
            f"the checkpoint is signed by {names}, not by {origin} with the trusted root's key",
            "signature_invalid",
        )


def _is_of(origin: str, name: str) -> bool:
    """Whether an origin line is a log's name, or that name with the number of a tree."""
    return origin == name or origin.startswith(f"{name} - ")


def number(members: Mapping[str, Any], name: str) -> int:
    """Return a number of protobuf's JSON form, which leaves a zero out. Raises :class:`VerificationError`."""
    value = members.get(name) or "0"
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise VerificationError(f"the log entry's {name} is no number", "signature_invalid")
    return int(text)


def decoded(members: Mapping[str, Any], name: str) -> bytes:
    """Return a member's bytes, which are base64. Raises :class:`VerificationError`."""
    value = members.get(name)
    try:
        if isinstance(value, str) and value:
            return b64decode(value, validate=True)
    except ValueError:
        pass
    raise VerificationError(f"the log entry's {name} is missing or no base64", "signature_invalid")


def verify_inclusion(entry: Mapping[str, Any], root: TrustedRoot | None) -> bytes:
    """Return the entry's body, proved to be in the log of its checkpoint.

    With ``root`` the checkpoint has to be signed by a log in it, without one the proof is only held against
    the checkpoint's own hash. Raises :class:`VerificationError` for everything that does not fit together.
    """
    body = decoded(entry, "canonicalizedBody")
    try:
        proof = entry["inclusionProof"]
        index, size = number(proof, "logIndex"), number(proof, "treeSize")
        root_hash = decoded(proof, "rootHash")
        hashes = [b64decode(one, validate=True) for one in proof.get("hashes") or ()]
        checkpoint = Checkpoint.from_note(proof["checkpoint"]["envelope"])
        log_id = decoded(entry["logId"], "keyId")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError("the log's answer lacks a proof of inclusion", "signature_invalid") from error
    found = root_of_proof(index, size, hashlib.sha256(b"\0" + body).digest(), hashes)
    if found != root_hash or (checkpoint.size, checkpoint.root_hash) != (size, root_hash):
        raise VerificationError(
            f"the proof of entry {index} does not lead to the log's checkpoint", "signature_invalid"
        )
    if root is not None:
        checkpoint.verify(find_log(root.logs, log_id))
    return body


def root_of_proof(index: int, size: int, leaf: bytes, hashes: Sequence[bytes]) -> bytes:
    """Return the root hash that an inclusion proof leads to (RFC 9162, section 2.1.3.2).

    Raises :class:`VerificationError` for a proof of the wrong length.
    """
    node, last, found = index, size - 1, leaf
    if not 0 <= index < size:
        raise VerificationError(f"entry {index} is outside a log of {size}", "signature_invalid")
    for one in hashes:
        if last == 0:
            raise VerificationError("the proof of inclusion is too long", "signature_invalid")
        if node & 1 or node == last:
            found = hashlib.sha256(b"\1" + one + found).digest()
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + one).digest()
        node, last = node >> 1, last >> 1
    if last:
        raise VerificationError("the proof of inclusion is too short", "signature_invalid")
    return found


def same_bytes(encoded: object, expected: bytes) -> bool:
    """Whether ``encoded`` is ``expected`` in base64."""
    try:
        return isinstance(encoded, str) and b64decode(encoded, validate=True) == expected
    except ValueError:
        return False
