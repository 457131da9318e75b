"""What all keys in services and devices share: a pinned version, retries, verified answers.

A reference is resolved to one version of the key when it is opened, and that version signs for the life of
the signer. Otherwise a rotation could put one key's signature under another key's id.
:meth:`KmsSigner.is_current` tells when the reference names another version; the owner of the signer then
opens it again.

Only digests leave the process, except for Ed25519, which signs the data itself. All digests are SHA-256,
because cosign accepts no other (see :mod:`signers.keys.public_key`).
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from signers.base import Signer
from signers.errors import SignerError, SignerRejected, SignerUnavailable, VerificationError
from signers.keys.public_key import PublicKey

PUBLIC_KEY_SECONDS = 300.0
"""Seconds for which :meth:`KmsSigner.is_current` does not ask the service again."""
_ATTEMPTS = 5
_FIRST_DELAY = 0.1
_SHOWN = 200
"""The most characters of a service's message in an error."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KmsSettings:
    """The login to Vault: the keys ``signers.kms.auth.*``. Empty values leave it to the environment.

    The first configured way is used: SPIRE, token file, token, JWT login, environment.
    """

    address: str = ""
    token: str = field(default="", repr=False)
    token_path: str = ""
    oidc_path: str = ""
    oidc_role: str = ""
    oidc_token_path: str = ""
    spire_sock: str = ""
    spire_audience: str = ""


@dataclass(frozen=True, slots=True)
class RemoteKey:
    """One version of a key. ``version`` is its full name in the service and contains no secret."""

    version: str
    public: PublicKey


class KeyService(ABC):
    """One key reference at one service or device. Used by several threads at the same time.

    Both methods try once. They raise :class:`SignerUnavailable` if another try may succeed, else
    :class:`SignerRejected`. The text names the key and the next step, and contains no secret.
    """

    @abstractmethod
    def find(self) -> RemoteKey:
        """Resolve the reference to the version that signs now, and get its public key."""

    @abstractmethod
    def sign(self, key: RemoteKey, data: bytes) -> bytes:
        """Return the signature of that version over ``data``: DER for ECDSA, raw otherwise."""


class KmsSigner(Signer):
    """Signs with one version of a key that never leaves its service.

    Every signature is verified with the public key before it is returned.
    """

    remote = True

    def __init__(self, service: KeyService) -> None:
        """Resolve the reference. Raises :class:`SignerUnavailable` or :class:`SignerRejected`."""
        self._service = service
        self._key = retry(service.find)
        self.version = self._key.version
        self.keyid = self._key.public.keyid
        self.public_pem = self._key.public.pem
        self.algorithm = self._key.public.algorithm
        # Services sign ECDSA with random nonces. RSA PKCS #1 v1.5 and Ed25519 are deterministic.
        self.deterministic = not self.algorithm.startswith("ecdsa")
        self._asked = threading.Lock()
        self._looked, self._current = time.monotonic(), True

    def sign(self, data: bytes) -> bytes:
        """Return the signature over ``data``; retries for some seconds while the service does not answer.

        Raises :class:`SignerUnavailable` or :class:`SignerRejected`, the latter also if the answer is not a
        signature by this key.
        """
        signature = retry(lambda: self._service.sign(self._key, data))
        try:
            # Verify before the signature is used: a wrong key or a damaged answer must not be stored.
            self._key.public.verify(signature, data)
        except VerificationError as exc:
            raise SignerRejected(
                f"{self.version}: the service's answer is not a signature by its key {self.keyid} over the "
                "data: check that no proxy changes answers, and open the key again"
            ) from exc
        return signature

    def is_current(self) -> bool:
        """Return whether the reference still names this version; asks once in :data:`PUBLIC_KEY_SECONDS`.

        Returns True while the service does not answer.
        """
        with self._asked:
            now = time.monotonic()
            if self._current and now - self._looked >= PUBLIC_KEY_SECONDS:
                self._looked = now
                try:
                    self._current = self._service.find() == self._key
                except SignerUnavailable:
                    pass
                except SignerError:
                    self._current = False  # opening the key again raises the error
            return self._current

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.version} {self.algorithm} {self.keyid}>"


def retry(call: Callable[[], T]) -> T:
    """Return the result of ``call``; it is called up to five times, with pauses, while it is unavailable."""
    for attempt in range(_ATTEMPTS - 1):
        try:
            return call()
        except SignerUnavailable:
            time.sleep(_FIRST_DELAY * 3**attempt * random.uniform(0.5, 1))  # noqa: S311 - jitter
    return call()


def parse_reference(pattern: re.Pattern[str], reference: str, expected: str) -> re.Match[str]:
    """Match a whole key reference. Raises :class:`SignerRejected`, whose text does not repeat it."""
    match = pattern.fullmatch(reference)
    if match is None:
        raise SignerRejected(f"a key reference has the wrong form: expected {expected}")
    return match


def read_public_key(encoded: bytes, source: str) -> PublicKey:
    """Return the public key in a service's answer, PEM or DER. Raises :class:`SignerRejected`."""
    try:
        load = load_pem_public_key if encoded.startswith(b"-----BEGIN") else load_der_public_key
        return PublicKey.from_key(load(encoded), source)
    except (ValueError, TypeError) as exc:
        raise SignerRejected(f"{source}: the service's answer is not a public key") from exc


def ed25519_key(raw: bytes, source: str) -> PublicKey:
    """Return the Ed25519 public key of 32 bytes. Raises :class:`SignerRejected`."""
    try:
        return PublicKey.from_key(ed25519.Ed25519PublicKey.from_public_bytes(raw), source)
    except ValueError as exc:
        raise SignerRejected(f"{source}: the service's answer is not an ed25519 public key") from exc


def curve_key(curve: ec.EllipticCurve, point: bytes, source: str) -> PublicKey:
    """Return the ECDSA public key of an encoded point. Raises :class:`SignerRejected`."""
    try:
        return PublicKey.from_key(ec.EllipticCurvePublicKey.from_encoded_point(curve, point), source)
    except ValueError as exc:
        raise SignerRejected(f"{source}: the service's answer is not a point on {curve.name}") from exc


def digest(data: bytes) -> bytes:
    """Return the SHA-256 digest that is signed in place of ``data``."""
    return hashlib.sha256(data).digest()


def der_signature(raw: bytes) -> bytes:
    """Return an ECDSA signature (two numbers of equal length) as DER. Raises :class:`SignerRejected`."""
    half, odd = divmod(len(raw), 2)
    if odd or not half:
        raise SignerRejected(f"the service's answer has {len(raw)} bytes, which is not an ecdsa signature")
    return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))


def refuse_algorithm(source: str, algorithm: str, use: str) -> SignerRejected:
    """Return the error for a key whose signatures cosign rejects, or that its service cannot make."""
    return SignerRejected(f"{source}: {algorithm} cannot sign what cosign verifies: use {use}")


def shown(text: object) -> str:
    """Return a service's message in a form fit for errors: printable, on one line, shortened."""
    words = "".join(char if char.isprintable() else " " for char in str(text)).strip()
    return words if len(words) <= _SHOWN else words[:_SHOWN] + "…"
