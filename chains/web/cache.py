"""Pages that were made: as bytes, until the index or another source of them changes.

A page is kept for its address and for what its viewer may see, so nobody gets the page of somebody who may
see other namespaces. Time passes in some queries (``last:7d``), so no page is kept for long.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from chains.web.keys import FILES, SOURCE
from chains.web.viewer import VIEWER

MOST_BYTES: Final = 64 * 1024 * 1024
SECONDS: Final = 60.0
"""How long a page is kept."""
_LARGEST: Final = 2 * 1024 * 1024
Handler = Callable[[web.Request], Awaitable[web.Response]]
_Key = tuple[str, tuple[str, ...] | None, str]


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    content_type: str
    etag: str
    until: float


class PageCache:
    """The newest pages, of at most :data:`MOST_BYTES` together."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._size = 0
        self._pages: OrderedDict[_Key, _Kept] = OrderedDict()

    def get(self, key: _Key) -> _Kept | None:
        """Return a page that is still good."""
        found = self._pages.get(key)
        if found is None or found.until < time.monotonic():
            return None
        self._pages.move_to_end(key)
        return found

    def put(self, key: _Key, body: bytes, content_type: str) -> _Kept:
        """Keep a page, and return it with its ETag."""
        etag = hashlib.sha256(body).hexdigest()[:32]
        page = _Kept(body, content_type, etag, time.monotonic() + SECONDS)
        if len(body) <= _LARGEST:
            self._drop(key)
            self._pages[key] = page
            self._size += len(body)
            while self._size > self._most:
                self._drop(next(iter(self._pages)))
        return page

    def _drop(self, key: _Key) -> None:
        known = self._pages.pop(key, None)
        if known is not None:
            self._size -= len(known.body)


PAGES: Final = web.AppKey("pages", PageCache)


def cached(handler: Handler) -> Handler:
    """Return a handler that answers from the kept pages, and with 304 to who has the page."""

    async def answer(request: web.Request) -> web.Response:
        viewer = request[VIEWER]
        state = f"{await request.app[SOURCE].generation()} {await request.app[FILES].state()}"
        key = (request.raw_path, viewer.namespaces, state)
        pages = request.app[PAGES]
        page = pages.get(key)
        if page is None:
            response = await handler(request)
            body = response.body
            if response.status != web.HTTPOk.status_code or not isinstance(body, bytes):
                return response
            page = pages.put(key, body, response.headers["Content-Type"])
        headers = {"ETag": f'"{page.etag}"', "Cache-Control": "private, no-cache", "Vary": "Cookie"}
        if page.etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=web.HTTPNotModified.status_code, headers=headers)
        return web.Response(body=page.body, headers={"Content-Type": page.content_type, **headers})

    return answer
