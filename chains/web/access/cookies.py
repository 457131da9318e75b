"""What the server keeps in the browser of a person: encrypted, bound to its use, with an end.

AES-256-GCM with a random nonce for each cookie. What a cookie is for is part of what is authenticated, so
none counts in the place of another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chains.documents.load import read_bytes
from chains.errors import InputError
from chains.web.access.settings import SHORTEST_SECRET

_NONCE: Final = 12
_LARGEST: Final = 4096
"""Bytes of a cookie; browsers take no longer ones (RFC 6265, 6.1)."""
_LARGEST_KEY_FILE: Final = 4096
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]+")


class Sealed:
    """Seals small pieces of data for the way through a browser. ``now`` returns Unix time."""

    def __init__(self, secret: bytes, now: Callable[[], float]) -> None:
        self._cipher = AESGCM(hashlib.sha256(b"chains web cookies\0" + secret).digest())
        self._now = now

    def seal(self, use: str, content: Mapping[str, Any], seconds: float) -> str:
        """Return the text of a cookie for a use, which counts for so long."""
        data = json.dumps({**content, "until": self._now() + seconds}, separators=(",", ":")).encode()
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, data, use.encode())
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, use: str, text: str) -> dict[str, Any] | None:
        """Return what was sealed for a use, None if it is not ours, is for another use, or has ended."""
        if len(text) > _LARGEST or not _TEXT.fullmatch(text):
            return None
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            data = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], use.encode())
        except (InvalidTag, ValueError, binascii.Error):
            return None
        found: dict[str, Any] = json.loads(data)
        return found if found["until"] > self._now() else None


def secret_of(path: Path | None) -> bytes:
    """Return the session key of a file, or a fresh one.

    Raises :class:`InputError` for a file that cannot be read or has a key that is too short.
    """
    if path is None:
        return secrets.token_bytes(SHORTEST_SECRET)
    found = read_bytes(path, _LARGEST_KEY_FILE).strip()
    if len(found) < SHORTEST_SECRET:
        raise InputError(
            f"{path}: the session key has {len(found)} bytes: expected at least {SHORTEST_SECRET}, such as "
            "those of `openssl rand -hex 32`"
        )
    return found


def set_cookie(response: web.StreamResponse, name: str, value: str, seconds: float) -> None:
    """Give the browser a cookie that goes back over TLS, to this host and to no script."""
    response.set_cookie(
        name, value, max_age=int(seconds), path="/", secure=True, httponly=True, samesite="Lax"
    )


def end_cookie(response: web.StreamResponse, name: str) -> None:
    """Take a cookie away."""
    # a browser takes a change of a __Host- cookie only with the same attributes
    response.set_cookie(name, "", max_age=0, path="/", secure=True, httponly=True, samesite="Lax")
