"""``python3 dev.py bench admission``: reviews a second, latency and memory of ``chains admission`` over TLS.

A local registry has images and the evidence about them. ``first`` asks about each image for the first time,
one after another; ``kept`` asks again over a number of connections that stay open, as the API server does;
``distinct`` asks about images that are in no registry, each once, and tells how the memory grows. Server,
registry and load share the processors. The benchmark exits with 1 if an answer is not the expected one.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import orjson

from tests.bench.attest import CHAINS
from tests.bench.preflight import NAME, digest_of, pod, prepared
from tests.bench.workload import hexdigest, manifest
from tests.testbed.certificates import make_certificates
from tests.testbed.ports import free_ports

Json = Any
PATH = "/validate?timeout=10s"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server of admission."""

    process: subprocess.Popen[bytes]
    port: int
    health: int
    tls: ssl.SSLContext

    @property
    def processes(self) -> list[int]:
        """The first process and the others."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    @property
    def cpu(self) -> float:
        """The processor time of all processes, in seconds."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.processes]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / _TICKS

    @property
    def memory(self) -> float:
        """The resident memory of all processes, in MB."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextmanager
def serving(folder: Path, processes: int) -> Iterator[Server]:
    """Run the server with the policy of a folder, until it is ready."""
    certificates = make_certificates(folder / "certificates")
    tls = folder / "tls"
    tls.mkdir()
    certificates.cert_file.rename(tls / "tls.crt")
    certificates.key_file.rename(tls / "tls.key")
    port, health = free_ports(2)
    command = [
        CHAINS, "admission", "policy.json", "--certificates", "tls", "--host", "127.0.0.1", "--port", str(port),
        "--health-port", str(health), "--no-cluster", "--linger-seconds", "0", "--processes", str(processes),
    ]  # fmt: skip
    with (folder / "admission.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stderr=log)
    try:
        _wait(health, process)
        yield Server(process, port, health, ssl.create_default_context(cafile=str(certificates.ca_file)))
    finally:
        process.terminate()
        process.wait(60)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    sys.exit("the server of admission does not become ready")


def review(number: int, reference: str) -> bytes:
    """Return a request about a new pod of about 4 kB, as the API server sends it."""
    made: Json = pod(number, 1, "unused.example.com/none")
    made["spec"]["containers"][0]["image"] = reference
    del made["status"]
    body = orjson.dumps(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": f"review-{number}",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "name": made["metadata"]["name"],
                "namespace": made["metadata"]["namespace"],
                "operation": "CREATE",
                "userInfo": {"username": "bench"},
                "object": made,
                "oldObject": None,
                "dryRun": False,
                "options": None,
            },
        }
    )
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def load(
    server: Server, requests: Sequence[bytes], connections: int, *, allowed: bool, rate: float = 0
) -> tuple[float, list[float]]:
    """Send all requests over as many connections; return the seconds in all, and those of each request.

    With a ``rate``, so many are due each second, and the time of each counts from when it was due: a
    request that waits for a connection is not faster for that. Without one, each connection sends the next
    request as soon as it has an answer.
    """
    waiting, taken = enumerate(requests), []
    links = [
        await asyncio.open_connection("127.0.0.1", server.port, ssl=server.tls) for _ in range(connections)
    ]
    word = b'"allowed":true' if allowed else b'"allowed":false'

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, request in waiting:
            sent = time.perf_counter()
            if rate:
                due = began + number / rate
                await asyncio.sleep(max(due - sent, 0))
                sent = due
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            taken.append(time.perf_counter() - sent)
            if not head.startswith(b"http/1.1 200") or word not in body:
                sys.exit(f"expected {word.decode()}, got {head[:20]!r} {body[:400]!r}")

    began = time.perf_counter()
    await asyncio.gather(*(work(reader, writer) for reader, writer in links))
    seconds = time.perf_counter() - began
    for _, writer in links:
        writer.close()
        await writer.wait_closed()
    return seconds, taken


def _told(taken: Sequence[float]) -> str:
    ordered = sorted(taken)
    parts = (
        (name, ordered[min(int(len(ordered) * part), len(ordered) - 1)])
        for name, part in (("p95", 0.95), ("p99", 0.99))
    )
    return ", ".join(
        f"{name} {value * 1000:.1f} ms" for name, value in (("median", statistics.median(ordered)), *parts)
    )  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Measure and print a line for each case."""
    parser = argparse.ArgumentParser(prog="dev.py bench admission", description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--reviews", type=int, default=20_000)
    parser.add_argument("--distinct", type=int, default=25_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--connections", default="16,200")
    parser.add_argument("--rate", type=int, default=1000, help="reviews that are due each second")
    options = parser.parse_args(arguments)
    print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, "
        f"{options.processes} processes of admission"
    )
    with prepared(options.images) as (folder, registry), serving(folder, options.processes) as server:
        place = f"{registry.host}/{NAME}"
        known = [review(number, f"{place}@{digest_of(manifest(number))}") for number in range(options.images)]
        before = server.cpu
        _, taken = asyncio.run(load(server, known, 1, allowed=True))
        spent = (server.cpu - before) / len(known) * 1000
        print(
            f"first: {len(known)} images, {_told(taken)}, {spent:.1f} ms of CPU each; {server.memory:.0f} MB"
        )
        for connections, rate in itertools.product(
            map(int, options.connections.split(",")), (0, options.rate)
        ):
            requests = (known * (options.reviews // len(known) + 1))[: options.reviews]
            asyncio.run(load(server, requests[: 50 * connections], connections, allowed=True))
            before = server.cpu
            seconds, taken = asyncio.run(load(server, requests, connections, allowed=True, rate=rate))
            spent = (server.cpu - before) / len(requests) * 1e6
            due = f", {rate} due each second" if rate else ""
            print(
                f"kept: {connections} connections{due}, {len(requests) / seconds:.0f} reviews/s, {_told(taken)}, "
                f"{spent:.0f} µs of CPU each; {server.memory:.0f} MB"
            )
        for part in range(4):
            begin, end = part * options.distinct // 4, (part + 1) * options.distinct // 4
            strange = [review(at, f"{place}@sha256:{hexdigest(f'strange {at}')}") for at in range(begin, end)]
            seconds, _ = asyncio.run(load(server, strange, 16, allowed=False))
            print(
                f"distinct: {end} images without evidence, {len(strange) / seconds:.0f}/s, {server.memory:.0f} MB"
            )
    return 0
