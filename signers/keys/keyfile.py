"""Opens signers from private key files, and writes new key files.

This is what Tekton Chains calls the ``x509`` signer: the key is in a file, most often a mounted secret. It is
read once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from signers.base import Signer
from signers.errors import SignerRejected
from signers.keys.pem import Block, read_pem, split_pem
from signers.keys.public_key import SUPPORTED, PublicKey

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

GENERATORS: dict[str, Callable[[], PrivateKey]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa-3072": lambda: rsa.generate_private_key(public_exponent=65537, key_size=3072),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
"""The algorithms that :func:`generate_key` supports."""

_log = logging.getLogger("signers.keyfile")

_COSIGN = "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"
PASSWORD_VARIABLE = "COSIGN_PASSWORD"  # noqa: S105 - the variable's name


class KeyFileSigner(Signer):
    """Signs with a private key held in memory. Equal data gives equal signatures.

    ECDSA derives its nonce from the data (RFC 6979); Ed25519 and RSA PKCS #1 v1.5 use none. OpenSSL before
    3.2 cannot do RFC 6979. Such a key is refused when it is opened, and there is no fallback to random
    nonces, because every store here relies on equal bytes for equal runs. The wheels of ``cryptography``
    contain a new enough OpenSSL.
    """

    def __init__(self, key: PrivateKey, source: str, *, deterministic: bool = True) -> None:
        public = PublicKey.from_key(key.public_key(), source)
        self.keyid = public.keyid
        self.public_pem = public.pem
        self.algorithm = public.algorithm
        self._key, self._source = key, source
        self.deterministic = deterministic
        self._sign = _sign_function(key) if deterministic else _random_function(key)

    def sign(self, data: bytes) -> bytes:
        """Return the signature over ``data``:

        DER for ECDSA, raw otherwise; with SHA-256 except for Ed25519.
        """
        return self._sign(data)

    def randomized(self) -> KeyFileSigner:
        """Return a signer of the same key with random nonces if it is an ECDSA key, else itself."""
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self
        return KeyFileSigner(self._key, self._source, deterministic=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.algorithm} {self.keyid}>"


def open_keyfile(reference: str, password: bytes | None = None) -> Signer:
    """Open the private key in the file that ``reference`` names: a path, or ``file://PATH``.

    Accepts PEM: PKCS #8 (plain or encrypted), SEC 1, PKCS #1 and cosign's encrypted keys. Other blocks in the
    file, such as certificates, are ignored; a second private key is an error. An encrypted key is decrypted
    with ``password`` or, if that is None, with the environment variable ``COSIGN_PASSWORD``; an empty
    password is valid.

    Raises :class:`SignerRejected` for an unusable file, password or kind of key, and
    :class:`SignerUnavailable` when the file system fails. Logs a warning for a file that every user of the
    machine can read.
    """
    if "-----BEGIN" in reference:
        raise SignerRejected("expected a path, got the text of a key: write it to a file and give its path")
    path = Path(reference.removeprefix("file://"))
    source = f"key file {path}"
    data = read_pem(path, "key file", secret=True)
    # The password is looked up only for an encrypted key: an unrelated COSIGN_PASSWORD must not matter.
    block = _private_block(split_pem(data, source), source)
    if password is None and _is_encrypted(block):
        password = os.environb.get(PASSWORD_VARIABLE.encode())
        if password is None:
            raise SignerRejected(f"{source} is encrypted: give its password, or set {PASSWORD_VARIABLE}")
    # Not an error: a deployment may pass one password setting for keys of both kinds.
    elif password and not _is_encrypted(block):
        _log.warning("%s is not encrypted: the password that was given has no effect", source)
    key = _load(block, password, source)
    if not isinstance(key, PrivateKey):
        name = type(key).__name__.removesuffix("PrivateKey").lower()
        raise SignerRejected(f"{source}: {name} keys are not supported: use {SUPPORTED}")
    return KeyFileSigner(key, source)


def is_encrypted_keyfile(reference: str) -> bool:
    """Whether the key file needs a password. Raises as :func:`open_keyfile` for a file without a key."""
    path = Path(reference.removeprefix("file://"))
    source = f"key file {path}"
    return _is_encrypted(_private_block(split_pem(read_pem(path, "key file", secret=False), source), source))


def generate_key(algorithm: str = "ecdsa-p256") -> bytes:
    """Return a new private key as unencrypted PEM PKCS #8; ``algorithm`` is one of :data:`GENERATORS`.

    Raises :class:`SignerRejected` for another algorithm.
    """
    generate = GENERATORS.get(algorithm)
    if generate is None:
        raise SignerRejected(f"unknown key algorithm {algorithm!r}: expected one of {', '.join(GENERATORS)}")
    return generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_key_pair(private_path: Path, pem: bytes) -> Path:
    """Write ``pem`` to ``private_path`` (mode 0600) and its public key next to it; return the latter's path.

    The public file has the suffix ``.pub`` and mode 0644. Existing files are never overwritten, and after an
    error neither file is left behind. Raises :class:`SignerRejected`.
    """
    key = _load(_private_block(split_pem(pem, "the key"), "the key"), None, "the key")
    if not isinstance(key, PrivateKey):
        raise SignerRejected(f"the key is of no supported kind: use {SUPPORTED}")
    public = PublicKey.from_key(key.public_key())
    if not private_path.name:
        raise SignerRejected(f"{private_path} is a directory: name the file to write")
    public_path = private_path.with_suffix(".pub")
    if public_path == private_path:
        raise SignerRejected(
            f"{private_path} ends in .pub, which is the name of the public key: choose another suffix"
        )
    # The public key goes first: if the private key cannot be written, only a public file must be removed.
    _write_new(public_path, public.pem, 0o644)
    try:
        _write_new(private_path, pem, 0o600)
    except SignerRejected:
        public_path.unlink()
        raise
    return public_path


def _sign_function(key: PrivateKey) -> Callable[[bytes], bytes]:
    """Return the function that signs deterministically. Raises :class:`SignerRejected` if OpenSSL cannot."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        try:
            scheme = ec.ECDSA(SHA256(), deterministic_signing=True)
        except UnsupportedAlgorithm as exc:
            raise SignerRejected(
                "this OpenSSL cannot sign by RFC 6979: install cryptography from its wheel, or OpenSSL 3.2"
            ) from exc
        return lambda data: key.sign(data, scheme)
    if isinstance(key, rsa.RSAPrivateKey):
        pkcs1v15, sha256 = padding.PKCS1v15(), SHA256()
        return lambda data: key.sign(data, pkcs1v15, sha256)
    return key.sign


