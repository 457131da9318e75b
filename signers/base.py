"""The port every signer implements, the room's errors, and the table of signers.

:class:`SignerError`
 ├─ :class:`SignerUnavailable`  a key service is down or throttles: trying again can help
 ├─ :class:`SignerRejected`     bad key, wrong password, no permission, unknown scheme: it cannot
 ├─ :class:`FormatError`        bytes that are no envelope, no bundle, or more than one reading of either
 └─ :class:`VerificationError`  well-formed, but no given key made it; ``reason`` says which way
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Literal


class SignerError(Exception):
    """Base of everything this room raises. The text is for the user and never holds key material."""


class SignerUnavailable(SignerError):  # noqa: N818 - "unavailable" and "rejected" are the two words of every port here
    """The key could not be reached; the same call may succeed later."""


class SignerRejected(SignerError):  # noqa: N818
    """The key or its reference is wrong; the same call will not succeed later."""


class FormatError(SignerError):
    """The bytes are not what they should be; they never will be."""


class VerificationError(SignerError):
    """No given key made the signature.

    ``reason`` is ``"key_unknown"`` when the evidence names a key that was not given, so that asking for the
    right key can help, and ``"signature_invalid"`` otherwise.
    """

    def __init__(self, message: str, reason: Literal["key_unknown", "signature_invalid"]) -> None:
        super().__init__(message)
        self.reason = reason


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

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """Return the signature over ``data`` in the form cosign expects: DER for ECDSA, raw otherwise.

        Raises :class:`SignerError`.
        """


# scheme of a key reference -> "module:function"; the function is called with (reference, password)
SIGNERS = {
    "file": "signers.keyfile:open_keyfile",
}


def open_signer(reference: str, password: bytes | None = None) -> Signer:
    """Open the signer that ``reference`` names: a path, or ``SCHEME://…`` such as ``file://PATH``.

    ``password`` decrypts an encrypted key file. Raises :class:`SignerRejected` for an unknown scheme, and
    what the signer raises for a key it cannot use. No text repeats more of the reference than its scheme or
    its path: references to key services can hold tokens.
    """
    scheme, colon, _ = reference.partition("://")
    if not colon:
        scheme = "file"
    entry = SIGNERS.get(scheme)
    if entry is None:
        shown = repr(scheme) if scheme.isalnum() and len(scheme) <= 32 else "(not shown)"  # noqa: PLR2004
        raise SignerRejected(
            f"unknown scheme {shown} in a key reference: expected a path or one of "
            f"{', '.join(f'{known}://' for known in sorted(SIGNERS))}"
        )
    module, name = entry.split(":")
    signer = getattr(import_module(module), name)(reference, password)
    if not isinstance(signer, Signer):
        raise TypeError(f"{entry} did not give a signer")
    return signer
