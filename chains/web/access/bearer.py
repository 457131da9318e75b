"""Bearer tokens of the API: those of the issuer, and static ones of which the access file has the SHA-256."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from chains.web.access.oidc.errors import LoginRefused
from chains.web.access.oidc.tokens import Tokens
from chains.web.access.settings import Access, StaticToken
from chains.web.viewer import Viewer

PREFIX = "chains_"
"""How static tokens begin, so that scanners for secrets find them."""
_BYTES = 32
_LONGEST = 200


def new_token() -> tuple[str, str]:
    """Return a fresh static token, and its SHA-256 in hex for the access file."""
    token = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_BYTES)).rstrip(b"=").decode()
    return token, hashlib.sha256(token.encode()).hexdigest()


class Bearers:
    """Finds out whose a bearer token is. ``tokens`` are those of the issuer, None without one.

    ``access`` returns the access file in force.
    """

    def __init__(
        self, access: Callable[[], Access], tokens: Tokens | None, now: Callable[[], datetime]
    ) -> None:
        self._access, self._tokens, self._now = access, tokens, now

    async def viewer(self, token: str) -> Viewer:
        """Return whose token it is.

        Raises :class:`LoginRefused` for one that does not count, and what the issuer's keys raise.
        """
        if token.startswith(PREFIX):
            return self._static(token)
        if self._tokens is None:
            raise LoginRefused("the token is none of the access file, and no issuer is configured")
        found = await self._tokens.of_bearer(token)
        return Viewer(found.user, self._access().namespaces_of(found.user, found.groups))

    def _static(self, token: str) -> Viewer:
        found = _find(self._access().tokens, token)
        if found is None:
            raise LoginRefused("the token is none of the access file")
        if found.expires <= self._now():
            raise LoginRefused(f"the token {found.name} has expired")
        return Viewer(f"token {found.name}", found.namespaces)


def _find(tokens: Sequence[StaticToken], token: str) -> StaticToken | None:
    digest = hashlib.sha256(token[:_LONGEST].encode(errors="surrogateescape")).digest()
    found = None
    for one in tokens:  # all of them, so that the time says nothing
        if hmac.compare_digest(one.sha256, digest):
            found = one
    return found
