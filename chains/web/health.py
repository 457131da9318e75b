"""The health port: ``/healthz``, ``/readyz`` and ``/metrics``, on plain HTTP and for anybody who reaches it.

Nothing here says who looked, or what an index has.
"""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from chains.errors import ChainsError
from chains.web.access.metrics import AccessMetrics
from chains.web.source import Source
from chains.web.trouble import of_index, write


def health_application(source: Source, metrics: AccessMetrics) -> web.Application:
    """Return the application of the health port. It is ready while the index can be read."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        try:
            await source.check()
        except ChainsError as error:
            # anybody may ask here
            write(error)
            return web.Response(status=503, text=f"no index can be read: {of_index(error)}\n")
        return web.Response(text="ok\n")

    async def tell(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    found = web.Application()
    found.add_routes([web.get("/healthz", live), web.get("/readyz", ready), web.get("/metrics", tell)])
    return found
