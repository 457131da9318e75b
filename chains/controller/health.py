"""The health port: ``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from chains.controller.metrics import Metrics
from chains.controller.reload import Reloader
from chains.controller.shares import Shares
from chains.controller.work.worklist import WorkList
from chains.text import told
from storage.limits.circuits import Circuits


@dataclass(frozen=True, slots=True)
class State:
    """The parts of the controller that the answers are about."""

    reloader: Reloader
    watching: asyncio.Event
    metrics: Metrics
    work: WorkList
    shares: Shares
    circuits: Circuits


async def answer_health(port: int, state: State) -> web.AppRunner:
    """Answer ``/livez``, ``/readyz`` and ``/metrics`` on ``port`` until what is returned is cleaned up."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if state.reloader.refused:
            return web.Response(status=503, text=f"configuration refused: {told(state.reloader.refused)}\n")
        if state.reloader.trouble:
            return web.Response(status=503, text=f"{told(state.reloader.trouble)}\n")
        if not state.watching.is_set():
            return web.Response(status=503, text="the watch has not started\n")
        return web.Response(text="ok\n")

    async def tell(_: web.Request) -> web.Response:
        state.metrics.backlog.set(len(state.work))
        state.metrics.slow.set(state.work.slow)
        state.metrics.silent.set(state.circuits.open)
        state.metrics.oldest.set(state.work.oldest)
        state.metrics.config_refused.set(bool(state.reloader.refused))
        state.metrics.stores_closed.set(state.reloader.closed_stores)
        state.metrics.shares.set(state.shares.count)
        state.metrics.shares_held.set(len(state.shares.held))
        return web.Response(body=state.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", tell)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
