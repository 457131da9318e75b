"""The browser as a process: it opens the index, answers until a signal, and ends cleanly.

Several processes share the port: the kernel gives each connection to one of them. If one ends, all end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from chains.errors import UsageError
from chains.web.keys import HEALTH
from chains.web.settings import WebSettings
from chains.web.source import Source
from chains.web.viewer import is_loopback

_DRAIN_SECONDS: Final = 10.0
_log = logging.getLogger("chains.web")
Build = Callable[[Source], web.Application]


def run(settings: WebSettings, build: Build, *, has_access: bool = False) -> int:
    """Serve in as many processes as the settings say. Returns the exit code.

    ``build`` makes the application. ``has_access`` says whether it asks who looks. Raises
    :class:`UsageError` for an address that others reach while it does not.
    """
    check_address(settings.host, has_access=has_access)
    if settings.processes == 1:
        return asyncio.run(serve(settings, build))
    children: list[int] = []
    for _ in range(settings.processes):
        pid = os.fork()
        if not pid:
            _end_with(settings, build)
        children.append(pid)
    return _wait(children)


def check_address(host: str, *, has_access: bool) -> None:
    """Raise :class:`UsageError` for an address that others reach while nobody is asked who they are."""
    if not has_access and not is_loopback(host):
        raise UsageError(
            f"--host {host}: others reach this address, and nobody is asked who they are: pass --access FILE "
            "(see docs/access.md), or leave --host out"
        )


async def serve(settings: WebSettings, build: Build) -> int:
    """Run until SIGTERM or SIGINT; then answer what is under way. Returns the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    source = Source(settings.index, settings.store_options)
    answering = build(source)
    runner = web.AppRunner(answering, access_log=None, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    health = await _health(answering, settings)
    try:
        await web.TCPSite(
            runner, settings.host, settings.port, reuse_port=settings.processes > 1 or None
        ).start()
        _log.info("web answers", extra={"host": settings.host, "port": settings.port})
        await stop.wait()
    finally:
        await runner.cleanup()
        if health is not None:
            await health.cleanup()
        await source.close()
    return 0


async def _health(answering: web.Application, settings: WebSettings) -> web.AppRunner | None:
    if not settings.health_port or HEALTH not in answering:
        return None
    runner = web.AppRunner(answering[HEALTH], access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.health_port).start()
    return runner


def _end_with(settings: WebSettings, build: Build) -> None:
    """Serve in a new process and end it, without what the first process does at its end."""
    code = 1
    try:
        code = asyncio.run(serve(settings, build))
    except BaseException:  # noqa: BLE001 - nothing may reach the code of the first process
        _log.exception("the process failed")
    finally:
        logging.shutdown()
        os._exit(code)


def _wait(children: Sequence[int]) -> int:
    """Wait until one process ends, end the others, and return the worst exit code."""

    def end(*_: object) -> None:
        for child in left:
            os.kill(child, signal.SIGTERM)

    left = set(children)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    worst = 0
    while left:
        pid, status = os.wait()
        left.discard(pid)
        worst = max(worst, abs(os.waitstatus_to_exitcode(status)))
        end()
    return worst
