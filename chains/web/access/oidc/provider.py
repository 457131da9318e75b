"""What is asked of the issuer: its documents, its keys, and tokens for a code."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from chains.documents.load import read_bytes
from chains.web.access.oidc.errors import IssuerUnavailable, LoginRefused
from chains.web.access.settings import Oidc
from storage.base import StoreOptions
from storage.http_client.connections import tls_context

T = TypeVar("T")
_SECONDS: Final = 10.0
_LARGEST: Final = 256 * 1024
_KEPT_SECONDS: Final = 600.0
"""For how long the issuer's documents and keys count: a key that it withdraws is refused after that."""
_REST_SECONDS: Final = 10.0
"""Between two questions for keys, whatever tokens name: strangers must not make us ask without end."""
_FAILED_SECONDS: Final = 5.0
"""For how long an issuer that failed is not asked again: all who waited for it would wait as long again."""
_WAITING: Final = 64
"""Tokens that wait for keys at once. More are refused: an issuer that hangs must not make us keep all."""
_DISCOVERY: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the issuer says about itself."""

    authorization: str
    token: str
    keys: str
    takes_basic: bool
    """Whether it takes the client's secret in the header ``Authorization``."""
    says_issuer: bool
    """Whether its answers to the browser name it (RFC 9207)."""


