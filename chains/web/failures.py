"""What goes wrong, as a page that says what to do next. Paths of the API answer for themselves."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from chains.errors import ChainsError, UsageError
from chains.index.errors import IndexAbsent, IndexUnavailable
from chains.index.query.reader import QueryTooSlow
from chains.text import told
from chains.web.pages.page import failure_page
from chains.web.shares import TooBusy
from chains.web.static_files import STATIC
from chains.web.trouble import of_index, told_to

API: Final = "/api/"
_log = logging.getLogger("chains.web")
_BAD, _MISSING, _BUSY, _FAULT = 400, 404, 503, 500


def failures() -> Middleware:
    """Return the middleware that turns errors into pages."""

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if request.path.startswith((API, STATIC)) or error.status != _MISSING:
                raise
            return failure_page(
                request,
                _MISSING,
                "No such page",
                "There is no page at this address, or you may not see it.",
                "Search for a digest, a commit, a run or a name.",
            )
        except ChainsError as error:
            if request.path.startswith(API):
                raise
            return _of_error(request, error)
        except Exception:
            if request.path.startswith(API):
                raise
            number = secrets.token_hex(4)
            _log.exception("a page could not be made", extra={"fault": number, "path": told(request.path)})
            return failure_page(
                request,
                _FAULT,
                "This page could not be made",
                f"A fault of chains web, number {number}.",
                "Its log says more under this number.",
            )

    return middleware


def _of_error(request: web.Request, error: ChainsError) -> web.Response:
    if isinstance(error, IndexAbsent):
        text = told_to(request, error, f"{of_index(error)}.")
        return failure_page(
            request,
            _BUSY,
            "The index is not built",
            text,
            "Build it with chains index build, and load this page again.",
        )
    if isinstance(error, QueryTooSlow):
        return failure_page(
            request, _BUSY, "The search took too long", told(str(error)), "Add a term that fits fewer."
        )
    if isinstance(error, IndexUnavailable):
        return failure_page(
            request,
            _BUSY,
            "The index cannot be read",
            told_to(request, error, f"{of_index(error)}."),
            "Try again in a minute. The log of chains web says more.",
        )
    if isinstance(error, TooBusy):
        answer = failure_page(request, _BUSY, "Too many requests", told(str(error)), "Load this page again.")
        answer.headers["Retry-After"] = "5"
        return answer
    if isinstance(error, UsageError):
        return failure_page(
            request,
            _BAD,
            "This request cannot be understood",
            told(str(error)),
            "About and help lists what a query takes.",
        )
    text = told_to(request, error, "What it is made from cannot be read.")
    return failure_page(
        request,
        _FAULT,
        "This page could not be made",
        text,
        "Try again in a minute. The log of chains web says more.",
    )
