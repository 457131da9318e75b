"""Key services for tests. Each has its own keys and can be made to fail.

AWS is moto's server. Vault is a small HTTP server with the real paths of the transit engine and the JWT
login; Vault's module cannot be built, because one of its dependencies is no longer on the module proxy.
Google is a gRPC server with the messages of the client library, Azure an HTTPS server. Both have real keys
and use the real wire protocol.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAKERS: dict[str, Callable[[], Any]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa-2048": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "rsa-3072": lambda: rsa.generate_private_key(public_exponent=65537, key_size=3072),
    "rsa-4096": lambda: rsa.generate_private_key(public_exponent=65537, key_size=4096),
}

OUTAGE, THROTTLE, DENY = "outage", "throttle", "deny"


@dataclass
class Keys:
    """The keys of a service by name, each a list of versions, the oldest first."""

    versions: dict[str, list[Any]] = field(default_factory=dict)
    algorithms: dict[str, str] = field(default_factory=dict)

    def make(self, algorithm: str) -> str:
        name = f"key-{len(self.versions) + 1}"
        self.versions[name], self.algorithms[name] = [MAKERS[algorithm]()], algorithm
        return name

    def rotate(self, name: str) -> None:
        self.versions[name].append(MAKERS[self.algorithms[name]]())


@dataclass
class Faults:
    """The fault of the next requests; ``forever`` lasts until it is cleared. ``seen`` counts requests."""

    waiting: list[str] = field(default_factory=list)
    forever: str = ""
    lying: bool = False
    seen: int = 0

    def next(self) -> str:
        self.seen += 1
        return self.waiting.pop(0) if self.waiting else self.forever

    def clear(self) -> None:
        self.waiting.clear()
        self.forever, self.lying = "", False


class KeyServer(ABC):
    """A service that tests control."""

    algorithms: tuple[str, ...]

    def __init__(self) -> None:
        self.keys, self.faults = Keys(), Faults()

    @abstractmethod
    def reference(self, algorithm: str) -> str:
        """Create a key and return a reference without version."""

    @abstractmethod
    def rotate(self, reference: str) -> None:
        """Make a new version, which the reference then names."""


def sign_digest(key: Any, digest: bytes) -> bytes:
    """Sign a SHA-256 digest as a service does: ECDSA in DER with a random nonce, RSA with PKCS #1 v1.5."""
    prehashed = utils.Prehashed(SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(digest, ec.ECDSA(prehashed))
    return key.sign(digest, padding.PKCS1v15(), prehashed)


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
