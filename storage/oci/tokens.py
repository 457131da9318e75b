"""From a registry's challenge to an ``Authorization`` header: basic, or a bearer token from its token server.

The flow is the distribution project's (https://distribution.github.io/distribution/spec/auth/token/ and
``/oauth/``). Tokens are remembered with their expiry, one for each repository, action and credential, and
concurrent requests share one token request. Credentials go to the token server (realm) that the registry
names, so a realm must speak HTTPS (or HTTP where the registry does) and be no nearer to us than the registry
is (:mod:`storage.http_client.addresses`).
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
from storage.http_client.connections import Answer
from storage.limits.single_flight import InFlight
from storage.oci.docker_config import Credential

CLIENT_ID = "provenance-chains"
DEFAULT_LIFE = 60.0
BASIC_LIFE = 300.0
_MARGIN = 0.8
_MOST_KNOWN = 2000
_PART = re.compile(
    r"(?<![A-Za-z_-])(?P<key>[A-Za-z_-]++)\s*+=\s*+(?:\"(?P<quoted>(?:[^\"\\]|\\.)*+)\"|(?P<plain>[^\s,]++))"
    r"|(?P<scheme>[A-Za-z]++)"
)
"""A parameter or a scheme; what stands between them is passed over. No step is taken back, so that a header
made for it costs no more time than another."""


class Keychain(Protocol):
    """Where credentials come from."""

    async def candidates(self, repository: Repository, *, again: bool = False) -> Sequence[Credential]:
        """Return the credentials for one repository in the order to try them.

        One without secrets is anonymous. ``again`` tells that all of the last answer were refused: it is
        worth looking for others. Raises :class:`StoreError`.
        """


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry wants: ``basic`` or ``bearer`` with the parameters of its ``WWW-Authenticate``."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def scope(self, repository: Repository, *, push: bool) -> str:
        """The scope to ask a token for: what the registry named, else what the action needs."""
        actions = "pull,push" if push else "pull"
        return self.parameters.get("scope") or f"repository:{repository.name}:{actions}"

    def suits(self, credential: Credential) -> bool:
        """Whether a credential can meet it: a token for a token server is no user and password."""
        if self.scheme == "basic":
            return bool(credential.basic or credential.registry_token) or credential.is_anonymous
        return True

    def anywhere(self) -> Challenge:
        """The challenge as it holds for every repository of the registry: without its scope."""
        return Challenge(self.scheme, {k: v for k, v in self.parameters.items() if k != "scope"})


@dataclass(frozen=True, slots=True)
class Authorization:
    """A header value (``""``: anonymous), until when it holds, and whose credential it came from.

    ``reused`` when it is a token that was asked for earlier, so a fresh one may do where it does not.
    """

    header: str = field(repr=False)
    source: str
    expires: float
    reused: bool = False


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What the token server said."""

    status: int
    body: bytes = field(repr=False)
    is_busy: bool = False
    """Whether it means "later" by its status, see :mod:`storage.http_client.meanings`."""


Exchange = Callable[[Home, str, URL, dict[str, str], bytes | None], Awaitable[TokenAnswer]]
"""Sends (method, URL, headers, body) once, following no redirect, to an address that the registry at the
:class:`Home` may lead to; raises :class:`storage.errors.StoreError`."""


def challenges_of(answer: Answer) -> tuple[Challenge, ...]:
    """Return what an answer asks for, as far as this module can meet it, in the registry's order."""
    return parse_challenges(answer.headers.getall("WWW-Authenticate", ()))


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges of the ``WWW-Authenticate`` headers that this module can meet, in their order."""
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        for part in _PART.finditer(header):
            if part["scheme"]:
                found.append((part["scheme"].lower(), {}))
            elif found:
                value = part["plain"] if part["quoted"] is None else re.sub(r"\\(.)", r"\1", part["quoted"])
                found[-1][1][part["key"].lower()] = value
    return tuple(
        Challenge(scheme, parameters)
        for scheme, parameters in found
        if scheme == "basic" or (scheme == "bearer" and "realm" in parameters)
    )


UNASKED = (Challenge("basic"),)
"""What is tried with a registry that refuses and does not say what it wants."""


class CredentialRefused(StoreRejected):
    """The token server did not accept this credential; another one may do."""


class TokenSource:
    """Turns credentials into headers, with as few calls to token servers as expiry allows.

    Tokens are kept under the credential itself: whoever has that credential could have asked for them.
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
        """Answer ``challenge`` for ``repository``; ``home`` is where the registry itself is.

        ``refused`` are headers that the registry does not take. Raises :class:`CredentialRefused`,
        :class:`StoreRejected` when the token server cannot be trusted with credentials or makes no sense,
        and :class:`StoreUnavailable` when it cannot be reached.
        """
        if challenge.scheme == "basic" or credential.registry_token:
            bearer = bool(credential.registry_token)
            header = f"Bearer {credential.registry_token}" if bearer else credential.basic
            return Authorization(header, credential.source, time.monotonic() + BASIC_LIFE)
        key = (repository, challenge.scope(repository, push=push), credential)
        known = self._known.get(key)
        if known is not None and known.expires > time.monotonic() and known.header not in refused:
            return replace(known, reused=True)
        found = await self._asking.run(
            key, lambda: self._fetch(challenge, credential, repository, key[1], home)
        )
        if len(self._known) >= _MOST_KNOWN:
            now = time.monotonic()
            self._known = {key: known for key, known in self._known.items() if known.expires > now}
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
        self._known[key] = found
        return found

    async def _fetch(
        self, challenge: Challenge, credential: Credential, repository: Repository, scope: str, home: Home
    ) -> Authorization:
        realm = checked_realm(challenge.parameters["realm"], repository.registry, home)
        query = {"service": challenge.parameters.get("service", ""), "scope": scope}
        answer = await self._ask(home, realm, query, credential)
        token, life = self._read(answer, realm, repository)
        return Authorization(f"Bearer {token}", credential.source, time.monotonic() + life * _MARGIN)

    async def _ask(
        self, home: Home, realm: URL, query: dict[str, str], credential: Credential
    ) -> TokenAnswer:
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
        where = f"the token server {realm.host} of {repository.registry}"
        if answer.is_busy:
            raise StoreUnavailable(f"{where} answered {answer.status}")
        if answer.status != 200:  # noqa: PLR2004
            raise CredentialRefused(f"{where} answered {answer.status}")
        try:
            parsed = lean_json.loads(answer.body, lean_json.FEW_VALUES)
            token = parsed.get("token") or parsed.get("access_token")
            life = float(parsed.get("expires_in") or DEFAULT_LIFE)
        except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
            raise StoreRejected(f"{where} answered something that is no token") from None
        if not isinstance(token, str) or not token.isprintable() or not token:
            raise StoreRejected(f"{where} answered no token")
        return token, life


def checked_realm(realm: str, registry: str, home: Home) -> URL:
    """Return ``realm`` as a URL when credentials for ``registry`` may be sent there; else raise.

    A name is taken here: its addresses are looked at when it is connected to.
    """
    try:
        url = URL(realm)
        _ = url.port  # which is only now read, and may be none
    except ValueError:
        url = URL()
    allowed = {"https", "http"} if home.plain else {"https"}
    if url.scheme not in allowed or not url.host:
        raise StoreRejected(f"{registry} names the token server {realm[:200]!r}; expected an https URL")
    spelled = spelled_address(url.raw_host or "")
    if spelled and not home.may_lead_to(spelled):
        raise StoreRejected(f"{registry} names the token server {url.host}: {Refused(spelled).reason}")
    return url
