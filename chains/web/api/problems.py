"""Every error of the API as problem details (RFC 9457), in words that say the next step and no more."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from chains.errors import ChainsError, UsageError
from chains.index.errors import IndexAbsent, IndexUnavailable
from chains.index.query.reader import QueryTooSlow
from chains.text import excerpt, told
from chains.web.access.gate import API
from chains.web.api.shapes import PROBLEMS, Problem
from chains.web.api.written import plain
from chains.web.shares import TooBusy
from chains.web.trouble import of_index, write

CONTENT_TYPE: Final = "application/problem+json"
NOT_THERE: Final = "there is nothing with this name, or you may not see it"
"""One text for what is not there and for what may not be seen."""
_LONGEST: Final = 500
_TITLES: Final = {
    400: ("wrong-request", "The request cannot be understood"),
    401: ("unknown-viewer", "Nobody is logged in"),
    403: ("not-permitted", "You may not see this"),
    404: ("not-there", "Not there"),
    405: ("wrong-method", "The API only reads: use GET"),
    421: ("wrong-host", "This server has another name"),
    429: ("too-many-requests", "Too many requests"),
    500: ("fault", "A fault of the server"),
    503: ("unavailable", "Not available now"),
}
_BUSY_SECONDS: Final = 5
_log = logging.getLogger("chains.web")


def problem(status: int, detail: str, kind: str = "") -> web.Response:
    """Return the answer with what went wrong."""
    name, title = _TITLES.get(status, ("error", "The request cannot be answered"))
    found = Problem(f"{PROBLEMS}{kind or name}", title, status, excerpt(told(detail), _LONGEST))
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    return web.Response(body=orjson.dumps(plain(found)), status=status, headers=headers)


def problems() -> Middleware:
    """Return the middleware that turns errors of the API into problem details."""

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not request.path.startswith(API):
            return await handler(request)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _of_http(error)
        except ChainsError as error:
            return _of_error(error)
        except Exception:  # noqa: BLE001 - whatever fails is told by its number alone
            number = secrets.token_hex(4)
            _log.exception("an answer could not be made", extra={"fault": number, "path": told(request.path)})
            return problem(500, f"fault number {number}: the server's log says more under this number")

    return middleware


def _of_http(error: web.HTTPException) -> web.Response:
    detail = NOT_THERE if isinstance(error, web.HTTPNotFound) else (error.text or error.reason).strip()
    answer = problem(error.status, detail)
    for name in ("Allow", "Retry-After", "WWW-Authenticate"):
        if name in error.headers:
            answer.headers[name] = error.headers[name]
    return answer


def _of_error(error: ChainsError) -> web.Response:
    if isinstance(error, UsageError):
        return problem(400, str(error))
    if isinstance(error, QueryTooSlow):
        return problem(503, str(error), "too-slow")
    if isinstance(error, TooBusy):
        answer = problem(503, str(error), "busy")
        answer.headers["Retry-After"] = str(_BUSY_SECONDS)
        return answer
    write(error)
    if isinstance(error, IndexAbsent | IndexUnavailable):
        return problem(503, of_index(error), "no-index")
    return problem(500, "the answer could not be made: the server's log says more")
