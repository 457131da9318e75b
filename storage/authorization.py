"""From a registry's challenge to an ``Authorization`` header: basic, or a bearer token from its token server.

The flow is the distribution project's (https://distribution.github.io/distribution/spec/auth/token/ and
``/oauth/``). Headers are remembered with their expiry, one for each repository and action, and concurrent
requests share one token request. Credentials go to the token server (realm) that the registry names, so a
realm must speak HTTPS (or HTTP where the registry does) and a public registry cannot point it at a private
or link-local address.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode

import orjson
from yarl import URL

from storage.base import StoreRejected, StoreUnavailable
from storage.credentials import Credential
from storage.inflight import InFlight
from storage.reference import Repository, may_be_plain_http, registry_host

CLIENT_ID = "provenance-chains"
DEFAULT_LIFE = 60.0
BASIC_LIFE = 300.0
_MARGIN = 0.8
_MOST_KNOWN = 2000
_PART = re.compile(
    r"\s*,?\s*(?:(?P<key>[A-Za-z_-]+)\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^\s,]+))|(?P<scheme>[A-Za-z]+))"
)


class Keychain(Protocol):
    """Where credentials come from."""

    async def lookup(self, repository: Repository) -> Credential:
        """Return the credential for one repository, empty for anonymous."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry wants: ``basic`` or ``bearer`` with the parameters of its ``WWW-Authenticate``."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def anywhere(self) -> Challenge:
        """The challenge as it holds for every repository of the registry: without its scope."""
        return Challenge(self.scheme, {k: v for k, v in self.parameters.items() if k != "scope"})


@dataclass(frozen=True, slots=True)
class Authorization:
    """A header value (``""``: anonymous), until when it holds, and whose credential it came from."""

    header: str = field(repr=False)
    source: str
    expires: float


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What the token server said."""

    status: int
    body: bytes = field(repr=False)


Exchange = Callable[[str, URL, dict[str, str], bytes | None], Awaitable[TokenAnswer]]
"""Sends (method, URL, headers, body) once, following no redirect; raises :class:`storage.base.StoreError`."""


def parse_challenges(headers: Iterable[str]) -> Challenge | None:
    """Return the first challenge of the ``WWW-Authenticate`` headers that this module can meet."""
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        for part in _PART.finditer(header):
            if part["scheme"]:
                found.append((part["scheme"].lower(), {}))
            elif found:
                value = part["plain"] if part["quoted"] is None else re.sub(r"\\(.)", r"\1", part["quoted"])
                found[-1][1][part["key"].lower()] = value
    for scheme, parameters in found:
        if scheme == "basic" or (scheme == "bearer" and "realm" in parameters):
            return Challenge(scheme, parameters)
    return None


class Authorizer:
    """Gives each request its header, with as few calls to the token server as expiry allows."""

    def __init__(self, keychain: Keychain, exchange: Exchange) -> None:
        self._keychain = keychain
        self._exchange = exchange
        self._known: dict[tuple[Repository, bool], Authorization] = {}
        self._asking: InFlight[tuple[Repository, bool, str], Authorization] = InFlight()

    def known(self, repository: Repository, *, push: bool) -> Authorization | None:
        """Return what an earlier challenge led to while it holds."""
        authorization = self._known.get((repository, push))
        if authorization is None or authorization.expires <= time.monotonic():
            return None
        return authorization

    async def meet(
        self, challenge: Challenge, repository: Repository, *, push: bool, plain: bool
    ) -> Authorization:
        """Answer ``challenge`` for ``repository``; ``plain`` tells that the registry itself speaks no TLS.

        Raises :class:`StoreRejected` when the token server refuses or cannot be trusted with credentials and
        :class:`StoreUnavailable` when it cannot be reached.
        """
        scope = challenge.parameters.get("scope", "")
        authorization = await self._asking.run(
            (repository, push, scope), lambda: self._fetch(challenge, repository, push=push, plain=plain)
        )
        if len(self._known) >= _MOST_KNOWN:
            now = time.monotonic()
            self._known = {key: known for key, known in self._known.items() if known.expires > now}
        self._known[repository, push] = authorization
        return authorization

    async def _fetch(
        self, challenge: Challenge, repository: Repository, *, push: bool, plain: bool
    ) -> Authorization:
        credential = await self._keychain.lookup(repository)
        if challenge.scheme == "basic":
            return Authorization(credential.basic, credential.source, time.monotonic() + BASIC_LIFE)
        if credential.registry_token:
            header = f"Bearer {credential.registry_token}"
            return Authorization(header, credential.source, time.monotonic() + BASIC_LIFE)
        realm = checked_realm(challenge.parameters["realm"], repository.registry, plain=plain)
        actions = "pull,push" if push else "pull"
        query = {
            "service": challenge.parameters.get("service", ""),
            "scope": challenge.parameters.get("scope") or f"repository:{repository.name}:{actions}",
        }
        answer = await self._ask(realm, query, credential)
        token, life = self._read(answer, realm, repository, credential)
        return Authorization(f"Bearer {token}", credential.source, time.monotonic() + life * _MARGIN)

    async def _ask(self, realm: URL, query: dict[str, str], credential: Credential) -> TokenAnswer:
        if credential.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": credential.identity_token, **query}
            body = urlencode({**form, "client_id": CLIENT_ID}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return await self._exchange("POST", realm, headers, body)
        headers = {"Authorization": credential.basic} if credential.basic else {}
        wanted = {key: value for key, value in query.items() if value}
        return await self._exchange("GET", realm.extend_query(wanted), headers, None)

    @staticmethod
    def _read(
        answer: TokenAnswer, realm: URL, repository: Repository, credential: Credential
    ) -> tuple[str, float]:
        where = f"the token server {realm.host} of {repository.registry}"
        if answer.status >= 500 or answer.status in {408, 429}:  # noqa: PLR2004
            raise StoreUnavailable(f"{where} answered {answer.status}")
        if answer.status != 200:  # noqa: PLR2004
            raise StoreRejected(
                f"{where} answered {answer.status} for {repository}; credentials tried: {credential.source}"
            )
        try:
            parsed = orjson.loads(answer.body)
            token = parsed.get("token") or parsed.get("access_token")
            life = float(parsed.get("expires_in") or DEFAULT_LIFE)
        except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
            raise StoreRejected(f"{where} answered something that is no token") from None
        if not isinstance(token, str) or not token.isprintable() or not token:
            raise StoreRejected(f"{where} answered no token")
        return token, life


def checked_realm(realm: str, registry: str, *, plain: bool) -> URL:
    """Return ``realm`` as a URL when credentials for ``registry`` may be sent there; else raise."""
    try:
        url = URL(realm)
    except ValueError:
        url = URL()
    allowed = {"https", "http"} if plain else {"https"}
    if url.scheme not in allowed or not url.host:
        raise StoreRejected(f"{registry} names the token server {realm[:200]!r}; expected an https URL")
    if url.host == registry_host(registry):
        return url
    try:
        address = ipaddress.ip_address(url.host)
    except ValueError:
        return url
    near = address.is_loopback or address.is_private
    if address.is_link_local or address.is_unspecified or (near and not may_be_plain_http(registry)):
        raise StoreRejected(f"{registry} names a token server at the private address {url.host}: refused")
    return url
