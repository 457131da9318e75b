"""The controller as a process: composes watch, work and configuration, answers health, ends cleanly."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from chains.cluster import Cluster, find_access
from chains.controller import Controller
from chains.metrics import Metrics
from chains.observe import observe
from chains.reload import Reloader
from chains.worklist import WorkList

_DRAIN_SECONDS = 20.0
_STANDARD = frozenset(vars(logging.makeLogRecord({})))


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """What the command line says; see ``chains controller --help``."""

    kubeconfig: str
    system_namespace: str
    namespaces: Sequence[str]
    key_folder: Path
    workers: int
    retry_for: float
    health_port: int
    tekton_namespace: str


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message and what was passed as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        written: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        written |= {
            key: value for key, value in vars(record).items() if key not in _STANDARD and key[0] != "_"
        }
        if record.exc_info:
            written["error"] = self.formatException(record.exc_info)
        return json.dumps(written, default=str, ensure_ascii=False)


def log_to_stderr() -> None:
    """Send log lines of the controller to standard error; kopf tells only what goes wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


async def serve(options: ControllerOptions) -> None:
    """Run until SIGTERM or SIGINT; then finish the runs in work for up to 20 seconds."""
    access = find_access(options.kubeconfig)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Cluster(access) as cluster:
        reloader = Reloader(cluster, options.system_namespace, options.key_folder)
        await reloader.look()
        work, metrics = WorkList(lambda: reloader.flow.config.backlog_rate), Metrics()
        controller = Controller(
            cluster,
            work,
            lambda: reloader.flow,
            metrics,
            workers=options.workers,
            retry_for=options.retry_for,
            tekton_namespace=options.tekton_namespace,
        )
        watching = asyncio.Event()
        health = await _answer_health(options.health_port, reloader, watching, metrics, work)
        tasks = [
            asyncio.create_task(reloader.watch()),
            asyncio.create_task(_work_when_ready(reloader, controller)),
            asyncio.create_task(observe(access, work.offer, namespaces=options.namespaces, ready=watching)),
        ]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        tasks[2].cancel()
        await _drain(work)
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        await health.cleanup()


async def _work_when_ready(reloader: Reloader, controller: Controller) -> None:
    # without a configuration and a key nothing can be attested, and nothing must be marked
    await reloader.wait()
    await controller.run()


async def _drain(work: WorkList) -> None:
    try:
        await asyncio.wait_for(work.idle(), _DRAIN_SECONDS)
    except TimeoutError:
        logging.getLogger("chains.serve").warning("runs were left in work; the next start goes on with them")


async def _answer_health(
    port: int, reloader: Reloader, watching: asyncio.Event, metrics: Metrics, work: WorkList
) -> web.AppRunner:
    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if reloader.refused:
            return web.Response(status=503, text=f"configuration refused: {reloader.refused}\n")
        if not watching.is_set():
            return web.Response(status=503, text="the watch has not started\n")
        return web.Response(text="ok\n")

    async def tell(_: web.Request) -> web.Response:
        metrics.backlog.set(len(work))
        metrics.oldest.set(work.oldest)
        metrics.config_refused.set(bool(reloader.refused))
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", tell)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
