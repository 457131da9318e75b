"""The load of ``dev.py bench admission``: reviews as an API server sends them, and what a server takes for them."""

from __future__ import annotations

import asyncio
import os
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.bench.preflight import pod

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


def review(number: int, reference: str, path: str = PATH) -> bytes:
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
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
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


def told(taken: Sequence[float]) -> str:
    """Return median, p95 and p99 of seconds as milliseconds."""
    ordered = sorted(taken)
    parts = (
        (name, ordered[min(int(len(ordered) * part), len(ordered) - 1)])
        for name, part in (("p95", 0.95), ("p99", 0.99))
    )
    return ", ".join(
        f"{name} {value * 1000:.1f} ms" for name, value in (("median", statistics.median(ordered)), *parts)
    )  # fmt: skip