def _random_function(key: PrivateKey) -> Callable[[bytes], bytes]:
    """Return the function that signs with random nonces; only ECDSA has them."""
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return _sign_function(key)
    scheme = ec.ECDSA(SHA256())
    return lambda data: key.sign(data, scheme)


def _private_block(blocks: list[Block], source: str) -> Block:
    """Return the one private key among PEM blocks. Raises :class:`SignerRejected`."""
    private = [block for block in blocks if block.is_private]
    if len(private) == 1:
        return private[0]
    if private:
        raise SignerRejected(f"{source} holds {len(private)} private keys: keep one")
    if any(block.label.endswith("PUBLIC KEY") for block in blocks):
        raise SignerRejected(f"{source} holds a public key: signing needs the private one")
    raise SignerRejected(
        f"{source} holds no private key, but {', '.join(block.label for block in blocks[:5])}"
    )


def _is_encrypted(block: Block) -> bool:
    return block.label.startswith("ENCRYPTED ") or b"\nProc-Type: 4,ENCRYPTED" in block.data


def _load(block: Block, password: bytes | None, source: str) -> object:
    encrypted = _is_encrypted(block)
    if block.label == "OPENSSH PRIVATE KEY":
        raise SignerRejected(
            f"{source} is an OpenSSH key: convert a copy with 'ssh-keygen -p -m PKCS8 -f COPY'"
        )
    try:
        # The current and the older label of cosign; both have the same content.
        if block.label in _COSIGN:
            from signers.keys.cosign_key import decrypt_cosign_key  # noqa: PLC0415 - PyNaCl is loaded for these only

            return load_der_private_key(decrypt_cosign_key(block.data, password or b"", source), None)
        return load_pem_private_key(block.data, password if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        # The library's message is not repeated, because it can quote parts of the key.
        if encrypted:
            raise SignerRejected(
                f"{source} cannot be decrypted with this password: check it, or {PASSWORD_VARIABLE}"
            ) from exc
        raise SignerRejected(f"{source} cannot be read as a private key: use {SUPPORTED}") from exc


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        # O_EXCL: never follow or overwrite anything that exists, also not a symbolic link.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise SignerRejected(f"{path} exists and is not overwritten: choose another name") from exc
    except OSError as exc:
        raise SignerRejected(f"{path} cannot be written: {exc.strerror}") from exc
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)  # the mode given to open() is reduced by the umask, this one is not
            file.write(data)
            file.flush()
            os.fsync(handle)
    except OSError as exc:
        path.unlink()
        raise SignerRejected(f"{path} cannot be written: {exc.strerror}") from exc
