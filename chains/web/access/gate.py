"""What every request passes before it is answered: who asks, how often, and an entry in the access log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.typedefs import Middleware

from chains.text import told
from chains.web.access.bearer import Bearers
from chains.web.access.cookies import Sealed, secret_of
from chains.web.access.in_force import AccessInForce
from chains.web.access.limits import Limits, network_of
from chains.web.access.log import AccessLog
from chains.web.access.login import CALLBACK, LOGIN, LOGOUT, Login
from chains.web.access.metrics import AccessMetrics
from chains.web.access.oidc.errors import IssuerUnavailable, LoginRefused
from chains.web.access.oidc.provider import Provider
from chains.web.access.oidc.tokens import Tokens
from chains.web.access.proxy_user import HeaderRefused, is_from, proxy_viewer
from chains.web.access.settings import Access
from chains.web.keys import LOGOUT as LOGOUT_PATH
from chains.web.static_files import STATIC
from chains.web.viewer import VIEWER, Viewer, local_viewer

API: Final = ("/api/", "/badge/")
"""Paths for programs: they take bearer tokens, and answer 401 where a page leads to the login."""
_AUTH: Final = (LOGIN, CALLBACK, LOGOUT)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Note:
    """What the access log says about a request beside its address and status."""

    viewer: str = ""
    by: str = ""
    """How the viewer is known: ``proxy``, ``session``, ``token``, ``local``; empty if they are not."""
    refused: str = ""
    """Why the request was refused, for the log."""


NOTE: Final = web.RequestKey("note", Note)


class Gate:
    """Lets requests in. Without ``access``, only this machine is let in, and sees everything.

    Use from one event loop, and close it. ``path`` is the access file, read again when it changes. ``secret``
    seals sessions: processes with the same one know each
    other's; without it, it is fresh. ``now`` returns Unix time, ``clock`` seconds of the machine.
    """

    def __init__(
        self,
        access: Access | None,
        log: AccessLog,
        metrics: AccessMetrics | None = None,
        *,
        secret: bytes = b"",
        path: Path | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._in_force = None if access is None else AccessInForce(access, path, clock)
        self.metrics = metrics or AccessMetrics()
        self._limits: Limits | None = None
        self._login: Login | None = None
        self._provider: Provider | None = None
        self._bearers: Bearers | None = None
        if self._in_force is None or access is None:
            return
        in_force = self._in_force
        self._limits = Limits(access.rate, clock)
        tokens = None
        if access.oidc is not None:
            self._provider = Provider(access.oidc, clock)
            tokens = Tokens(self._provider, now)
            self._login = Login(
                self._provider,
                tokens,
                Sealed(secret or secret_of(None), now),
                access.session.total_seconds(),
                lambda: in_force.current.known_groups,
                clock,
            )
        self._bearers = Bearers(lambda: in_force.current, tokens, lambda: datetime.fromtimestamp(now(), UTC))

    async def close(self) -> None:
        """Close the connections to the issuer."""
        if self._provider is not None:
            await self._provider.close()

    def viewers(self) -> Sequence[Middleware]:
        """Return the middleware that says who looks, for the application."""
        return (_noted(local_viewer()) if self._in_force is None else self._identify(),)

    def extend(self, application: web.Application) -> None:
        """Add the routes of the login, and the access log around everything else."""
        if self._login is not None:
            application.router.add_get(LOGIN, self._begin)
            application.router.add_get(CALLBACK, self._finish)
            application.router.add_post(LOGOUT, self._end)
            application[LOGOUT_PATH] = LOGOUT

        async def close(_: web.Application) -> None:
            await self.close()

        application.on_cleanup.append(close)
        application.middlewares.insert(0, self._written())

    def _written(self) -> Middleware:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[NOTE] = note = Note()
            began = time.perf_counter()
            try:
                response = await handler(request)
            except web.HTTPException as error:
                self._write(request, note, error.status, began)
                raise
            except BaseException as error:
                # a fault, or a client that has gone
                self._write(request, note, None, began, error=type(error).__name__)
                raise
            self._write(request, note, response.status, began)
            return response

        return middleware

    def _write(
        self,
        request: web.Request,
        note: Note,
        status: int | None,
        began: float,
        error: str = "",
    ) -> None:
        """Write the entry of a request. Without it there is no answer: what is looked at is known."""
        seconds = time.perf_counter() - began
        answered = status
        try:
            self._log.write(
                viewer=note.viewer,
                by=note.by,
                address=_address(request),
                method=request.method,
                path=request.path,
                query=request.query_string,
                status=status,
                seconds=round(seconds, 4),
                refused=note.refused,
                error=error,
            )
        except OSError:
            self.metrics.lost.inc()
            answered = web.HTTPServiceUnavailable.status_code
            raise web.HTTPServiceUnavailable(text="the access log cannot be written\n") from None
        finally:
            self.metrics.count(answered, seconds, note.refused)

    def _identify(self) -> Middleware:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith(STATIC):
                return await handler(request)
            if self._login is not None and request.path in _AUTH:
                self._take(request, f"address {network_of(_address(request))}")
                return await handler(request)
            note = request[NOTE]
            try:
                viewer = await self._viewer(request, note)
            except (HeaderRefused, LoginRefused) as error:
                note.refused = str(error)
                raise self._stranger(request, is_wrong=True) from error
            except IssuerUnavailable as error:
                note.refused = str(error)
                self._take_stranger(request)
                raise _unavailable() from error
            if viewer is None:
                note.refused = "nobody is logged in"
                raise self._stranger(request)
            note.viewer = viewer.name
            self._take(request, f"viewer {note.by} {viewer.name}")
            if viewer.namespaces == ():
                note.refused = "no namespace is granted"
                raise web.HTTPForbidden(text=f"{told(viewer.name)} may see no namespace: ask for a grant\n")
            request[VIEWER] = viewer
            return await handler(request)

        return middleware

    async def _viewer(self, request: web.Request, note: Note) -> Viewer | None:
        """Return who asks, None if nobody says so. Raises for what is said and does not count."""
        if self._in_force is None or self._bearers is None:
            raise AssertionError("without access, nobody is asked who they are")
        await self._in_force.look()
        self.metrics.access_refused.set(bool(self._in_force.refused))
        access = self._in_force.current
        named = None
        if access.proxy is not None:
            # before anything else: a header from elsewhere is an attempt
            named = proxy_viewer(access, access.proxy, request.headers, _address(request))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and request.path.startswith(API):
            note.by = "token"
            return await self._bearers.viewer(token.strip())
        if named is not None:
            note.by = "proxy"
            return named
        found = self._login.identity(request) if self._login is not None else None
        if found is None:
            return None
        note.by = "session"
        return Viewer(found.user, access.namespaces_of(found.user, found.groups))

    def _stranger(self, request: web.Request, *, is_wrong: bool = False) -> web.HTTPException:
        """Return the answer to somebody who is not known."""
        self._take_stranger(request)
        is_api = request.path.startswith(API)
        if self._login is not None and not is_api and not is_wrong and request.method in {"GET", "HEAD"}:
            return web.HTTPSeeOther(f"{LOGIN}?{_to(request)}")
        how = "a bearer token" if is_api else "the login of the reverse proxy, or a bearer token for the API"
        headers = {
            "WWW-Authenticate": 'Bearer realm="chains"' + (', error="invalid_token"' if is_wrong else "")
        }
        return web.HTTPUnauthorized(text=f"nobody is logged in: expected {how}\n", headers=headers)

    def _take_stranger(self, request: web.Request) -> None:
        """Count a request of somebody who is not known, by their address."""
        address = _address(request)
        proxy = self._in_force.current.proxy if self._in_force is not None else None
        # everybody comes from the proxy, so its address says nothing
        if proxy is None or not is_from(proxy, address):
            self._take(request, f"address {network_of(address)}")

    def _take(self, request: web.Request, whose: str) -> None:
        wait = self._limits.take(whose) if self._limits is not None else 0
        if wait:
            request[NOTE].refused = "too many requests"
            raise web.HTTPTooManyRequests(
                text=f"too many requests: try again in {wait} seconds\n", headers={"Retry-After": str(wait)}
            )

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        return await self._with_login(request, lambda login: login.begin(request))

    async def _finish(self, request: web.Request) -> web.StreamResponse:
        async def finish(login: Login) -> web.Response:
            response, found = await login.finish(request)
            request[NOTE].viewer, request[NOTE].by = found.user, "session"
            return response

        return await self._with_login(request, finish)

    async def _end(self, request: web.Request) -> web.StreamResponse:
        async def end(login: Login) -> web.Response:
            found = login.identity(request)
            if found is not None:
                request[NOTE].viewer, request[NOTE].by = found.user, "session"
            return login.end(request)

        return await self._with_login(request, end)

    async def _with_login(
        self, request: web.Request, work: Callable[[Login], Awaitable[web.Response]]
    ) -> web.StreamResponse:
        if self._login is None:
            raise web.HTTPNotFound
        try:
            return await work(self._login)
        except LoginRefused as error:
            request[NOTE].refused = str(error)
            text = f"The login does not count. Begin again at {LOGIN}; the access log says why.\n"
            raise web.HTTPForbidden(text=text) from error
        except IssuerUnavailable as error:
            request[NOTE].refused = str(error)
            raise _unavailable() from error


def _noted(inner: Middleware) -> Middleware:
    """Return the middleware for one's own machine, with the name of its user for the access log."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        async def named(request: web.Request) -> web.StreamResponse:
            request[NOTE].viewer, request[NOTE].by = request[VIEWER].name, "local"
            return await handler(request)

        return await inner(request, named)

    return middleware


def _address(request: web.Request) -> str:
    """Return the address of the other end of the connection, whatever headers say."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""


def _to(request: web.Request) -> str:
    return urlencode({"to": request.path_qs})


def _unavailable() -> web.HTTPException:
    return web.HTTPServiceUnavailable(
        text="the issuer of logins does not answer: try again in a minute\n", headers={"Retry-After": "60"}
    )
