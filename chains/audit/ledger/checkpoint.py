"""Checkpoints: the signed head of a log, as C2SP ``tlog-checkpoint`` and ``signed-note`` describe it.

The key id of an Ed25519 key is that of C2SP (signature type 0x01); that of any other key is the beginning of
the SHA-256 of its SubjectPublicKeyInfo, as Rekor's checkpoints have it.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from signers.base import Signer
from signers.errors import VerificationError
from signers.keys.public_key import PublicKey
from signers.sigstore.transparency import Checkpoint

LARGEST = 1024 * 1024
"""Bytes of the largest checkpoint that is read."""
_ID = 4


def sign_checkpoint(origin: str, size: int, root: bytes, signer: Signer) -> bytes:
    """Return the note that says: the log ``origin`` has ``size`` entries and this root hash.

    Raises what the signer raises.
    """
    text = f"{origin}\n{size}\n{b64encode(root).decode()}\n".encode()
    key = PublicKey.from_pem(signer.public_pem)
    blob = b64encode(_key_id(key, origin) + signer.sign(text)).decode()
    return text + f"\n\N{EM DASH} {origin} {blob}\n".encode()


def verify_checkpoint(note: bytes, keys: Sequence[PublicKey]) -> Checkpoint:
    """Return the checkpoint of a note that one of ``keys`` signed. Raises :class:`VerificationError`."""
    try:
        checkpoint = Checkpoint.from_note(note[:LARGEST].decode())
    except UnicodeDecodeError as error:
        raise VerificationError("the checkpoint is not a signed note", "signature_invalid") from error
    for name, key_id, signature in checkpoint.signatures:
        for key in keys:
            if name == checkpoint.origin and key_id == _key_id(key, name):
                key.verify(signature, checkpoint.text)
                return checkpoint
    raise VerificationError(
        f"the checkpoint of {checkpoint.origin[:64]!r} is signed by none of the {len(keys)} given keys",
        "key_unknown",
    )


def _key_id(key: PublicKey, name: str) -> bytes:
    found = load_pem_public_key(key.pem)
    if isinstance(found, Ed25519PublicKey):
        raw = found.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()[:_ID]
    return hashlib.sha256(found.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()[:_ID]
