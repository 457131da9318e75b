"""Signers: keys, signatures and what proves a signature.

Allowed here: keys and key services, DSSE envelopes, Sigstore bundles, transparency logs, timestamps and
trusted roots. Not allowed: runs, statements, subjects, stores. No module here imports ``chains`` or
``storage``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signers.base import Signer
    from signers.errors import FormatError, SignerError, SignerRejected, SignerUnavailable, VerificationError
    from signers.formats.bundle import Bundle
    from signers.formats.dsse import Envelope
    from signers.keys.public_key import PublicKey, load_public_keys
    from signers.open import open_signer
    from signers.sigstore.trusted_root import TrustedRoot

__all__ = [  # noqa: RUF022 - in the order of the work
    "Signer", "open_signer", "PublicKey", "load_public_keys",  # keys
    "Envelope", "Bundle", "TrustedRoot",  # formats
    "SignerError", "SignerUnavailable", "SignerRejected", "FormatError", "VerificationError",  # errors
]  # fmt: skip
_HOMES = {
    "signers.base": ("Signer",),
    "signers.open": ("open_signer",),
    "signers.keys.public_key": ("PublicKey", "load_public_keys"),
    "signers.formats.dsse": ("Envelope",),
    "signers.formats.bundle": ("Bundle",),
    "signers.sigstore.trusted_root": ("TrustedRoot",),
    "signers.errors": (
        "SignerError",
        "SignerUnavailable",
        "SignerRejected",
        "FormatError",
        "VerificationError",
    ),
}
"""The module of each public name, which is imported when the name is used for the first time."""

DISTRIBUTION = "provenance-chains"
"""The distribution that this package belongs to. Other distributions also install a package named
``signers``; a caller compares this value to detect that the wrong one is on the path."""


def __getattr__(name: str) -> Any:
    """Import a public name where it is used for the first time (PEP 562)."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
