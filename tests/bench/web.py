"""``python3 dev.py bench web``: what pages cost on a synthetic index, and how many pages of artifacts are answered.

All figures are processor time, so that other work on the machine changes them little. Each page is asked for with
other values each time, so that none is kept. Pages of artifacts are then asked for again and again, as readers do;
that figure is of the server's process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from chains.index.database import place_of
from chains.web.application import application
from chains.web.settings import WebSettings
from chains.web.source import Source
from chains.web.viewer import LOCAL, VIEWER, Viewer
from tests.bench.index_rows import BASE_IMAGE, NAMESPACES, digest_of, fill, uid_of
from tests.testbed.ports import free_ports

ASKED = 40
"""Requests of each kind, with random values."""
ARTIFACTS, REQUESTS, AT_ONCE = 200, 6_000, 16
_SECONDS = 30
_NEXT = "type:provenance level:enforced"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench web", description=__doc__)
    parser.add_argument("-n", type=int, default=100_000, help="attestations of the synthetic index")
    parser.add_argument("--index", default="", help="an index of the same rows that is there already")
    parser.add_argument(
        "--requests", type=int, default=REQUESTS, help="pages of artifacts that are asked for"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.index or f"{folder}/index.db")
        if not options.index:
            fill(path, options.n)
        for name, found in pages(path, options.n):
            tell(
                f"{name}: p50 / p95", f"{found[len(found) // 2]:.1f} / {found[int(len(found) * 0.95)]:.1f} ms"
            )
        artifacts(path, options.n, options.requests)
    return 0


def tell(what: str, figure: str) -> None:
    print(f"{what:56} {figure}", flush=True)


def kinds(attestations: int) -> dict[str, Callable[[random.Random], str]]:
    """Return how the path of each kind of page is made."""
    runs = attestations // 2

    def artifact(chance: random.Random) -> str:
        return f"/artifact/sha256/{digest_of(f'subject {chance.randrange(runs)} 0').hex()}"

    return {
        "overview": lambda chance: (
            f"/?days=30&until=2026-0{1 + chance.randrange(5)}-{10 + chance.randrange(18)}"
        ),
        "overview of a year": lambda chance: f"/?days={340 + chance.randrange(60)}",
        "search of everything": lambda chance: f"/search?limit={40 + chance.randrange(20)}",
        "search of a namespace": lambda chance: f"/search?q=namespace:ns-{chance.randrange(NAMESPACES)}",
        "search of a type and a level": lambda chance: (
            f"/search?q={_NEXT}+namespace:ns-{chance.randrange(40)}"
        ),
        "search that finds nothing": lambda chance: f"/search?q=name:nothing-{chance.randrange(10**9)}",
        "artifact": artifact,
        "run": lambda chance: f"/run/{uid_of(chance.randrange(runs))}",
        "attestation": lambda chance: (
            f"/attestation/sha256/{digest_of(f'attestation {1 + chance.randrange(attestations)}').hex()}"
        ),
        "commit": lambda chance: f"/commit/{digest_of(f'commit {chance.randrange(runs)}')[:20].hex()}",
        "base image of most builds": lambda chance: f"/input/sha256/{BASE_IMAGE.hex()}?x={chance.random()}",
        "pipeline": lambda chance: f"/pipeline/pipeline-{chance.randrange(400)}",
        "namespace": lambda chance: f"/namespace/ns-{chance.randrange(NAMESPACES)}",
        "signer": lambda chance: f"/signer/SHA256:signer-{chance.randrange(12)}?x={chance.random()}",
        "signers": lambda chance: f"/signers?x={chance.random()}",
        "gaps": lambda chance: f"/gaps?x={chance.random()}",
    }


def pages(path: Path, attestations: int) -> Iterator[tuple[str, list[float]]]:
    """Yield the milliseconds of processor time of each kind of page, sorted; for all, and for three namespaces."""
    chance = random.Random(7)
    for label, viewer in (("", LOCAL), (", three namespaces", Viewer("x", ("ns-0", "ns-7", "ns-40")))):
        for name, make in kinds(attestations).items():
            yield name + label, asyncio.run(_page(path, [make(chance) for _ in range(ASKED)], viewer))


async def _page(path: Path, paths: Sequence[str], viewer: Viewer) -> list[float]:
    place = place_of(str(path))
    source = Source(place)
    app = application(source, WebSettings(place), viewers=[_seen(viewer)])
    app.freeze()
    took = []
    try:
        await _ask(app, paths[0])
        for one in paths:
            gc.collect()
            began = time.process_time()
            await _ask(app, one)
            took.append((time.process_time() - began) * 1000)
    finally:
        await source.close()
    return sorted(took)


def _seen(viewer: Viewer) -> object:
    @web.middleware
    async def middleware(request: web.Request, handler: object) -> object:
        request[VIEWER] = viewer
        return await handler(request)  # type: ignore[operator]

    return middleware


async def _ask(app: web.Application, path: str) -> None:
    request = make_mocked_request("GET", path, app=app)
    info = await app.router.resolve(request)
    request._match_info = info
    info.add_app(app)
    response = await app._handle(request)
    if response.status not in {200, 404}:
        raise RuntimeError(f"{path}: {response.status}")


def artifacts(path: Path, attestations: int, requests: int) -> None:
    """Measure a server that is asked for pages of artifacts again and again."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "chains", "web", "--index", str(path), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        spent = asyncio.run(_spent(port, process.pid, attestations, requests))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_SECONDS)
    tell("pages of artifacts for each second of a processor", f"{requests / spent:.0f}")


async def _spent(port: int, pid: int, attestations: int, requests: int) -> float:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        await _ready(session)
        runs = attestations // 2
        paths = [f"/artifact/sha256/{digest_of(f'subject {n % runs} 0').hex()}" for n in range(ARTIFACTS)]
        await _all(session, paths)
        before = _cpu(pid)
        await _all(session, [paths[n % ARTIFACTS] for n in range(requests)])
        return _cpu(pid) - before


async def _ready(session: aiohttp.ClientSession) -> None:
    for _ in range(_SECONDS * 10):
        try:
            async with session.get("/about") as answer:
                if answer.status == web.HTTPOk.status_code:
                    return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)
    raise RuntimeError("the server does not answer")


async def _all(session: aiohttp.ClientSession, paths: Sequence[str]) -> None:
    waiting = list(paths)

    async def work() -> None:
        while waiting:
            async with session.get(waiting.pop()) as answer:
                await answer.read()
                if answer.status != web.HTTPOk.status_code:
                    raise RuntimeError(f"{answer.url}: {answer.status}")

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
