"""The port that every signer implements."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Signer(ABC):
    """Signs bytes with one key. Instances are immutable and safe to use from several threads."""

    keyid: str
    """The OpenSSH fingerprint of the public key: ``SHA256:`` and 43 base64 characters. It is the DSSE keyid
    and the key hint of a bundle. Cosign accepts no other non-empty DSSE keyid."""
    public_pem: bytes
    """The public key as PEM SubjectPublicKeyInfo."""
    remote: bool = False
    """Whether :meth:`sign` calls a service or a device. Such a signer must not be called on the event
    loop."""
    deterministic: bool = True
    """Whether equal data always gives equal signatures. If not, the caller looks for a stored signature
    before it signs the same data again."""
    version: str = ""
    """The full name of the key version in its key service; empty for a key file."""

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """Return the signature over ``data`` in the form that cosign expects: DER for ECDSA, raw otherwise.

        Raises :class:`SignerUnavailable` when a later call may succeed, else :class:`SignerRejected`.
        """

    def is_current(self) -> bool:
        """Return whether the key reference still names this key. May call the key service."""
        return True

    def randomized(self) -> Signer:
        """Return a signer of the same key that signs differently on every call, or itself if none exists."""
        return self
