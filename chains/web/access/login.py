"""The login in a browser: to the issuer, back with a code, and a session of our own; and its end.

Every login has its own state, nonce and PKCE verifier. They are sealed in a cookie of the browser that began
it, so nobody can finish a login that another browser began, and a state counts once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from cachetools import TTLCache

from chains.web.access.cookies import Sealed, end_cookie, set_cookie
from chains.web.access.oidc.errors import LoginRefused
from chains.web.access.oidc.provider import Provider
from chains.web.access.oidc.tokens import Identity, Tokens

LOGIN, CALLBACK, LOGOUT = "/auth/login", "/auth/callback", "/auth/logout"
SESSION_COOKIE: Final = "__Host-chains"
_LOGIN_COOKIE: Final = "__Host-chains-login-"
_LOGIN_SECONDS: Final = 600.0
_NAME: Final = 8
"""Characters of the state in the name of its cookie: several logins at once each have one."""
_MOST_BEGUN: Final = 3000
"""Characters of all cookies of logins that were begun: HTTP servers take about 8000 of a browser at once."""
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_USED: Final = 100_000
_LONGEST_CODE: Final = 4096
_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,2000}")


class Login:
    """Sessions of people, got from an issuer. Use from one event loop."""

    def __init__(
        self,
        provider: Provider,
        tokens: Tokens,
        sealed: Sealed,
        seconds: float,
        known_groups: Callable[[], frozenset[str]],
        clock: Callable[[], float],
    ) -> None:
        self._provider, self._tokens, self._sealed = provider, tokens, sealed
        self._seconds, self._known_groups = seconds, known_groups
        self._redirect = f"{provider.oidc.url}{CALLBACK}"
        self._used: TTLCache[str, bool] = TTLCache(_MOST_USED, _LOGIN_SECONDS, clock)
        self._ended: TTLCache[str, bool] = TTLCache(_MOST_USED, seconds, clock)

    def identity(self, request: web.Request) -> Identity | None:
        """Return whose session a request has, None without one that counts."""
        found = self._sealed.open("session", request.cookies.get(SESSION_COOKIE, ""))
        if found is None or found["id"] in self._ended:
            return None
        return Identity(found["user"], tuple(found["groups"]))

    async def begin(self, request: web.Request) -> web.Response:
        """Send the browser to the issuer. Raises what the issuer raises."""
        endpoints = await self._provider.endpoints()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
        question = {
            "response_type": "code",
            "client_id": self._provider.oidc.client_id,
            "redirect_uri": self._redirect,
            "scope": " ".join(self._provider.oidc.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in endpoints.authorization else "?"
        response = _sent(f"{endpoints.authorization}{joint}{urlencode(question)}")
        content = {
            "state": state,
            "nonce": nonce,
            "verifier": verifier,
            "to": local_path(request.query.get("to", "")),
        }
        begun = {name: text for name, text in request.cookies.items() if name.startswith(_LOGIN_COOKIE)}
        if sum(len(name) + len(text) for name, text in begun.items()) > _MOST_BEGUN:
            # logins that nobody finished must not make the browser's requests too long for an answer
            for name in begun:
                end_cookie(response, name)
        sealed = self._sealed.seal("login", content, _LOGIN_SECONDS)
        set_cookie(response, f"{_LOGIN_COOKIE}{state[:_NAME]}", sealed, _LOGIN_SECONDS)
        return response

    async def finish(self, request: web.Request) -> tuple[web.Response, Identity]:
        """Return the answer to a browser that comes back, with its session, and who it is.

        Raises :class:`LoginRefused` if the login does not count, and what the issuer raises.
        """
        state, begun = self._begun(request)
        code = await self._code(request)
        answer = await self._provider.tokens(code, begun["verifier"], self._redirect)
        token, access_token = answer.get("id_token"), answer.get("access_token", "")
        if not isinstance(token, str) or not isinstance(access_token, str):
            raise LoginRefused("the issuer gave no ID token")
        found = await self._tokens.of_login(token, begun["nonce"], access_token)
        response = _sent(local_path(begun["to"]))
        # more than counts would make the cookie too long
        groups = sorted(self._known_groups().intersection(found.groups))
        content = {"user": found.user, "groups": groups, "id": secrets.token_urlsafe(16)}
        set_cookie(
            response, SESSION_COOKIE, self._sealed.seal("session", content, self._seconds), self._seconds
        )
        end_cookie(response, f"{_LOGIN_COOKIE}{state[:_NAME]}")
        return response, found

    def end(self, request: web.Request) -> web.Response:
        """Return the answer that ends a session. It no longer counts in this process, even if it was copied.

        Raises :class:`LoginRefused` for a request that another site makes.
        """
        if not _is_own(request, self._provider.oidc.url):
            raise LoginRefused("another site asked for the end of the session")
        found = self._sealed.open("session", request.cookies.get(SESSION_COOKIE, ""))
        if found is not None:
            self._ended[found["id"]] = True
        response = web.Response(text="You are logged out of this browser.\n")
        end_cookie(response, SESSION_COOKIE)
        return response

    def _begun(self, request: web.Request) -> tuple[str, dict[str, Any]]:
        """Return the state of an answer with what was sealed for it, once."""
        states = request.query.getall("state", [])
        if len(states) != 1 or not _STATE.fullmatch(states[0]):
            raise LoginRefused("the answer has no state of ours")
        state = states[0]
        begun = self._sealed.open("login", request.cookies.get(f"{_LOGIN_COOKIE}{state[:_NAME]}", ""))
        if begun is None or not hmac.compare_digest(begun["state"], state):
            raise LoginRefused("this browser did not begin the login, or it took too long")
        if state in self._used:
            raise LoginRefused("the state was used before")
        self._used[state] = True
        return state, begun

    async def _code(self, request: web.Request) -> str:
        endpoints, issuer = await self._provider.endpoints(), self._provider.oidc.issuer
        issuers = request.query.getall("iss", [])
        if (issuers or endpoints.says_issuer) and issuers != [issuer]:
            raise LoginRefused("the answer is of another issuer")
        if "error" in request.query:
            raise LoginRefused(f"the issuer refused the login: {request.query['error'][:100]}")
        codes = request.query.getall("code", [])
        if len(codes) != 1 or not codes[0] or len(codes[0]) > _LONGEST_CODE:
            raise LoginRefused("the answer has no code")
        return codes[0]


def local_path(text: str) -> str:
    """Return a path of this server with its query, ``/`` for anything that could lead elsewhere."""
    if not _LOCAL_PATH.fullmatch(text) or text.startswith("/auth/"):
        return "/"
    return text


def _sent(location: str) -> web.Response:
    return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})


def _is_own(request: web.Request, url: str) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    return site == "same-origin" if site is not None else request.headers.get("Origin") == url