class Provider:
    """The issuer. Use from one event loop, and close it. ``clock`` returns seconds of the machine."""

    def __init__(self, oidc: Oidc, clock: Callable[[], float] = time.monotonic) -> None:
        self.oidc = oidc
        self._clock = clock
        self._client: aiohttp.ClientSession | None = None
        self._lock = asyncio.Lock()
        self._endpoints: tuple[float, Endpoints] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._asked = -_REST_SECONDS
        self._failed: tuple[float, str] | None = None
        self._waiting = 0

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def endpoints(self) -> Endpoints:
        """Return what the issuer says about itself. Raises :class:`IssuerUnavailable`."""
        async with self._lock:
            kept = self._kept_endpoints()
            return kept if kept is not None else await self._remembered(self._known_endpoints)

    async def keys(self, kid: str | None) -> KeySet:
        """Return the issuer's keys, asked for again if they have none with this id.

        Raises :class:`IssuerUnavailable`.
        """
        if (kept := self._kept_keys(kid)) is not None:
            return kept  # a token with a known key waits for no other that has none
        if self._waiting >= _WAITING:
            raise IssuerUnavailable(f"{self.oidc.issuer}: too many tokens wait for its keys")
        self._waiting += 1
        try:
            async with self._lock:
                kept = self._kept_keys(kid)
                return kept if kept is not None else await self._remembered(self._asked_keys)
        finally:
            self._waiting -= 1

    async def _remembered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what the issuer is asked for, or raise again how it failed just before."""
        if self._failed is not None and self._clock() - self._failed[0] < _FAILED_SECONDS:
            raise IssuerUnavailable(self._failed[1])
        try:
            found = await ask()
        except IssuerUnavailable as error:
            self._failed = (self._clock(), str(error))
            raise
        self._failed = None
        return found

    async def _asked_keys(self) -> KeySet:
        now = self._asked = self._clock()
        found = await self._get((await self._known_endpoints()).keys)
        try:
            keys = KeySet.import_key_set({"keys": [one for one in found["keys"] if _is_usable(one)]})
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise IssuerUnavailable(f"{self.oidc.issuer}: its keys cannot be read") from error
        self._keys = (now, keys)
        return keys

    def _kept_keys(self, kid: str | None) -> KeySet | None:
        """Return the known keys if they are fresh and have this one, or may not be asked for again yet."""
        now, kept = self._clock(), self._keys
        if kept is None or now - kept[0] >= _KEPT_SECONDS:
            return None
        is_known = kid is None or any(key.kid == kid for key in kept[1].keys)
        return kept[1] if is_known or now - self._asked < _REST_SECONDS else None

    async def tokens(self, code: str, verifier: str, redirect: str) -> dict[str, Any]:
        """Return what the issuer gives for a code.

        Raises :class:`LoginRefused` if it refuses the code, and :class:`IssuerUnavailable`.
        """
        endpoints = await self.endpoints()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
            "client_id": self.oidc.client_id,
        }
        headers = {}
        secret = self._secret()
        if secret and endpoints.takes_basic:
            # both are form-encoded before they are joined (RFC 6749, 2.3.1)
            pair = f"{quote(self.oidc.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif secret:
            form["client_secret"] = secret
        status, body = await self._exchange("POST", endpoints.token, data=form, headers=headers)
        if 400 <= status < 500:  # noqa: PLR2004 - the client's fault, by HTTP
            raise LoginRefused(f"the issuer refused the code with status {status}")
        return _document(self.oidc.issuer, status, body)

    def _secret(self) -> str:
        path = self.oidc.secret_file
        # read each time: it may have been changed
        return "" if path is None else read_bytes(path, 4096).decode().strip()

    async def _known_endpoints(self) -> Endpoints:
        if (kept := self._kept_endpoints()) is not None:
            return kept
        now = self._clock()
        found = self._read(await self._get(f"{self.oidc.issuer.rstrip('/')}{_DISCOVERY}"))
        self._endpoints = (now, found)
        return found

    def _kept_endpoints(self) -> Endpoints | None:
        kept = self._endpoints
        return kept[1] if kept is not None and self._clock() - kept[0] < _KEPT_SECONDS else None

    def _read(self, found: Mapping[str, Any]) -> Endpoints:
        issuer = self.oidc.issuer
        if found.get("issuer") != issuer:
            raise IssuerUnavailable(f"{issuer}: its document is of another issuer")
        urls = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        secure = ("https://",) if issuer.startswith("https://") else ("https://", "http://")
        for url in urls:
            if not isinstance(url, str) or not url.startswith(secure) or not urlsplit(url).netloc:
                raise IssuerUnavailable(f"{issuer}: its document lacks an endpoint, or has one without TLS")
        ways = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        says_issuer = found.get("authorization_response_iss_parameter_supported") is True
        authorization, token, keys = map(str, urls)
        return Endpoints(authorization, token, keys, "client_secret_basic" in ways, says_issuer)

    async def _get(self, url: str) -> dict[str, Any]:
        return _document(self.oidc.issuer, *await self._exchange("GET", url))

    async def _exchange(self, method: str, url: str, **more: Any) -> tuple[int, bytes]:
        if self._client is None:
            ca_file = str(self.oidc.ca_file) if self.oidc.ca_file else ""
            connector = aiohttp.TCPConnector(ssl=tls_context(StoreOptions(ca_file=ca_file)))
            timeout = aiohttp.ClientTimeout(total=_SECONDS)
            self._client = aiohttp.ClientSession(
                connector=connector, timeout=timeout, trust_env=True, cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._client.request(method, url, allow_redirects=False, **more) as response:
                body = await response.content.read(_LARGEST + 1)
                while len(body) <= _LARGEST and (part := await response.content.read(_LARGEST)):
                    body += part
                if len(body) > _LARGEST:
                    raise IssuerUnavailable(f"{self.oidc.issuer}: an answer is larger than {_LARGEST} bytes")
                return response.status, body
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise IssuerUnavailable(
                f"{self.oidc.issuer}: it does not answer ({type(error).__name__})"
            ) from error


def _is_usable(key: Any) -> bool:
    """Whether a key can verify signatures: an unknown kind, or a shared secret, is passed over."""
    return isinstance(key, dict) and key.get("kty") in {"RSA", "EC", "OKP"} and key.get("use", "sig") == "sig"


def _document(issuer: str, status: int, body: bytes) -> dict[str, Any]:
    if status != 200:  # noqa: PLR2004 - OK
        raise IssuerUnavailable(f"{issuer}: it answered with status {status}")
    try:
        found = json.loads(body)
    except ValueError as error:
        raise IssuerUnavailable(f"{issuer}: it answered with something other than JSON") from error
    if not isinstance(found, dict):
        raise IssuerUnavailable(f"{issuer}: it answered with something other than an object")
    return found
