"""Decrypts the private keys that ``cosign generate-key-pair`` and ``import-key-pair`` write.

The file is PEM around JSON. scrypt derives a key from the password, and NaCl's secretbox (XSalsa20-Poly1305)
encrypts a PKCS #8 key with it. Source: sigstore/sigstore ``pkg/cryptoutils`` and go-securesystemslib
``encrypted``.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from signers.errors import FormatError, SignerRejected
from signers.keys.pem import MAX_PEM_BYTES
from signers.shapes import COSIGN_KEY
from signers.strict_json import check_shape, decode_base64, member, parse_object

# cosign uses 64 MiB (N 65536, r 8); the limit keeps a hostile file from exhausting the memory
_MAX_SCRYPT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class _Sealed:
    n: int
    r: int
    p: int
    salt: bytes
    nonce: bytes
    ciphertext: bytes


def decrypt_cosign_key(block: bytes, password: bytes, source: str) -> bytes:
    """Return the PKCS #8 DER of the PEM ``block``. Takes about 0.1 s and 64 MiB.

    Raises :class:`SignerRejected`, naming ``source``, for a wrong password or a damaged file.
    """
    try:
        sealed = _read(block, source)
    except FormatError as exc:
        raise SignerRejected(f"{exc}: the key file is damaged, copy it again") from exc
    try:
        kdf = Scrypt(salt=sealed.salt, length=SecretBox.KEY_SIZE, n=sealed.n, r=sealed.r, p=sealed.p)
        return SecretBox(kdf.derive(password)).decrypt(sealed.ciphertext, sealed.nonce)
    except CryptoError as exc:
        raise SignerRejected(
            f"{source} cannot be decrypted with this password: check it, or COSIGN_PASSWORD"
        ) from exc
    except (ValueError, MemoryError) as exc:
        raise SignerRejected(f"{source}: its scrypt parameters cannot be used: {exc}") from exc


def _read(block: bytes, source: str) -> _Sealed:
    lines = block.split(b"\n")
    try:
        # split_pem() made the block: its first line is BEGIN, its last two are END and an empty line.
        text = binascii.a2b_base64(b"".join(line.strip() for line in lines[1:-2]), strict_mode=True)
    except ValueError as exc:
        raise FormatError(f"{source}: its content is not base64") from exc
    envelope = parse_object(text, source, MAX_PEM_BYTES)
    check_shape(envelope, COSIGN_KEY, source)
    kdf = member(envelope, "kdf", dict, source)
    cipher = member(envelope, "cipher", dict, source)
    # cosign writes these two algorithms only; a file with others is not a cosign key.
    for name, part, known in (("kdf", kdf, "scrypt"), ("cipher", cipher, "nacl/secretbox")):
        if member(part, "name", str, source) != known:
            raise FormatError(f"{source}: {name} must be {known}, got {str(part['name'])[:32]!r}")
    params = member(kdf, "params", dict, source)
    n, r, p = (member(params, name, int, source) for name in ("N", "r", "p"))
    # 128·N·r·p bounds the memory and the work of scrypt (RFC 7914, section 2).
    if min(n, r, p) < 1 or 128 * n * r * p > _MAX_SCRYPT_BYTES:
        raise FormatError(f"{source}: scrypt with N {n}, r {r}, p {p} is out of range")
    nonce = decode_base64(member(cipher, "nonce", str, source), f"{source}: nonce")
    if len(nonce) != SecretBox.NONCE_SIZE:
        raise FormatError(f"{source}: nonce must have {SecretBox.NONCE_SIZE} bytes, got {len(nonce)}")
    return _Sealed(
        n=n,
        r=r,
        p=p,
        salt=decode_base64(member(kdf, "salt", str, source), f"{source}: salt"),
        nonce=nonce,
        ciphertext=decode_base64(member(envelope, "ciphertext", str, source), f"{source}: ciphertext"),
    )
