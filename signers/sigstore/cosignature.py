"""Verifier keys of witnesses, and their cosignatures: C2SP ``signed-note`` and ``tlog-cosignature``.

A verifier key is one line: name, key id and key, such as ``witness.example/w1+a1b2c3d4+BAAA…``.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from signers.errors import FormatError, VerificationError
from signers.keys.public_key import PublicKey
from signers.sigstore.transparency import Checkpoint

_LOG, _ED25519, _ML_DSA_44 = 0x01, 0x04, 0x06
_SIZES = {_ED25519: 32, _ML_DSA_44: 1312}
_ID, _TIME = 4, 8
_LARGEST_TIME = 2**63 - 1
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The key of a witness: Ed25519 or ML-DSA-44."""

    name: str
    key_id: bytes
    algorithm: int
    _key: Any = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Read a verifier key. Raises :class:`FormatError`."""
        what = "the key of a witness"
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            data, identity = b64decode(encoded, validate=True), bytes.fromhex(key_id)
        except ValueError as error:
            raise FormatError(f"{what}: expected NAME+ID+KEY, got {text[:80]!r}") from error
        if not _is_name(name) or len(identity) != _ID or not data:
            raise FormatError(f"{what}: expected NAME+ID+KEY, got {text[:80]!r}")
        algorithm, raw = data[0], data[1:]
        if algorithm not in _SIZES:
            hint = ", which is the key of a log" if algorithm == _LOG else ""
            raise FormatError(f"{what} {name}: signature type {algorithm:#04x}{hint}: expected 0x04 or 0x06")
        if len(raw) != _SIZES[algorithm] or _id_of(name, data) != identity:
            raise FormatError(f"{what} {name}: its id is not that of its key: copy the whole line again")
        return cls(name, identity, algorithm, _public(algorithm, raw, f"{what} {name}"))

    def verify(self, signature: bytes, checkpoint: Checkpoint) -> datetime:
        """Return when the witness signed a checkpoint, by its own clock.

        Raises :class:`VerificationError`.
        """
        seconds = int.from_bytes(signature[:_TIME])
        if not 0 < seconds <= _LARGEST_TIME:
            raise VerificationError(f"the cosignature of {self.name} has no time", "signature_invalid")
        try:
            if self.algorithm == _ED25519:
                message = b"cosignature/v1\ntime %d\n" % seconds + checkpoint.text
            else:
                message = _cosigned_message(self.name, seconds, checkpoint)
            self._key.verify(signature[_TIME:], message)
            return datetime.fromtimestamp(seconds, UTC)
        except (InvalidSignature, OverflowError, ValueError, OSError) as error:
            raise VerificationError(
                f"the cosignature of {self.name} does not verify", "signature_invalid"
            ) from error


def find_cosignatures(
    checkpoint: Checkpoint, keys: Sequence[WitnessKey], now: datetime | None = None
) -> dict[str, datetime]:
    """Return when each of the witnesses signed a checkpoint, by name. Signatures of others are ignored.

    Raises :class:`VerificationError` for one that claims a key and does not verify, or is from after ``now``.
    """
    found: dict[str, datetime] = {}
    for name, key_id, signature in checkpoint.signatures:
        for key in keys:
            if (name, key_id) == (key.name, key.key_id):
                moment = key.verify(signature, checkpoint)
                if now is not None and moment > now:
                    raise VerificationError(
                        f"the cosignature of {name} is of {moment.isoformat()}, which has not come yet",
                        "signature_invalid",
                    )
                found[name] = moment
    return found


def log_key(origin: str, key: PublicKey) -> str:
    """Return the verifier key of a log, which its witnesses need.

    Raises :class:`FormatError` for a key that is not Ed25519: the format has no other one for logs.
    """
    found = load_pem_public_key(key.pem)
    if not isinstance(found, Ed25519PublicKey):
        raise FormatError(
            f"{key.algorithm}: witnesses know Ed25519 keys of logs alone; sign the ledger with such a key"
        )
    data = bytes([_LOG]) + found.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"{origin}+{_id_of(origin, data).hex()}+{b64encode(data).decode()}"


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and not any(map(str.isspace, name))


def _id_of(name: str, data: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + data).digest()[:_ID]


def _public(algorithm: int, raw: bytes, what: str) -> Any:
    if algorithm == _ED25519:
        return Ed25519PublicKey.from_public_bytes(raw)
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey  # noqa: PLC0415 - not in every version

        return MLDSA44PublicKey.from_public_bytes(raw)
    except ImportError as error:
        raise FormatError(
            f"{what}: this version of cryptography has no ML-DSA-44: install 48 or newer"
        ) from error


def _cosigned_message(name: str, seconds: int, checkpoint: Checkpoint) -> bytes:
    """Return what an ML-DSA-44 cosignature signs: the struct ``cosigned_message`` of the specification."""
    origin = checkpoint.origin.encode()
    return (
        b"subtree/v1\n\0"
        + bytes([len(name.encode())]) + name.encode()
        + seconds.to_bytes(_TIME)
        + bytes([len(origin)]) + origin
        + (0).to_bytes(_TIME) + checkpoint.size.to_bytes(_TIME)
        + checkpoint.root_hash
    )  # fmt: skip
