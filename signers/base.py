"""The port every signer implements, its errors, and the table of signers.

:class:`SignerError`
 ├─ :class:`SignerUnavailable`  a key service is down or throttles: trying again can help
 └─ :class:`SignerRejected`     bad key, wrong password, no permission, unknown scheme: it cannot
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module


class SignerError(Exception):
    """Base of everything a signer raises. The text is for the user and never holds key material."""


class SignerUnavailable(SignerError):  # noqa: N818 - "unavailable" and "rejected" are the two words of every port here
    """The key could not be reached; the same call may succeed later."""


class SignerRejected(SignerError):  # noqa: N818
    """The key or its reference is wrong; the same call will not succeed later."""


class Signer(ABC):
    """Signs bytes with one key. Instances are immutable and may be used from several threads."""

    keyid: str
    """The key's OpenSSH fingerprint, ``SHA256:`` and 43 base64 characters: the only non-empty DSSE keyid
    that cosign accepts, and the bundle's key hint too."""
    public_pem: bytes
    """The public key as PEM SubjectPublicKeyInfo."""

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """Return the signature over ``data`` in the form cosign expects: DER for ECDSA, raw otherwise.

        Raises :class:`SignerError`.
        """


# scheme of a key reference -> (module, function); the function is called with (reference, password)
SIGNERS = {
    "file": "signers.keyfile:open_keyfile",
}


def open_signer(reference: str, password: bytes | None = None) -> Signer:
    """Open the signer that ``reference`` names: a path, or ``file:PATH``.

    ``password`` decrypts an encrypted key file. Raises :class:`SignerRejected` for an unknown scheme, and
    what the signer raises for a key it cannot use.
    """
    scheme, colon, _ = reference.partition("://")
    if not colon:
        scheme = "file"
    entry = SIGNERS.get(scheme)
    if entry is None:
        raise SignerRejected(f"unknown key reference {reference!r}: expected a path or one of {sorted(SIGNERS)}")
    module, name = entry.split(":")
    signer = getattr(import_module(module), name)(reference, password)
    if not isinstance(signer, Signer):
        raise TypeError(f"{entry} did not give a signer")
    return signer
