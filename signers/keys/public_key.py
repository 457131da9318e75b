"""Public keys: what a verifier is given, and the names under which evidence speaks of them.

One key has one algorithm. ECDSA and RSA hash with SHA-256, P-384 too, and Ed25519 is the pure one: cosign 3.1
accepts nothing else for a key given by ``--key``. (It signs otherwise: with SHA-384 on P-384, and not with
pure Ed25519. It then refuses its own signatures, and so does this module.)
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
SUPPORTED = "ECDSA on P-256 or P-384, RSA with 2048 bits or more, or Ed25519"

_CURVES = {"secp256r1": "p256", "secp384r1": "p384"}
_ECDSA = ec.ECDSA(SHA256())
_PKCS1V15 = padding.PKCS1v15()

Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies; two of them are equal when their PEM is."""

    pem: bytes
    """PEM SubjectPublicKeyInfo, whatever the form it was read from."""
    keyid: str
    """OpenSSH fingerprint, ``SHA256:`` and 43 base64 characters (what ``ssh-keygen -lf`` prints)."""
    algorithm: str
    """``ecdsa-p256-sha256``, ``ecdsa-p384-sha256``, ``rsa-3072-sha256`` (PKCS #1 v1.5, with the key's own
    bits) or ``ed25519``."""
    cosign_hint: str
    """The hint that cosign writes into bundles: base64 of SHA-256 over the DER SubjectPublicKeyInfo."""
    _key: Key = field(repr=False, compare=False)

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Read the one public key in ``pem`` (SubjectPublicKeyInfo or PKCS #1).

        Raises :class:`SignerRejected` for anything else: a private key, a certificate, several keys, an
        algorithm that is not supported.
        """
        keys = load_public_keys(pem)
        if len(keys) != 1:
            raise SignerRejected(f"expected one public key, got {len(keys)}: give them one by one")
        return keys[0]

    @classmethod
    def from_key(cls, key: object, source: str = "the public key") -> PublicKey:
        """Wrap a public key of the ``cryptography`` library; ``source`` names it in errors.

        Raises :class:`SignerRejected` for an algorithm, curve or size that is not supported.
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

        ECDSA signatures are DER, the others raw. Bytes that are no signature at all raise the same error.
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
    """Return the public keys of a file, or of PEM bytes, in order and each once; at least one.

    Raises :class:`SignerRejected` when any block is not a public key that can be used: a verifier that
    quietly left a key out would refuse good evidence, and one that took a private key would spread it.
    """
    if isinstance(path_or_pem, bytes):
        source, data = "the public key", path_or_pem
    else:
        if "-----BEGIN" in str(path_or_pem):
            raise SignerRejected("a key's text was given where a path belongs: give the file's name")
        path = Path(str(path_or_pem).removeprefix("file://"))
        source = f"public key file {path}"
        data = read_pem(path, "public key file", secret=False)
    keys = [_read_block(block, source) for block in split_pem(data, source)]
    return tuple(dict.fromkeys(keys))


def find_key(keys: Sequence[PublicKey], hint: str) -> PublicKey | None:
    """Return the key that ``hint`` names, as fingerprint or as cosign's hint. A hint proves nothing."""
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
    wire = base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split(b" ")[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")
