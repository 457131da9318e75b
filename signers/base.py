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
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from signers.kms.service import KmsSettings


class SignerError(Exception):
    """Base of everything this room raises. The text is for the user and never holds key material."""


class SignerUnavailable(SignerError):  # noqa: N818 - "unavailable" and "rejected" are the two words of every port here
    """The key could not be reached; the same call may succeed later."""


class SignerRejected(SignerError):  # noqa: N818
    """The key or its reference is wrong; the same call will not succeed later."""


class FormatError(SignerError):
    """The bytes are not what they should be; they never will be."""


Problem = Literal[
    "key_unknown",
    "signature_invalid",
    "certificate_unknown",
    "certificate_invalid",
    "sct_missing",
    "sct_invalid",
    "timestamp_outside_cert",
    "expired",
]


class VerificationError(SignerError):
    """No given key made the signature, or what stands beside it does not hold.

    ``reason`` is ``"key_unknown"`` when the evidence names a key that was not given, so that asking for the
    right one can help. Of certificates, ``"certificate_unknown"`` is one that no trusted authority issued,
    ``"certificate_invalid"`` is about what it says, ``"sct_missing"`` and ``"sct_invalid"`` about its
    certificate timestamp, ``"timestamp_outside_cert"`` and ``"expired"`` about its own and its authority's
    time. All else is ``"signature_invalid"``.
    """

    def __init__(self, message: str, reason: Problem) -> None:
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


# scheme of a key reference -> "module:function"; the function is called with (reference, password)
SIGNERS = {
    "file": "signers.keys.keyfile:open_keyfile",
}
# the same, with the extra that brings its packages; the function is called with (reference, settings)
KEY_SERVICES = {
    "awskms": ("signers.kms.aws:open_aws", "aws"),
    "azurekms": ("signers.kms.azure:open_azure", "azure"),
    "gcpkms": ("signers.kms.gcp:open_gcp", "gcp"),
    "hashivault": ("signers.kms.vault:open_vault", "vault"),
    "openbao": ("signers.kms.vault:open_vault", "vault"),
    "pkcs11": ("signers.kms.pkcs11:open_pkcs11", "hsm"),
}


_WITH_SLASHES = (*SIGNERS, *(scheme for scheme in KEY_SERVICES if scheme != "pkcs11"))


def scheme_of(reference: str) -> str:
    """Return the scheme of a key reference, ``file`` for a path."""
    if reference.startswith("pkcs11:"):
        return "pkcs11"  # RFC 7512 has no slashes
    scheme, colon, _ = reference.partition("://")
    return scheme if colon else "file"


def shown_reference(reference: str) -> str:
    """Return a reference for a message: a path as it is, of anything else the scheme."""
    scheme = scheme_of(reference)
    if scheme == "file":
        return reference if "-----BEGIN" not in reference else "(a key's text)"
    return f"{scheme}:…" if scheme in KEY_SERVICES else "(not shown)"


def open_signer(reference: str, password: bytes | None = None, settings: KmsSettings | None = None) -> Signer:
    """Open the signer that ``reference`` names: a path, ``SCHEME://…`` such as ``file://PATH``, or
    ``pkcs11:…``.

    ``password`` decrypts an encrypted key file, ``settings`` log in to Vault. Raises
    :class:`SignerRejected` for an unknown scheme, and what the signer raises for a key it cannot use. No
    text repeats more of the reference than its scheme, its path or the name of a key: references to key
    services can hold tokens.
    """
    scheme = scheme_of(reference)
    if scheme in KEY_SERVICES:
        return _open_service(scheme, reference, settings)
    entry = SIGNERS.get(scheme)
    if entry is None:
        shown = repr(scheme) if scheme.isalnum() and len(scheme) <= 32 else "(not shown)"  # noqa: PLR2004
        raise SignerRejected(
            f"unknown scheme {shown} in a key reference: expected a path or one of "
            f"{', '.join(sorted(['pkcs11:', *(f'{known}://' for known in _WITH_SLASHES)]))}"
        )
    module, name = entry.split(":")
    return _checked(getattr(import_module(module), name)(reference, password), entry)


def _open_service(scheme: str, reference: str, settings: KmsSettings | None) -> Signer:
    entry, extra = KEY_SERVICES[scheme]
    module, name = entry.split(":")
    try:
        opener = getattr(import_module(module), name)
    except ModuleNotFoundError as exc:
        raise SignerRejected(
            f"{scheme} keys need the package {exc.name}: install provenance-chains with its extra {extra}"
        ) from exc
    return _checked(opener(reference, settings), entry)


def _checked(signer: object, entry: str) -> Signer:
    if not isinstance(signer, Signer):
        raise TypeError(f"{entry} did not give a signer")
    return signer
