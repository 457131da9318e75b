"""Public keys for verification, and the identifiers by which evidence names them.

Each kind of key has exactly one algorithm: SHA-256 for ECDSA and RSA, also for P-384, and pure Ed25519.
Cosign 3.1 accepts nothing else for a key given by ``--key``. It signs differently with some of these keys
(SHA-384 with P-384, prehashed Ed25519) and then rejects its own signatures, as this module does.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from signers.errors import SignerRejected, VerificationError
from signers.keys.pem import Block, read_pem, split_pem

MIN_RSA_BITS = 2048
"""Smaller RSA keys are refused as too weak."""
SUPPORTED = "ECDSA on P-256 or P-384, RSA with 2048 bits or more, or Ed25519"

_CURVES = {"secp256r1": "p256", "secp384r1": "p384"}
_ECDSA = ec.ECDSA(SHA256())
_PKCS1V15 = padding.PKCS1v15()

Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key for verification. Two are equal when their PEM is equal."""

    pem: bytes
    """PEM SubjectPublicKeyInfo, whatever form it was read from."""
    keyid: str
    """The OpenSSH fingerprint, ``SHA256:`` and 43 base64 characters, as ``ssh-keygen -lf`` prints it."""
    algorithm: str
    """``ecdsa-p256-sha256``, ``ecdsa-p384-sha256``, ``ed25519``, or ``rsa-BITS-sha256`` (PKCS #1 v1.5), such
    as ``rsa-3072-sha256``."""
    cosign_hint: str
    """The hint that cosign writes into bundles: base64 of SHA-256 over the DER SubjectPublicKeyInfo."""
    _key: Key = field(repr=False, compare=False)

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Read the single public key in ``pem`` (SubjectPublicKeyInfo or PKCS #1).

        Raises :class:`SignerRejected` for a private key, a certificate, several keys or an unsupported
        algorithm.
        """
        keys = load_public_keys(pem)
        if len(keys) != 1:
            raise SignerRejected(f"expected one public key, got {len(keys)}: give them one by one")
        return keys[0]

    @classmethod
    def from_key(cls, key: object, source: str = "the public key") -> PublicKey:
        """Wrap a public key object of the ``cryptography`` library; ``source`` names it in errors.

        Raises :class:`SignerRejected` for an unsupported algorithm, curve or size.
        """
        if not isinstance(key, Key):
            name = type(key).__name__.removesuffix("PublicKey").lower()
            raise SignerRejected(f"{source}: {name} keys are not supported: use {SUPPORTED}")
        algorithm = _algorithm(key, source)
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(
            pem=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            keyid=_ssh_fingerprint(key),
            algorithm=algorithm,
            cosign_hint=base64.b64encode(hashlib.sha256(der).digest()).decode(),
            _key=key,
        )

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return if this key made ``signature`` over ``data``, else raise :class:`VerificationError`.

        ECDSA signatures are DER, all others raw. Malformed signatures raise the same error.
        """
        try:
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                self._key.verify(signature, data, _ECDSA)
            elif isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(signature, data, _PKCS1V15, SHA256())
            else:
                self._key.verify(signature, data)
        except (InvalidSignature, ValueError) as exc:
            raise VerificationError(
                f"the signature was not made over this data by key {self.keyid} ({self.algorithm})",
                "signature_invalid",
            ) from exc


def load_public_keys(path_or_pem: str | Path | bytes) -> tuple[PublicKey, ...]:
    """Return the public keys of a file or of PEM bytes, in order, without duplicates, at least one.

    Raises :class:`SignerRejected` if any block is not a usable public key. Skipping a block silently would
    reject good evidence later, and accepting a private key would spread it.
    """
    if isinstance(path_or_pem, bytes):
        source, data = "the public key", path_or_pem
    else:
        if "-----BEGIN" in str(path_or_pem):
            raise SignerRejected(
                "expected a path, got the text of a key: write it to a file and give its path"
            )
        path = Path(str(path_or_pem).removeprefix("file://"))
        source = f"public key file {path}"
        data = read_pem(path, "public key file", secret=False)
    # dict.fromkeys() removes duplicates and keeps the order.
    keys = [_read_block(block, source) for block in split_pem(data, source)]
    return tuple(dict.fromkeys(keys))


def find_key(keys: Sequence[PublicKey], hint: str) -> PublicKey | None:
    """Return the key whose keyid or cosign hint is ``hint``, or None. A hint is not authenticated."""
    return next((key for key in keys if hint in (key.keyid, key.cosign_hint)), None)


def _read_block(block: Block, source: str) -> PublicKey:
    if block.is_private:
        raise SignerRejected(
            f"{source} holds a private key: give the public one ('openssl pkey -in KEY -pubout', or "
            "cosign.pub) and keep the private key away from verifiers"
        )
    if block.label not in {"PUBLIC KEY", "RSA PUBLIC KEY"}:
        raise SignerRejected(
            f"{source} holds a {block.label} block: expected PUBLIC KEY "
            "(for a certificate: 'openssl x509 -pubkey -noout')"
        )
    try:
        key = load_pem_public_key(block.data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise SignerRejected(f"{source} cannot be read as a public key: use {SUPPORTED}") from exc
    return PublicKey.from_key(key, source)


def _algorithm(key: Key, source: str) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve = _CURVES.get(key.curve.name)
        if curve is None:
            raise SignerRejected(f"{source}: ECDSA on {key.curve.name} is not supported: use {SUPPORTED}")
        return f"ecdsa-{curve}-sha256"
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise SignerRejected(f"{source}: RSA with {key.key_size} bits is too weak: use {SUPPORTED}")
        return f"rsa-{key.key_size}-sha256"
    return "ed25519"


def _ssh_fingerprint(key: Key) -> str:
    # The fingerprint is over the key in SSH wire format (RFC 4253, section 6.6), as ssh-keygen computes it.
    wire = base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split(b" ")[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")
