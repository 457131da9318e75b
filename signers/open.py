"""The table of key reference schemes, and the function that opens a signer by its reference."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from signers.base import Signer
from signers.errors import SignerRejected

if TYPE_CHECKING:
    from signers.kms.service import KmsSettings


# Scheme of a key reference -> "module:function"; the function is called with (reference, password)
SIGNERS = {
    "file": "signers.keys.keyfile:open_keyfile",
}
# The same, with the extra that brings its packages; the function is called with (reference, settings)
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
    """Return the scheme of a key reference; ``file`` for a path."""
    if reference.startswith("pkcs11:"):
        return "pkcs11"  # RFC 7512: a PKCS #11 URI has no slashes after its scheme
    scheme, colon, _ = reference.partition("://")
    return scheme if colon else "file"


def shown_reference(reference: str) -> str:
    """Return a key reference fit for messages: a path unchanged, of other references the scheme alone.

    References to key services can hold tokens.
    """
    scheme = scheme_of(reference)
    if scheme == "file":
        return reference if "-----BEGIN" not in reference else "(a key's text)"
    return f"{scheme}:…" if scheme in KEY_SERVICES else "(not shown)"


def open_signer(reference: str, password: bytes | None = None, settings: KmsSettings | None = None) -> Signer:
    """Open the signer that ``reference`` names.

    A reference is a path, ``SCHEME://…`` such as ``file://PATH``, or ``pkcs11:…``. ``password`` decrypts an
    encrypted key file; ``settings`` are for the login to Vault. Raises :class:`SignerRejected` for an unknown
    scheme or a key that cannot be used, and :class:`SignerUnavailable` if a key service does not answer.
    Errors repeat only the scheme, the path or the name of the key, because references to key services can
    contain tokens.
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
    """Return what an opener gave. Raises :class:`TypeError` for anything that is not a signer."""
    if not isinstance(signer, Signer):
        raise TypeError(f"{entry} did not return a signer")
    return signer
