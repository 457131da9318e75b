"""Identifiers and texts as OSCAL demands them: UUIDs, tokens, lines without blanks at the ends, markup."""

from __future__ import annotations

import base64
import re
from uuid import UUID, uuid5

from chains.text import plain

NAMESPACE = "https://provenance.chains/ns/oscal"
"""The namespace of our properties."""
_SPACE = UUID("0f4d0c1e-6c0b-5f6e-9d52-3d0a5e3f8b11")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#!|~$^&\"'])")


class Identifiers:
    """UUIDv5 of one report: the same place in the same report has the same identifier."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def of(self, *place: str) -> str:
        """Return the identifier of what is named."""
        return str(uuid5(_SPACE, "\0".join((self._digest, *place))))


def line(text: str) -> str:
    """Return a text as the value of a property: one line, no blank at its ends, not empty."""
    return " ".join(plain(text.replace("\n", " ")).split()) or "none"


def markup(text: str) -> str:
    """Return a text as OSCAL's markup (CommonMark) that shows just that text."""
    return _MARKUP.sub(r"\\\1", plain(text.replace("\n", " "))).strip() or "none"


def name_of(digest: str) -> str:
    """Return ``sha256:HEX`` as a URI of RFC 6920, and an empty text for anything else."""
    algorithm, _, value = digest.partition(":")
    if algorithm == "sha256" and re.fullmatch("[0-9a-f]{64}", value):
        encoded = base64.urlsafe_b64encode(bytes.fromhex(value)).decode().rstrip("=")
        return f"ni:///sha-256;{encoded}"
    return ""
