"""The application: routes of pages, headers of every answer, and the order of what a request passes.

``viewers`` are the middlewares that decide who looks; the last of them sets ``request[VIEWER]``. Without any,
everybody on this machine sees everything, and nobody else sees anything. ``extend`` are functions that add
routes, such as those of the HTTP API. They find the data in ``application[SOURCE]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from chains.web.cache import PAGES, PageCache
from chains.web.failures import failures
from chains.web.files.beside import Files
from chains.web.keys import FILES, SETTINGS, SOURCE
from chains.web.pages import routes
from chains.web.render.environment import environment
from chains.web.settings import WebSettings
from chains.web.source import Source
from chains.web.static_files import add_static
from chains.web.viewer import local_viewer

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere, and nothing in a page runs: one script and one style of our own."""
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer."""
_LARGEST_BODY: Final = 64 * 1024


def application(
    source: Source,
    settings: WebSettings,
    *,
    viewers: Sequence[Middleware] = (),
    extend: Sequence[Callable[[web.Application], None]] = (),
) -> web.Application:
    """Return the application. It only reads: no route changes anything that is evidence."""
    environment()  # a template that cannot be compiled is an error now
    found = web.Application(
        middlewares=[failures(), *(viewers or (local_viewer(),))], client_max_size=_LARGEST_BODY
    )
    found[SOURCE] = source
    found[SETTINGS] = settings
    found[FILES] = Files(settings)
    found[PAGES] = PageCache()
    routes.add(found)
    add_static(found)
    for one in extend:
        one(found)
    found.on_response_prepare.append(_add_headers)
    return found


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
