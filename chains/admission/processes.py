"""Several processes on one port: the kernel gives each connection to one of them.

Each process has its own policies and connections. This one keeps the answers of all, and has the health port:
it is ready if all of them are, and its metrics are those of all, with a label for the process. If one ends,
all end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from chains.admission.answers import MOST_KEPT, MOST_PULLED
from chains.admission.sharing.keeper import Keeper
from chains.text import told

_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_LONGEST_END = 60.0
"""Seconds after which a process that was told to end is killed."""
_log = logging.getLogger("chains.admission")


@dataclass(frozen=True, slots=True)
class Part:
    """What one of several processes gets: its listener for health checks, and when to end.

    ``parent`` is the end of a pipe that reads as closed when the first process is gone. ``answers`` leads to
    the first process, which keeps the answers of all. ``key`` is a secret of all of them, made anew at each
    start.
    """

    health: socket.socket
    parent: int
    answers: socket.socket
    key: bytes


@dataclass(slots=True)
class _Child:
    number: int
    pid: int
    url: str
    answers: socket.socket
    code: int | None = None

    def look(self) -> None:
        """Find out whether the process has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)

    def signal(self, number: int) -> None:
        if self.code is None:
            os.kill(self.pid, number)


def run_processes(count: int, work: Callable[[Part], int], health_port: int) -> int:
    """Run ``work`` in as many processes until SIGTERM, SIGINT or the end of one; return the exit code."""
    read_end, write_end = os.pipe()
    children: list[_Child] = []
    key = os.urandom(32)
    for number in range(count):
        ours, theirs = socket.socketpair()
        listener = socket.create_server(("127.0.0.1", 0))
        url = "http://127.0.0.1:{1}".format(*listener.getsockname())
        pid = os.fork()
        if not pid:
            os.close(write_end)
            for end in (ours, *(child.answers for child in children)):
                end.close()
            _end_with(work, Part(listener, read_end, theirs, key))
        listener.close()
        theirs.close()
        children.append(_Child(number, pid, url, ours))
    os.close(read_end)
    try:
        return asyncio.run(_supervise(children, health_port))
    finally:
        os.close(write_end)
        for child in children:
            child.look()
            child.signal(signal.SIGKILL)


def _end_with(work: Callable[[Part], int], part: Part) -> None:
    """Run the work of a new process and end it, without what the first process does at its end."""
    code = 1
    try:
        code = work(part)
    except BaseException:  # noqa: BLE001 - nothing may reach the code of the first process
        _log.exception("the process failed")
    finally:
        logging.shutdown()  # writes what is still held
        os._exit(code)


async def _supervise(children: Sequence[_Child], health_port: int) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    keeper = Keeper(MOST_KEPT, MOST_PULLED)
    serving = [asyncio.create_task(keeper.serve(child.number, child.answers)) for child in children]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS)) as session:
        runner = web.AppRunner(_health(children, session), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, port=health_port).start()
            while not stop.is_set() and all(child.code is None for child in children):
                await _pause(stop)
                for child in children:
                    child.look()
            is_asked = stop.is_set()
            await _end(children)
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await runner.cleanup()
    for child in children:
        if child.code:
            _log.error("a process ended", extra={"number": child.number, "code": child.code})
    return 0 if is_asked and not any(child.code for child in children) else 1


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            await stop.wait()
    except TimeoutError:
        return


async def _end(children: Sequence[_Child]) -> None:
    """Ask every process to end, and kill those that do not."""
    for child in children:
        child.signal(signal.SIGTERM)
    deadline = asyncio.get_running_loop().time() + _LONGEST_END
    while any(child.code is None for child in children):
        if asyncio.get_running_loop().time() > deadline:
            for child in children:
                child.signal(signal.SIGKILL)
        await asyncio.sleep(_LOOK_SECONDS)
        for child in children:
            child.look()


def _health(children: Sequence[_Child], session: aiohttp.ClientSession) -> web.Application:
    async def ask(child: _Child, path: str) -> tuple[int, str]:
        try:
            async with session.get(child.url + path) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return (
                503,
                f"process {child.number} does not answer: {told(str(error) or type(error).__name__)}\n",
            )

    async def all_of(request: web.Request) -> web.Response:
        for status, text in await asyncio.gather(*(ask(child, request.path) for child in children)):
            if status != 200:  # noqa: PLR2004
                return web.Response(status=status, text=text)
        return web.Response(text="ok\n")

    async def metrics(_: web.Request) -> web.Response:
        found = await asyncio.gather(*(ask(child, "/metrics") for child in children))
        texts = {
            str(child.number): text
            for child, (status, text) in zip(children, found, strict=True)
            if status == 200  # noqa: PLR2004
        }
        registry = CollectorRegistry()
        registry.register(Together(texts))
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    found = web.Application()
    found.add_routes([web.get("/livez", all_of), web.get("/readyz", all_of), web.get("/metrics", metrics)])
    return found


class Together(Collector):
    """The metrics of several processes, by their texts: each sample with a label for its process."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        """Give each metric once, with the samples of all processes."""
        found: dict[str, Metric] = {}
        for process, text in self._texts.items():
            for family in text_string_to_metric_families(text):
                whole = found.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type, family.unit)
                )
                whole.samples += [
                    sample._replace(labels={**sample.labels, "process": process}) for sample in family.samples
                ]
        yield from found.values()
