"""A TCP balancer on loopback that sends connections to servers whose health check is good, as a Service does.

It stands for kube-proxy and readiness probes, which need a node. A connection stays with its server until one side
ends it; when the server's side ends, so does the client's. A server that does not take a connection is passed over.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

INTERVAL = 0.1
"""Seconds between two health checks."""
_CHUNK = 65536


class Balancer:
    """Forwards connections to ``servers``: the port of each, and the port where ``/readyz`` says if it is ready."""

    def __init__(self, servers: Sequence[tuple[int, int]]) -> None:
        self._servers = list(servers)
        self._turn = 0
        self.port = 0
        self.ready: set[int] = set()
        """Ports of the servers that new connections go to."""
        self.connections: Counter[int] = Counter()
        """Open connections, by the port of the server."""
        self.ended: Counter[int] = Counter()
        """Connections that the server ended, by its port."""

    async def run(self, started: threading.Event, stop: asyncio.Event) -> None:
        """Forward until ``stop`` is set."""
        listener = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        checks = [asyncio.create_task(self._check(*server)) for server in self._servers]
        started.set()
        await stop.wait()
        listener.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    async def _check(self, port: int, health: int) -> None:
        while True:
            try:
                async with asyncio.timeout(5):
                    reader, writer = await asyncio.open_connection("127.0.0.1", health)
                    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    good = b" 200 " in await reader.readline()
                    writer.close()
            except OSError:  # a timeout too
                good = False
            (self.ready.add if good else self.ready.discard)(port)
            await asyncio.sleep(INTERVAL)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = [port for port, _ in self._servers if port in self.ready]
        self._turn += 1
        for at in range(len(ready)):
            port = ready[(self._turn + at) % len(ready)]
            with suppress(OSError):
                upstream = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            writer.close()
            return
        self.connections[port] += 1
        ways = [
            asyncio.create_task(_pipe(reader, upstream[1])),
            asyncio.create_task(_pipe(upstream[0], writer)),
        ]
        try:
            ended, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            self.ended[port] += ways[1] in ended
        finally:
            self.connections[port] -= 1
            for end in (writer, upstream[1]):
                end.close()
            for way in ways:
                way.cancel()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


@contextmanager
def balancer(servers: Sequence[tuple[int, int]]) -> Iterator[Balancer]:
    """Run a balancer in a thread for the length of the block."""
    made, started = Balancer(servers), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(made.run(started, stop),))
    thread.start()
    try:
        assert started.wait(60)
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()
