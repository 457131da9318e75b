"""A proxy between a client and a real registry that forwards everything, and misbehaves on request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
Change = Callable[[web.Request, bytes], bytes]
_KEPT = (
    "Content-Type",
    "Docker-Content-Digest",
    "OCI-Subject",
    "Location",
    "ETag",
    "Link",
    "OCI-Filters-Applied",
)


async def nothing(_: web.Request) -> None:
    """The fault that forwards everything."""


@dataclass
class RegistryProxy:
    """``fault`` may answer a request itself; ``change`` may change the registry's answer."""

    target: str
    """``http://HOST:PORT`` of the registry."""
    host: str = ""
    fault: Fault = nothing
    change: Change = field(default=lambda _, body: body)
    seen: list[str] = field(default_factory=list)
    """Method and path of every request."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.seen.append(f"{request.method} {request.raw_path}")
        if (answer := await self.fault(request)) is not None:
            return answer
        headers = {
            name: request.headers[name] for name in ("Accept", "Content-Type") if name in request.headers
        }
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                self.target + request.raw_path,
                data=await request.read(),
                headers=headers,
                allow_redirects=False,
            ) as reply,
        ):
            body = self.change(request, await reply.read())
            kept = {name: reply.headers[name] for name in _KEPT if name in reply.headers}
            if "Location" in kept:
                kept["Location"] = kept["Location"].replace(self.target, f"http://{self.host}")
            if request.method == "HEAD":
                kept["Content-Length"] = reply.headers.get("Content-Length", "0")
            return web.Response(status=reply.status, body=body, headers=kept)


@asynccontextmanager
async def registry_proxy(target: str) -> AsyncIterator[RegistryProxy]:
    """Run a proxy in front of the registry at ``target``, in this event loop."""
    proxy = RegistryProxy(target)
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        proxy.host = f"127.0.0.1:{port}"
        yield proxy
    finally:
        await runner.cleanup()


@contextmanager
def proxy_in_thread(target: str) -> Iterator[RegistryProxy]:
    """Run the proxy of a registry beside the test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    around = registry_proxy(target)
    try:
        yield asyncio.run_coroutine_threadsafe(around.__aenter__(), loop).result(60)
    finally:
        asyncio.run_coroutine_threadsafe(around.__aexit__(None, None, None), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
