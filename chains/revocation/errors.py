"""The exception of this room."""

from __future__ import annotations

from chains.errors import ChainsError


class RevocationError(ChainsError):
    """A revocation list cannot be used: it cannot be read, has a wrong signer, or is older than one seen."""
