"""The port every signer implements."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Signer(ABC):
    """Signs bytes with one key. Instances are immutable and may be used from several threads."""

    keyid: str
    """The key's OpenSSH fingerprint, ``SHA256:`` and 43 base64 characters: the only non-empty DSSE keyid
    that cosign accepts, and the bundle's key hint too."""
    public_pem: bytes
    """The public key as PEM SubjectPublicKeyInfo."""
    remote: bool = False
    """Whether :meth:`sign` asks a service or a device: it is then called off the event loop."""
    deterministic: bool = True
    """Whether the same data always gives the same signature. Where it does not, what is stored already is
    looked for before anything is signed again."""
    version: str = ""
    """The full name of the key's version in its service; empty for a key in a file."""

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """Return the signature over ``data`` in the form cosign expects: DER for ECDSA, raw otherwise.

        Raises :class:`SignerError`.
        """

    def is_current(self) -> bool:
        """Return whether the reference it was opened by still names this key; may ask a service."""
        return True

    def randomized(self) -> Signer:
        """Return a signer of the same key whose signatures differ each time, else itself if there is none."""
        return self
