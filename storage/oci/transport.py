"""Sends requests to registries: how each registry is reached, which credentials it gets, how often to retry.

A registry is called over ``https``. A near one (:func:`storage.http_client.plain_http.may_be_plain_http`), or
any with ``insecure`` set, may use plain HTTP instead. This is found out again every few minutes and after
each failure, and never accepted from a registry that used TLS before. Over plain HTTP no credentials are
sent, unless the registry is this machine or ``insecure`` is set.

``Authorization`` is sent only to the registry's own origin, not to another origin that a redirect or upload
location names. Those may lead only where :mod:`storage.http_client.addresses` allows. Errors name the request
by its purpose; they contain no URL of the registry (upload URLs contain signatures) and no header.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from cachetools import LRUCache
from yarl import URL

from storage.base import StoreOptions
from storage.errors import StoreRejected, StoreUnavailable
from storage.formats.reference import registry_host
from storage.http_client.addresses import (
    Allows,
    Home,
    Refused,
    Zone,
    is_near,
    is_somewhere,
    zone_of,
    zone_of_spelling,
)
from storage.http_client.answer import Answer
from storage.http_client.attempts import Later, NoTls, answered
from storage.http_client.connections import Connections
from storage.http_client.meanings import is_busy, may_pass
from storage.http_client.plain_http import may_be_plain_http
from storage.limits.single_flight import InFlight
from storage.limits.window import Window
from storage.oci.login import FORBIDDEN, NOT_OVER_HTTP, UNAUTHORIZED, Attempts, NoAccess
from storage.oci.requests import (
    KEEPS_METHOD,
    RegistryRefused,
    Request,
    judged,
    redirected,
    resolve,
    same_origin,
)
from storage.oci.tokens import (
    UNASKED,
    Authorization,
    Challenge,
    Keychain,
    TokenAnswer,
    TokenSource,
    challenges_of,
)

MOST_REGISTRIES = 1024
"""The most registries for which the way to reach them is remembered."""
PLAIN_SECONDS = 300.0
"""Seconds for which TLS is not tried again with a registry that did not use it."""
_MOST_WITH_TLS = 16_384
"""The most near registries that are remembered as using TLS."""
_REDIRECTS = 5
"""The most redirects that a request follows."""
_NEAR_TLS_SECONDS = 5.0
"""The time limit of the TLS attempt with a registry that may use plain HTTP."""
_BAD_REQUEST = 400
_NOT_FOUND = 404
_MOVED = frozenset({301, 302, 303, 307, 308})


@dataclass(slots=True)
class _Endpoint:
    """How one registry is reached, and the challenges that it sent last."""

    base: URL
    challenges: tuple[Challenge, ...]
    home: Home
    until: float = math.inf
    """The monotonic time from which the way to reach the registry must be found out again."""
    places: Window = field(default_factory=Window)
    """Places for requests. Waiting for one does not count against the time limit."""
    prompt_places: Window = field(default_factory=Window)
    """As many places again for prompt requests."""

    def window(self, request: Request) -> Window:
        """Return the places that a request waits for."""
        return self.prompt_places if request.prompt else self.places

    def is_at(self, address: str, *, insecure: bool) -> None:
        """Record the address at which the registry was reached; ``""`` if a proxy hides it."""
        zone = zone_of(address) if address else zone_of_spelling(self.home.host)
        if zone is not self.home.zone:
            self.home = _home(self.home.host, zone, plain=self.home.plain, insecure=insecure)


def _home(host: str, zone: Zone, *, plain: bool, insecure: bool) -> Home:
    """Return a :class:`Home`; credentials are safe with TLS, with ``insecure``, and on this machine."""
    return Home(host, zone, plain, keeps_secrets=not plain or insecure or zone is Zone.LOOPBACK)


class Transport:
    """Sends requests to any number of registries. The caller closes it.

    ``shared_with`` is a transport for other credentials. Both share connections, what is known about
    registries, and tokens, which are stored by credential. The other transport closes the connections.
    """

    def __init__(
        self, options: StoreOptions, keychain: Keychain, shared_with: Transport | None = None
    ) -> None:
        self._options = options
        self._shared_with = shared_with
        self._connections: Connections = shared_with._connections if shared_with else Connections(options)
        self._tokens: TokenSource = shared_with._tokens if shared_with else TokenSource(self._exchange)
        self._attempts = Attempts(keychain, self._tokens)
        self._endpoints: LRUCache[str, _Endpoint] = (
            shared_with._endpoints if shared_with else LRUCache(MOST_REGISTRIES)
        )
        self._with_tls: LRUCache[str, bool] = (
            shared_with._with_tls if shared_with else LRUCache(_MOST_WITH_TLS)
        )
        self._finding: InFlight[str, _Endpoint] = shared_with._finding if shared_with else InFlight()

    async def close(self) -> None:
        """Close every connection of this transport. A later request opens new ones."""
        if self._shared_with is None:
            await self._connections.close()

    async def send(self, request: Request) -> Answer:
        """Return the answer; retry with growing waits while the failure is transient.

        Raises :class:`StoreUnavailable` if it stays transient, and :class:`StoreRejected` for every other
        status of 400 and above that is not in ``request.passes``.
        """
        return await answered(
            lambda: self._try(request),
            request,
            max(1, self._options.attempts),
            self._connections.is_silent,
            request.before_retry,
        )

    async def reach(self, registry: str) -> tuple[str, str]:
        """Return how ``registry`` is reached (``https`` or ``http``) and its challenge.

        The challenge is ``basic``, ``bearer`` or empty. Raises :class:`StoreUnavailable` and
        :class:`StoreRejected`.
        """
        try:
            endpoint = await self._find(registry)
        except Later as exc:
            raise StoreUnavailable(str(exc), exc.host) from exc.__cause__
        except NoTls as exc:
            raise StoreRejected(str(exc)) from exc.__cause__
        return endpoint.base.scheme, endpoint.challenges[0].scheme if endpoint.challenges else ""

    async def _try(self, request: Request) -> Answer:
        """Send a request once; find out first how the registry is reached if that is unknown."""
        registry = request.repository.registry
        endpoint = self._endpoints.get(registry)
        if endpoint is None or endpoint.until <= time.monotonic():
            endpoint = await self._finding.run(registry, lambda: self._find(registry))
        try:
            return await self._try_at(endpoint, request)
        except (Later, RegistryRefused) as exc:
            if isinstance(exc, Later):
                # A registry that does not answer in time gets fewer concurrent requests.
                endpoint.window(request).halve()
            if endpoint.home.plain and (isinstance(exc, Later) or exc.status == _BAD_REQUEST):
                endpoint.until = 0.0  # it may use TLS by now, or be another server at the same address
            raise

    async def _try_at(self, endpoint: _Endpoint, request: Request) -> Answer:
        """Send a request when a place is free."""
        window, has_answer = endpoint.window(request), False
        entered = await window.enter()
        try:
            answer = await self._ask(endpoint, request)
            has_answer = True
        finally:
            window.leave(request.method, entered, answered=has_answer)
        return answer

    async def _ask(self, endpoint: _Endpoint, request: Request) -> Answer:
        """Send with the known authorization if there is one; try all credentials if that is refused."""
        known = self._attempts.known(request.repository, push=request.push)
        if not endpoint.challenges or known is not None:
            answer = await self._follow(endpoint, request, known)
            self._learn(endpoint, answer)
            if not endpoint.challenges:
                return await self._unasked(endpoint, request, answer, known)
            if answer.status in request.passes or not _is_refused(endpoint, request, answer):
                return judged(request, answer, known)
        return await self._attempt(endpoint, endpoint.challenges, request, known)

    async def _unasked(
        self, endpoint: _Endpoint, request: Request, answer: Answer, known: Authorization | None
    ) -> Answer:
        """Judge the answer of a registry that has never sent a challenge.

        Some registries let everybody read, and refuse a write or hide private repositories without a
        challenge.
        """
        asks_nobody = known is None and request.push and endpoint.home.keeps_secrets
        # Some registries answer 404 instead of 401 for a private repository.
        hides = answer.status == _NOT_FOUND and asks_nobody
        if not (hides or _is_refused(endpoint, request, answer)) or not same_origin(
            answer.url, endpoint.base
        ):
            return judged(request, answer, known)
        if not await self._attempts.has_any(request.repository):
            return judged(request, answer, known)
        try:
            return await self._attempt(endpoint, UNASKED, request, known)
        except StoreRejected:
            if not hides:
                raise
            return judged(request, answer, known)

    async def _attempt(
        self,
        endpoint: _Endpoint,
        challenges: tuple[Challenge, ...],
        request: Request,
        known: Authorization | None,
    ) -> Answer:
        """Try the credentials one after another."""

        async def send(authorization: Authorization) -> Answer:
            answer = await self._follow(endpoint, request, authorization)
            self._learn(endpoint, answer)
            return judged(request, answer, authorization, refused=_is_refused(endpoint, request, answer))

        try:
            return await self._attempts.make(
                challenges,
                request.repository,
                send,
                push=request.push,
                home=endpoint.home,
                refused=known,
            )
        except NoAccess as exc:
            if exc.transient:
                raise Later(str(exc), host=exc.host) from exc
            if exc.answer is None:
                # Nothing could be tried, so the registry's answer does not say whether the repository exists.
                refused = StoreRejected(f"{request}: {exc}")
                refused.absence = "possible"
                raise refused from exc
            codes = (code for code, _ in exc.answer.words)
            raise RegistryRefused(f"{request}: {exc}", codes, exc.answer.status) from exc

    @staticmethod
    def _learn(endpoint: _Endpoint, answer: Answer) -> None:
        """Remember the challenges of a 401 answer of the registry itself."""
        if answer.status == UNAUTHORIZED and same_origin(answer.url, endpoint.base):
            asked = tuple(challenge.anywhere() for challenge in challenges_of(answer))
            endpoint.challenges = asked or endpoint.challenges

    async def _follow(
        self, endpoint: _Endpoint, request: Request, authorization: Authorization | None
    ) -> Answer:
        """Send a request and follow redirects. Credentials are sent only to the registry's own origin."""
        absolute = "://" in request.path
        within = (
            request.path if request.path.startswith("/") else f"/{request.repository.name}/{request.path}"
        )
        place = request.path if absolute else f"{endpoint.base}/v2{within}"
        url = URL(place, encoded=True)
        is_home = not absolute or same_origin(url, endpoint.base)
        for _ in range(_REDIRECTS + 1):
            headers = request.headers
            # Credentials never leave the registry's own origin.
            if is_home and authorization is not None and authorization.header:
                headers = headers | {"Authorization": authorization.header}
            allows = self._allowed(endpoint, request, url, is_home=is_home, secret="Authorization" in headers)
            try:
                answer = await self._connections.send(
                    request.method, url, headers, request.data, request.limit, allows=allows
                )
            except Refused as exc:
                where = "" if is_home else f"the registry leads to {url.host}: "
                raise StoreRejected(f"{request}: {where}{exc.reason}") from exc
            if is_home:
                endpoint.is_at(answer.address, insecure=self._options.insecure)
            target = answer.headers.get("Location")
            if answer.status not in _MOVED or not target:
                return answer
            url = redirected(request, answer, url, target)
            is_home = same_origin(url, endpoint.base)
        raise StoreRejected(f"{request}: more than {_REDIRECTS} redirects")

    def _allowed(
        self, endpoint: _Endpoint, request: Request, url: URL, *, is_home: bool, secret: bool
    ) -> Allows:
        """Return which addresses the request may use. Raises :class:`StoreRejected` if there are none."""
        home = endpoint.home
        # A downgrade from TLS would expose what is read and written.
        if url.scheme == "http" and not home.plain:
            raise StoreRejected(f"{request}: the registry leads from https to plain http: refused")
        if is_home:
            return self._by_http(secret=secret) if home.plain else is_somewhere
        is_read = request.method in {"GET", "HEAD"}
        if url.scheme == "http" and not is_read and (url.host or "").lower() != home.host:
            raise StoreRejected(f"{request}: the registry leads to another host over plain http: refused")
        if url.scheme == "http":
            over_http = self._by_http(secret=False)
            return lambda address: home.may_lead_to(address) and over_http(address)
        return home.may_lead_to

    def _by_http(self, *, secret: bool) -> Allows:
        """Return which addresses may be used over plain HTTP."""
        if self._options.insecure:
            return is_somewhere
        return _is_loopback if secret else is_near

    async def _find(self, registry: str) -> _Endpoint:
        """Find out with ``GET /v2/`` how the registry is reached, and which challenge it sends."""
        # Only a near registry is tried with plain HTTP, and it gets less time for the TLS attempt.
        near = may_be_plain_http(registry) or self._options.insecure
        seconds = min(_NEAR_TLS_SECONDS, self._options.timeout) if near else 0.0
        spoke_tls = registry in self._with_tls
        try:
            endpoint = await self._ping(registry, "https", is_somewhere, seconds)
        except NoTls as exc:
            if exc.untrusted:
                self._saw_tls(registry, near=near)
                raise
            # An attacker on the network could block TLS to force a downgrade.
            if spoke_tls:
                raise NoTls(f"{exc}; it spoke TLS before, so plain HTTP is not tried") from exc
            if not near:
                raise NoTls(f"{exc}; for plain HTTP set storage.oci.repository.insecure") from exc
            endpoint = await self._ping(registry, "http", self._by_http(secret=False))
        except Later:
            if spoke_tls or not near:
                raise
            endpoint = await self._ping(registry, "http", self._by_http(secret=False))
        else:
            self._saw_tls(registry, near=near)
        before = self._endpoints.get(registry)
        if before is not None:
            # Requests under way hold places in the old windows, so these are kept.
            endpoint.places, endpoint.prompt_places = before.places, before.prompt_places
        self._endpoints[registry] = endpoint
        return endpoint

    def _saw_tls(self, registry: str, *, near: bool) -> None:
        """Remember that a registry used TLS."""
        if near:  # plain HTTP is never tried with other registries, so nothing need be remembered
            self._with_tls[registry] = True

    async def _ping(self, registry: str, scheme: str, allows: Allows, seconds: float = 0.0) -> _Endpoint:
        """Send ``GET /v2/`` and return the endpoint."""
        base = URL(f"{scheme}://{registry}").origin()
        try:
            answer = await self._connections.send("GET", base / "v2/", {}, seconds=seconds, allows=allows)
        except Refused as exc:
            raise StoreRejected(f"{registry}: {exc.reason}") from exc
        if may_pass(answer.status):
            raise Later(answer.text, answer.retry_after)
        asked = challenges_of(answer) if answer.status == UNAUTHORIZED else ()
        host, plain = registry_host(registry), scheme == "http"
        home = _home(host, zone_of_spelling(host), plain=plain, insecure=self._options.insecure)
        until = time.monotonic() + PLAIN_SECONDS if plain else math.inf
        endpoint = _Endpoint(base, tuple(challenge.anywhere() for challenge in asked), home, until)
        endpoint.is_at(answer.address, insecure=self._options.insecure)
        return endpoint

    async def _exchange(
        self, home: Home, method: str, url: URL, headers: dict[str, str], body: bytes | None
    ) -> TokenAnswer:
        """Send a request to a token server; follow redirects within its origin."""
        secret = body is not None or "Authorization" in headers
        over_http = self._by_http(secret=secret) if url.scheme == "http" else is_somewhere

        def allows(address: str) -> bool:
            return home.may_lead_to(address) and over_http(address)

        try:
            for _ in range(_REDIRECTS + 1):
                answer = await self._connections.send(method, url, headers, body, allows=allows)
                target = answer.headers.get("Location")
                # Credentials may be in the request, so only redirects within the origin are followed.
                following = resolve(url, target) if answer.status in KEEPS_METHOD and target else url
                if following == url or not same_origin(following, url):
                    break
                url = following
        except Refused as exc:
            why = exc.reason if not home.may_lead_to(exc.address) else NOT_OVER_HTTP
            raise StoreRejected(f"the token server {url.host}: {why}") from exc
        except Later as exc:
            raise StoreUnavailable(f"the token server {url.host}: {exc}", exc.host) from exc
        except NoTls as exc:
            raise StoreRejected(f"the token server {url.host}: {exc}") from exc.__cause__
        return TokenAnswer(answer.status, answer.body, is_busy(answer, ""))


def _is_loopback(address: str) -> bool:
    return zone_of(address) is Zone.LOOPBACK


def _is_refused(endpoint: _Endpoint, request: Request, answer: Answer) -> bool:
    """Whether the registry itself, and not a server it led to, refuses the credentials."""
    if answer.status not in {UNAUTHORIZED, FORBIDDEN} or not same_origin(answer.url, endpoint.base):
        return False
    return not is_busy(answer, request.repository.name)
