"""What all keys in key services and devices have in common: a pinned version, retries, and a check of each
answer.

A reference is resolved to one version of the key when it is opened, and that version signs for the life of
the signer: a rotation in between cannot put one key's signature under another key's id.
:meth:`KmsSigner.is_current` tells when the reference names another version, so that whoever opened the
signer can open it again.

Only digests leave the process, except for Ed25519, which signs the data itself. Everything is hashed with
SHA-256, since cosign accepts nothing else for a key (see :mod:`signers.keys.public_key`).
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
"""How long it is believed that a reference still names the version it named."""
_ATTEMPTS = 5
_FIRST_DELAY = 0.1
_SHOWN = 200
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KmsSettings:
    """How to log in to Vault: the keys ``signers.kms.auth.*``; empty values leave it to the environment.

    Of several ways in, the first of these is taken: SPIRE, token file, token, JWT login, environment.
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
    """One version of a key; ``version`` is its full name in its service and holds no secret."""

    version: str
    public: PublicKey


class KeyService(ABC):
    """One key reference at one service or device. Used from several threads at once.

    Both methods make one attempt and raise :class:`SignerUnavailable` when another can help, else
    :class:`SignerRejected`, with a text that names the key, holds no secret and tells the next step.
    """

    @abstractmethod
    def find(self) -> RemoteKey:
        """Resolve the reference to the version that signs now, and get its public key."""

    @abstractmethod
    def sign(self, key: RemoteKey, data: bytes) -> bytes:
        """Return that version's signature over ``data``: DER for ECDSA, raw otherwise."""


class KmsSigner(Signer):
    """Signs with one version of a key that never leaves its service.

    Every signature is verified with the public key before it is returned.
    """

    remote = True

    def __init__(self, service: KeyService) -> None:
        """Resolve the reference. Raises :class:`SignerError`."""
        self._service = service
        self._key = retry(service.find)
        self.version = self._key.version
        self.keyid = self._key.public.keyid
        self.public_pem = self._key.public.pem
        self.algorithm = self._key.public.algorithm
        self.deterministic = not self.algorithm.startswith("ecdsa")
        self._asked = threading.Lock()
        self._looked, self._current = time.monotonic(), True

    def sign(self, data: bytes) -> bytes:
        """Return the signature over ``data``; tries again for some seconds while the service does not answer.

        Raises :class:`SignerError`; also :class:`SignerRejected` when the answer is no signature of this key.
        """
        signature = retry(lambda: self._service.sign(self._key, data))
        try:
            self._key.public.verify(signature, data)
        except VerificationError as exc:
            raise SignerRejected(
                f"{self.version}: the service's answer is no signature of its key {self.keyid} over the "
                "data: "
                "check that nothing stands between, and open the key again"
            ) from exc
        return signature

    def is_current(self) -> bool:
        """Return whether the reference still names this version; asks once in :data:`PUBLIC_KEY_SECONDS`.

        While the service does not answer nothing is known to have changed.
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
                    self._current = False  # opening it again says what is wrong
            return self._current

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.version} {self.algorithm} {self.keyid}>"


def retry(call: Callable[[], T]) -> T:
    """Return what ``call`` returns; tries five times, with pauses, while it is unavailable."""
    for attempt in range(_ATTEMPTS - 1):
        try:
            return call()
        except SignerUnavailable:
            time.sleep(_FIRST_DELAY * 3**attempt * random.uniform(0.5, 1))  # noqa: S311 - jitter
    return call()


def parse_reference(pattern: re.Pattern[str], reference: str, expected: str) -> re.Match[str]:
    """Match a whole key reference. Raises :class:`SignerRejected`, which does not repeat it."""
    found = pattern.fullmatch(reference)
    if found is None:
        raise SignerRejected(f"a key reference has the wrong form: expected {expected}")
    return found


def read_public_key(encoded: bytes, source: str) -> PublicKey:
    """Return the public key of a service's answer, PEM or DER. Raises :class:`SignerRejected`."""
    try:
        load = load_pem_public_key if encoded.startswith(b"-----BEGIN") else load_der_public_key
        return PublicKey.from_key(load(encoded), source)
    except (ValueError, TypeError) as exc:
        raise SignerRejected(f"{source}: the service's answer is no public key") from exc


def ed25519_key(raw: bytes, source: str) -> PublicKey:
    """Return the Ed25519 public key of 32 bytes. Raises :class:`SignerRejected`."""
    try:
        return PublicKey.from_key(ed25519.Ed25519PublicKey.from_public_bytes(raw), source)
    except ValueError as exc:
        raise SignerRejected(f"{source}: the service's answer is no ed25519 public key") from exc


def curve_key(curve: ec.EllipticCurve, point: bytes, source: str) -> PublicKey:
    """Return the ECDSA public key of an encoded point. Raises :class:`SignerRejected`."""
    try:
        return PublicKey.from_key(ec.EllipticCurvePublicKey.from_encoded_point(curve, point), source)
    except ValueError as exc:
        raise SignerRejected(f"{source}: the service's answer is no point on {curve.name}") from exc


def digest(data: bytes) -> bytes:
    """Return the SHA-256 digest that is signed in place of ``data``."""
    return hashlib.sha256(data).digest()


def der_signature(raw: bytes) -> bytes:
    """Return an ECDSA signature of two numbers of equal length as DER. Raises :class:`SignerRejected`."""
    half, odd = divmod(len(raw), 2)
    if odd or not half:
        raise SignerRejected(f"the service's answer has {len(raw)} bytes, which is no ecdsa signature")
    return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))


def refuse_algorithm(source: str, algorithm: str, use: str) -> SignerRejected:
    """Return the error for a key whose signatures cosign would refuse, or that its service cannot make."""
    return SignerRejected(f"{source}: {algorithm} cannot sign what cosign verifies: use {use}")


def shown(text: object) -> str:
    """Return a service's own words for a message: printable, on one line, cut."""
    words = "".join(char if char.isprintable() else " " for char in str(text)).strip()
    return words if len(words) <= _SHOWN else words[:_SHOWN] + "…"
