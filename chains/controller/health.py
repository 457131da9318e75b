"""The health port: ``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from chains.controller.metrics import Metrics
from chains.controller.reload import Reloader
from chains.controller.shares import Shares
from chains.controller.work.worklist import WorkList
from chains.text import told
from storage.limits.circuits import Circuits


async def answer_health(
    port: int,
    reloader: Reloader,
    watching: asyncio.Event,
    metrics: Metrics,
    work: WorkList,
    shares: Shares,
    circuits: Circuits,
) -> web.AppRunner:
    """Answer ``/livez``, ``/readyz`` and ``/metrics`` on ``port`` until what is returned is cleaned up."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if reloader.refused:
            return web.Response(status=503, text=f"configuration refused: {told(reloader.refused)}\n")
        if reloader.trouble:
            return web.Response(status=503, text=f"{told(reloader.trouble)}\n")
        if not watching.is_set():
            return web.Response(status=503, text="the watch has not started\n")
        return web.Response(text="ok\n")

    async def tell(_: web.Request) -> web.Response:
        metrics.backlog.set(len(work))
        metrics.slow.set(work.slow)
        metrics.silent.set(circuits.open)
        metrics.oldest.set(work.oldest)
        metrics.config_refused.set(bool(reloader.refused))
        metrics.stores_closed.set(reloader.closed_stores)
        metrics.shares.set(shares.count)
        metrics.shares_held.set(len(shares.held))
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", tell)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
