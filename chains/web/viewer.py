"""Who looks, and what they may see. Access control replaces :func:`local_viewer`."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who reads. ``namespaces`` are those that they may see; None: all of the index."""

    name: str
    namespaces: tuple[str, ...] | None

    @property
    def sees_all(self) -> bool:
        """Whether nothing is hidden from them."""
        return self.namespaces is None

    def sees(self, namespace: str) -> bool:
        """Whether they may see what belongs to a namespace. What is read by SQL is narrowed there."""
        return self.namespaces is None or namespace in self.namespaces


VIEWER: Final = web.RequestKey("viewer", Viewer)
"""Where a middleware puts the viewer of a request. A page without one is a fault, never open to all."""
LOCAL: Final = Viewer("local user", None)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address or host name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def local_viewer() -> Middleware:
    """Return the middleware for one's own machine: whoever connects from it sees everything.

    A request for another host name is refused: a page of the web could lead its own name to this machine and
    read the answers in the user's browser (DNS rebinding).
    """

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        if not peer or not is_loopback(str(peer[0])):
            raise web.HTTPForbidden(text="only this machine may read: configure access to allow others\n")
        if host_of(request.headers.get("Host", "")) not in _LOCAL_NAMES:
            raise web.HTTPMisdirectedRequest(text="expected the host localhost or 127.0.0.1\n")
        request[VIEWER] = LOCAL
        return await handler(request)

    return middleware


def host_of(header: str) -> str:
    """Return the host of a ``Host`` header in lower case, without its port."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
