"""Hosts that keep clients waiting, each in its own way, at every address of the loopback network.

So 127.1.0.1, 127.1.0.2 and so on are separate hosts, with one server behind them.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.testbed.ports import free_ports

WAYS = ("accepts", "blackhole", "drips", "realm", "leads away")
_TLS_HELLO = 0x16
_DRIP_SECONDS = 0.5


@dataclass
class SilentHosts:
    """A server without useful answers. With ``heals`` set it answers 404 to everything.

    ``accepts`` accepts connections and requests and sends nothing. ``blackhole`` accepts no connection.
    ``drips`` sends a byte now and then. ``realm`` answers at once and names a silent token server. ``leads
    away`` answers at once, redirects reads to a silent host, and refuses uploads.
    """

    way: str
    port: int = 0
    silent_port: int = 0
    heals: bool = False
    asked: set[str] = field(default_factory=set)
    """The hosts that received requests, as they were addressed."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def names(self, count: int) -> list[str]:
        """Return this many different registries, each at its own address."""
        return [f"127.1.{number // 250}.{number % 250 + 1}:{self.port}" for number in range(count)]

    def spellings(self, count: int) -> list[str]:
        """Return this many names of registries at one address."""
        letters = "localhost"
        return [
            "".join(one.upper() if number >> place & 1 else one for place, one in enumerate(letters))
            + f":{self.port}"
            for number in range(count)
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        self.writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while True:
                    first = await reader.readexactly(1)
                    if first[0] == _TLS_HELLO and (self.way in {"realm", "leads away"} or self.heals):
                        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                        break
                    head = first + await reader.readuntil(b"\r\n\r\n")
                    line, host = head.split(b"\r\n")[0].decode(), _header(head, "host")
                    self.asked.add(host)
                    await reader.readexactly(int(_header(head, "content-length") or 0))
                    await self._answer(line, host, writer)
                    await writer.drain()
        finally:
            # whatever happened: a transport that stays open is told of in another test, when it is collected
            writer.transport.abort()
            self.writers.discard(writer)

    async def _answer(self, line: str, host: str, writer: asyncio.StreamWriter) -> None:
        if self.heals:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif self.way == "realm":
            realm = f'Bearer realm="http://127.0.0.1:{self.silent_port}/token",service="s"'
            writer.write(
                f"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {realm}\r\nContent-Length: 0\r\n\r\n".encode()
            )
        elif self.way == "leads away" and line.split()[1] == "/v2/":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif self.way == "leads away" and not line.startswith("PUT "):
            status, there = "307 Temporary Redirect", f"http://{host.partition(':')[0]}:{self.silent_port}/"
            if line.startswith("POST "):
                status, there = "202 Accepted", "/there"
            writer.write(f"HTTP/1.1 {status}\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode())
        else:
            if self.way == "drips":
                writer.write(b"HTTP/1.1 200 OK\r\nX-Patience: ")
            while not self.heals and not writer.is_closing():
                writer.write(b"x" if self.way == "drips" else b"")
                await asyncio.sleep(_DRIP_SECONDS)


def _header(head: bytes, name: str) -> str:
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return ""


@contextmanager
def silent_hosts(way: str) -> Iterator[SilentHosts]:
    """Run such hosts for the length of the block."""
    hosts, started = SilentHosts(way), threading.Event()
    if way == "blackhole":
        with _blackhole() as port:
            hosts.port = port
            yield hosts
        return
    silent = SilentHosts("accepts")
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        servers = []
        for each in (hosts, silent):
            each.port = each.silent_port = each.port or free_ports(1)[0]
            servers.append(await asyncio.start_server(each.serve, "0.0.0.0", each.port))
        hosts.silent_port = silent.port
        started.set()
        await stop.wait()
        for server in servers:
            server.close()
        # without a cancellation, which streams log; what was just accepted is a task some turns of the loop later
        idle = 0
        while idle < 3:
            for writer in (*hosts.writers, *silent.writers):
                writer.transport.abort()
            await asyncio.sleep(0.05)
            idle = 0 if asyncio.all_tasks() - {asyncio.current_task()} else idle + 1
        await asyncio.sleep(0.05)  # transports close in the loop's next turns

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield hosts
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@contextmanager
def _blackhole() -> Iterator[int]:
    """Yield a port whose connection queue is full, so that the kernel answers no further connection."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for each in waiting:
                each.close()
