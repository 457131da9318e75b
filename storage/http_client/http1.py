"""HTTP/1.1 as a registry client needs it: kept-alive connections to any number of hosts.

A run takes ten requests, and a general HTTP client costs more time than everything else in them
(``docs/decisions/0012``).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Self

from aiohappyeyeballs import start_connection
from yarl import URL

from storage.http_client import addresses
from storage.http_client.addresses import Allows, Refused
from storage.http_client.exchange import Broken, Connection, Response, Rests, ignore
from storage.limits.askers import Places

IDLE_SECONDS = 60.0
"""Seconds for which an unused connection is kept."""
MOST_CONNECTING = 8
"""The most connections that are opened at the same time for one asker. Each may occupy a thread while a name
is resolved."""
_FAMILY_DELAY = 0.25
"""Seconds before another address of a host is tried in parallel (RFC 8305)."""
_MOST_ADDRESSES = 8
"""The most addresses of a host that are tried."""


def _anywhere(_: str) -> bool:
    return True


class Client:
    """Connections to any number of hosts, kept open between requests. Use from one event loop."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], deque[Connection]] = {}
        self._busy: set[Connection] = set()
        self._connecting = Places(MOST_CONNECTING)
        self._sweep: asyncio.TimerHandle | None = None

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        data: bytes | None,
        *,
        limit: int,
        tls: ssl.SSLContext | None,
        allows: Allows = _anywhere,
        begin: Callable[[], None] = lambda: None,
        rests: Rests = ignore,
    ) -> Response:
        """Return the answer to one request. ``tls`` is for ``https``; ``limit`` is the largest body in bytes.

        ``allows`` is called for the current addresses of the host, and only allowed ones are connected to.
        ``begin`` is called before the host is contacted, and again before a retry on another connection; for
        ``rests`` see :data:`Rests`. Raises :class:`Broken`, :class:`TooLarge`, :class:`ssl.SSLError`;
        :class:`OSError` if no connection can be made; :class:`Refused` if no address is allowed;
        :class:`ValueError` for a header with a line break.
        """
        sent = _request(method, url, headers, data)
        key = url.scheme, url.host_port_subcomponent or ""
        connection = self._take(key, allows)
        if connection is not None:
            try:
                begin()
            except BaseException:
                connection.abort()
                raise
            try:
                return await self._exchange(key, connection, method, sent, limit, rests)
            except Broken as error:
                # The server closed the connection while the request was sent. Only a read is sent again,
                # because the server may have carried out a write.
                if not error.unheard or method not in {"GET", "HEAD"}:
                    raise
        async with self._connecting.place():
            begin()
            connection = await self._connect(url, tls if url.scheme == "https" else None, allows)
        return await self._exchange(key, connection, method, sent, limit, rests)

    @staticmethod
    async def _connect(url: URL, tls: ssl.SSLContext | None, allows: Allows) -> Connection:
        """Connect to an address that was checked.

        The name is not resolved a second time, because the result could differ.
        """
        host = url.raw_host or ""
        infos = await addresses.resolve(host, url.port or 0)
        allowed = [info for info in infos if allows(info[4][0])]
        if not allowed:
            raise Refused(infos[0][4][0]) if infos else OSError(0, "the host has no address")
        # Addresses are tried in parallel with a delay ("happy eyeballs", RFC 8305).
        sock = await start_connection(
            allowed[:_MOST_ADDRESSES], happy_eyeballs_delay=_FAMILY_DELAY, interleave=1
        )
        loop = asyncio.get_running_loop()
        try:
            transport, connection = await loop.create_connection(
                Connection, sock=sock, ssl=tls, server_hostname=host if tls else None
            )
        except BaseException:
            sock.close()
            raise
        connection.address = str((transport.get_extra_info("peername") or ("",))[0])
        return connection

    async def _exchange(
        self,
        key: tuple[str, str],
        connection: Connection,
        method: str,
        sent: bytes,
        limit: int,
        rests: Rests,
    ) -> Response:
        """Exchange over a connection, and keep it for reuse if that is possible."""
        self._busy.add(connection)
        try:
            response = await connection.exchange(method, sent, limit, rests)
        except BaseException:
            connection.abort()
            raise
        finally:
            self._busy.discard(connection)
        # The exchange aborts a connection that must not be reused.
        if connection.is_open:
            loop = asyncio.get_running_loop()
            connection.idle_since = loop.time()
            self._idle.setdefault(key, deque()).append(connection)
            if self._sweep is None:
                self._sweep = loop.call_later(IDLE_SECONDS, self._close_idle)
        return response

    def _take(self, key: tuple[str, str], allows: Allows) -> Connection | None:
        """Return the most recently used idle connection to an allowed address."""
        idle = self._idle.get(key)
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        kept: list[Connection] = []
        taken = None
        while idle and taken is None:
            # The last used connection is the least likely to have been closed by the server.
            connection = idle.pop()
            if not connection.is_open or connection.idle_since <= oldest:
                connection.abort()
            elif allows(connection.address):
                taken = connection
            else:
                kept.append(connection)  # this request may not use it, but another one may
        if idle is not None:
            idle.extend(reversed(kept))
        return taken

    def _close_idle(self) -> None:
        """Close connections that were idle for too long."""
        loop = asyncio.get_running_loop()
        self._sweep = None
        for key, idle in list(self._idle.items()):
            while idle and idle[0].idle_since <= loop.time() - IDLE_SECONDS:
                idle.popleft().abort()
            if not idle:
                del self._idle[key]
        if self._idle:
            self._sweep = loop.call_later(IDLE_SECONDS, self._close_idle)

    async def close(self) -> None:
        """Close every connection. Exchanges under way end with :class:`Broken`."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in [
            *self._busy,
            *(idle_connection for idle in self._idle.values() for idle_connection in idle),
        ]:
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # let the transports close their sockets

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _request(method: str, url: URL, headers: Mapping[str, str], data: bytes | None) -> bytes:
    """Return the bytes of a request. Raises :class:`ValueError` for a header with a line break."""
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if data is not None or method not in {"GET", "HEAD"}:
        lines.append(f"Content-Length: {len(data or b'')}")
    if data and "Content-Type" not in headers:
        lines.append("Content-Type: application/octet-stream")
    if "Accept" not in headers:
        lines.append("Accept: */*")
    head = "\r\n".join(lines)
    # A line break in a header would let its value add headers or requests.
    if head.count("\r") != len(lines) - 1 or head.count("\n") != len(lines) - 1:
        raise ValueError("a header contains a line break")
    return head.encode("latin-1") + b"\r\n\r\n" + (data or b"")
