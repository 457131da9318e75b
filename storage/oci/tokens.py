"""Turns a registry's challenge into an ``Authorization`` header: basic, or a bearer token.

The token flow is the distribution project's (https://distribution.github.io/distribution/spec/auth/token/ and
``/oauth/``). Tokens are remembered until they expire, one per repository, action and credential, and
concurrent requests share one token request. Credentials are sent to the token server (realm) that the
registry names. A realm must therefore use HTTPS (or HTTP if the registry does), and must not be in a network
zone nearer to this process than the registry is (:mod:`storage.http_client.addresses`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlencode

import orjson
from yarl import URL

from storage import lean_json
from storage.errors import StoreRejected, StoreUnavailable
from storage.formats.reference import Repository
from storage.http_client.addresses import Home, Refused, spelled_address
from storage.http_client.answer import Answer
from storage.limits.single_flight import InFlight
from storage.oci.docker_config import Credential

CLIENT_ID = "provenance-chains"
DEFAULT_LIFE = 60.0
"""Seconds for which a token is valid if the token server does not say (the specification's default)."""
BASIC_LIFE = 300.0
"""Seconds for which basic credentials are used before the keychain is asked again."""
_MARGIN = 0.8
"""The part of a token's life for which it is used."""
_MOST_KNOWN = 2000
"""The most tokens that are remembered."""
_PART = re.compile(
    r"(?<![A-Za-z_-])(?P<key>[A-Za-z_-]++)\s*+=\s*+(?:\"(?P<quoted>(?:[^\"\\]|\\.)*+)\"|(?P<plain>[^\s,]++))"
    r"|(?P<scheme>[A-Za-z]++)"
)
"""Matches a parameter or a scheme; text between them is ignored. The quantifiers are possessive, so a hostile
header cannot cause backtracking."""


class Keychain(Protocol):
    """A source of credentials."""

    async def candidates(self, repository: Repository, *, again: bool = False) -> Sequence[Credential]:
        """Return the credentials for one repository in the order in which to try them.

        A credential without secrets is anonymous. ``again`` means that all of the last result were refused,
        so it is worth looking for new ones. Raises :class:`StoreError`.
        """


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge of a registry: ``basic`` or ``bearer``, with the parameters of ``WWW-Authenticate``."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def scope(self, repository: Repository, *, push: bool) -> str:
        """Return the token scope to request: the registry's, else what the action needs."""
        actions = "pull,push" if push else "pull"
        return self.parameters.get("scope") or f"repository:{repository.name}:{actions}"

    def suits(self, credential: Credential) -> bool:
        """Whether a credential can answer it. An identity token cannot answer ``basic``."""
        if self.scheme == "basic":
            return bool(credential.basic or credential.registry_token) or credential.is_anonymous
        return True

    def anywhere(self) -> Challenge:
        """Return the challenge without its scope, as it holds for every repository of the registry."""
        return Challenge(self.scheme, {k: v for k, v in self.parameters.items() if k != "scope"})


@dataclass(frozen=True, slots=True)
class Authorization:
    """A header value (``""`` for anonymous), its credential's source, and its expiry (monotonic seconds).

    ``reused``: it is a remembered token, so a new one may be accepted if this one is refused.
    """

    header: str = field(repr=False)
    source: str
    expires: float
    reused: bool = False


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """The answer of a token server."""

    status: int
    body: bytes = field(repr=False)
    is_busy: bool = False
    """Whether its status means "later", see :mod:`storage.http_client.meanings`."""


Exchange = Callable[[Home, str, URL, dict[str, str], bytes | None], Awaitable[TokenAnswer]]
"""Sends (method, URL, headers, body) once. It follows no redirect and connects only to addresses to which the
registry at the :class:`Home` may lead. Raises :class:`storage.errors.StoreError`."""


def challenges_of(answer: Answer) -> tuple[Challenge, ...]:
    """Return the supported challenges of an answer, in the registry's order."""
    return parse_challenges(answer.headers.getall("WWW-Authenticate", ()))


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the supported challenges of ``WWW-Authenticate`` headers, in their order."""
    challenges: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        for part in _PART.finditer(header):
            if part["scheme"]:
                challenges.append((part["scheme"].lower(), {}))
            elif challenges:
                value = part["plain"] if part["quoted"] is None else re.sub(r"\\(.)", r"\1", part["quoted"])
                challenges[-1][1][part["key"].lower()] = value
    return tuple(
        Challenge(scheme, parameters)
        for scheme, parameters in challenges
        if scheme == "basic" or (scheme == "bearer" and "realm" in parameters)
    )


UNASKED = (Challenge("basic"),)
"""The challenge that is assumed for a registry that refuses without one."""


class CredentialRefused(StoreRejected):
    """The token server refused this credential. Another one may be accepted."""


class TokenSource:
    """Turns credentials into headers, with as few requests to token servers as possible.

    Tokens are remembered by credential: whoever has the credential could request them too.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._known: dict[tuple[Repository, str, Credential], Authorization] = {}
        self._asking: InFlight[tuple[Repository, str, Credential], Authorization] = InFlight()

    async def authorize(
        self,
        challenge: Challenge,
        credential: Credential,
        repository: Repository,
        *,
        push: bool,
        home: Home,
        refused: Collection[str] = (),
    ) -> Authorization:
        """Answer ``challenge`` for ``repository``. ``home`` is where the registry itself is.

        ``refused`` are headers that the registry refused. Raises :class:`CredentialRefused`,
        :class:`StoreRejected` if the token server must not get credentials or its answer is invalid, and
        :class:`StoreUnavailable` if it cannot be reached.
        """
        if challenge.scheme == "basic" or credential.registry_token:
            bearer = bool(credential.registry_token)
            header = f"Bearer {credential.registry_token}" if bearer else credential.basic
            return Authorization(header, credential.source, time.monotonic() + BASIC_LIFE)
        # Tokens of one credential must never be used for another, so the credential is in the key.
        key = (repository, challenge.scope(repository, push=push), credential)
        known = self._known.get(key)
        if known is not None and known.expires > time.monotonic() and known.header not in refused:
            return replace(known, reused=True)
        authorization = await self._asking.run(
            key, lambda: self._fetch(challenge, credential, repository, key[1], home)
        )
        if len(self._known) >= _MOST_KNOWN:
            now = time.monotonic()
            self._known = {key: known for key, known in self._known.items() if known.expires > now}
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
        self._known[key] = authorization
        return authorization

    async def _fetch(
        self, challenge: Challenge, credential: Credential, repository: Repository, scope: str, home: Home
    ) -> Authorization:
        """Request a new token."""
        realm = checked_realm(challenge.parameters["realm"], repository.registry, home)
        query = {"service": challenge.parameters.get("service", ""), "scope": scope}
        answer = await self._ask(home, realm, query, credential)
        token, life = self._read(answer, realm, repository)
        return Authorization(f"Bearer {token}", credential.source, time.monotonic() + life * _MARGIN)

    async def _ask(
        self, home: Home, realm: URL, query: dict[str, str], credential: Credential
    ) -> TokenAnswer:
        """Send the token request: OAuth2 for an identity token, else GET with basic credentials."""
        # An identity token is exchanged by OAuth2, user and password by the older GET.
        if credential.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": credential.identity_token, **query}
            body = urlencode({**form, "client_id": CLIENT_ID}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return await self._exchange(home, "POST", realm, headers, body)
        headers = {"Authorization": credential.basic} if credential.basic else {}
        wanted = {key: value for key, value in query.items() if value}
        return await self._exchange(home, "GET", realm.extend_query(wanted), headers, None)

    @staticmethod
    def _read(answer: TokenAnswer, realm: URL, repository: Repository) -> tuple[str, float]:
        """Return the token and its life in seconds. Raises :class:`StoreError`."""
        where = f"the token server {realm.host} of {repository.registry}"
        if answer.is_busy:
            raise StoreUnavailable(f"{where} answered {answer.status}")
        # Any other status means that the server refused this credential.
        if answer.status != 200:  # noqa: PLR2004
            raise CredentialRefused(f"{where} answered {answer.status}")
        try:
            parsed = lean_json.loads(answer.body, lean_json.FEW_VALUES)
            token = parsed.get("token") or parsed.get("access_token")
            life = float(parsed.get("expires_in") or DEFAULT_LIFE)
        except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
            raise StoreRejected(f"{where}: its answer cannot be parsed as a token") from None
        if not isinstance(token, str) or not token.isprintable() or not token:
            raise StoreRejected(f"{where}: its answer has no token")
        return token, life


def checked_realm(realm: str, registry: str, home: Home) -> URL:
    """Return ``realm`` as a URL if credentials for ``registry`` may be sent there.

    Addresses of a host name are checked when it is connected to. Raises :class:`StoreRejected`.
    """
    try:
        url = URL(realm)
        _ = url.port  # yarl parses the port on access; an invalid one raises here
    except ValueError:
        url = URL()
    allowed = {"https", "http"} if home.plain else {"https"}
    if url.scheme not in allowed or not url.host:
        raise StoreRejected(f"{registry} names the token server {realm[:200]!r}; expected an https URL")
    spelled = spelled_address(url.raw_host or "")
    if spelled and not home.may_lead_to(spelled):
        raise StoreRejected(f"{registry} names the token server {url.host}: {Refused(spelled).reason}")
    return url
