"""A TCP proxy on the loopback interface that adds latency, in a process of its own.

``python -m tests.testbed.delaying_proxy PORT SECONDS`` forwards to a port of this machine. Data of one side
arrives at the other after half of ``SECONDS``. Only opening a connection is not delayed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.process import Running, running


@contextmanager
def delaying_proxy(port: int, seconds: float, log: Path) -> Iterator[Running]:
    """Run the proxy for the length of the block; ``seconds`` is the round trip time."""
    command = [sys.executable, "-m", "tests.testbed.delaying_proxy", str(port), str(seconds)]
    with running(command, log, r"^listens on (\S+)$") as proxy:
        yield proxy


class _Side(asyncio.Protocol):
    """One side of a forwarded connection; what it receives goes to the other side later, in order."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self.other: _Side | None = None
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        for data in self._early:
            transport.write(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        asyncio.get_running_loop().call_later(self._delay, self.other.send, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_later(self._delay, self.other.end)

    def send(self, data: bytes) -> None:
        """Send data of the other side."""
        if self._transport is None:
            self._early.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def end(self) -> None:
        """Close, because the other side did."""
        if self._transport is not None:
            self._transport.close()


class _Client(_Side):
    """The client's side, which opens the connection to the server."""

    def __init__(self, port: int, delay: float) -> None:
        super().__init__(delay)
        self._port = port
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        server = self.other = _Side(self._delay)
        server.other = self
        self._opening = asyncio.ensure_future(self._open(server))

    async def _open(self, server: _Side) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: server, "127.0.0.1", self._port)
        except OSError:
            self.end()


async def serve(port: int, seconds: float) -> None:
    """Forward until the process is ended."""
    server = await asyncio.get_running_loop().create_server(
        lambda: _Client(port, seconds / 2), "127.0.0.1", 0
    )
    print(f"listens on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
