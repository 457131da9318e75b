"""Answers that a reset cuts short, over real sockets: none of them may pass for a whole one."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from yarl import URL

from storage.http_client.exchange import Broken, Response
from storage.http_client.http1 import Client

HEADS = {
    "until the end": b"HTTP/1.1 200 OK\r\n\r\n",
    "closed by name": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "by length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n",
}
ENDLESS = ("until the end", "closed by name", "HTTP/1.0")


def answer(sent: bytes, *, reset: bool, method: str = "GET") -> Response:
    """Ask a server that sends these bytes, which arrive, and then ends the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        await writer.drain()
        await arrived.wait()
        if reset:
            plain: socket.socket = writer.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()

    async def look(client: Client) -> None:
        """Wait until the client has read everything that was sent."""
        while True:
            for connection in client._busy:
                head = connection._head is not None
                if head and (b"hello" in connection._body.getvalue() or not sent.endswith(b"hello")):
                    arrived.set()
                    return
            await asyncio.sleep(0)

    async def ask() -> Response:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, Client() as client:
            url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            looking = asyncio.ensure_future(look(client))
            try:
                return await client.send(method, url, {}, None, limit=1000, tls=None)
            finally:
                looking.cancel()

    arrived = asyncio.Event()
    return asyncio.run(asyncio.wait_for(ask(), 30))


@pytest.mark.parametrize("name", HEADS)
def test_a_reset_in_the_middle_of_a_body_is_no_end_of_it(name: str) -> None:
    with pytest.raises(Broken, match="ConnectionResetError") as caught:
        answer(HEADS[name] + b"hello", reset=True)
    assert not caught.value.unheard, "something of the answer was heard"


@pytest.mark.parametrize("name", HEADS)
def test_a_connection_that_is_closed_ends_the_bodies_alone_that_say_so(name: str) -> None:
    if name in ENDLESS:
        assert answer(HEADS[name] + b"hello", reset=False).body == b"hello"
    else:
        with pytest.raises(Broken, match="ended early"):
            answer(HEADS[name] + b"hello", reset=False)


@pytest.mark.parametrize("name", ENDLESS)
def test_a_reset_before_the_body_is_no_empty_one(name: str) -> None:
    with pytest.raises(Broken, match="ConnectionResetError"):
        answer(HEADS[name], reset=True)
    assert answer(HEADS[name], reset=False).body == b""
