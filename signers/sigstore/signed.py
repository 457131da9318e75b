"""A signature with everything a transparency log needs to record it."""

from __future__ import annotations

from dataclasses import dataclass

from signers.formats.dsse import Envelope
from signers.keys.public_key import PublicKey


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature for a log, over ``data``. If there is an ``envelope``, ``data`` is its PAE."""

    data: bytes
    signature: bytes
    key: PublicKey
    certificate: bytes = b""
    """The signer's certificate, DER; empty for a plain key."""
    envelope: Envelope | None = None
