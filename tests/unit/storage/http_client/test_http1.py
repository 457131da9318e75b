"""The client of the hot path against a server that answers byte for byte what a test says."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from storage.http_client import exchange, http1
from storage.http_client.exchange import MAX_HEAD, Broken, Response, TooLarge
from storage.http_client.http1 import Client
from storage.limits.pool import Pool

Pieces = list[bytes]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nEtag: x\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Server:
    """Answers each request with the next pieces, a turn of the loop apart; an empty piece ends the connection."""

    def __init__(self, *answers: Pieces) -> None:
        self.answers, self.requests, self.connections = list(answers), list[bytes](), 0
        self.url = URL()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
                body = await reader.readexactly(int(lengths[0].split()[1])) if lengths else b""
                self.requests.append(head + body)
                for piece in self.answers.pop(0):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: Pieces) -> AsyncIterator[Server]:
    found = Server(*answers)
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        found.url = URL(f"http://127.0.0.1:{port}/v2/a/manifests/latest?n=1")
        yield found


def ask(
    *answers: Pieces,
    work: Callable[[Client, URL], Awaitable[Any]] | None = None,
    method: str = "GET",
    limit: int = 1000,
) -> tuple[Any, Server]:
    async def run() -> tuple[Any, Server]:
        async with serving(*answers) as server, Client() as client:
            if work is not None:
                return await work(client, server.url), server
            return await client.send(method, server.url, {}, None, limit=limit, tls=None), server

    return asyncio.run(asyncio.wait_for(run(), 10))


async def get(client: Client, url: URL, method: str = "GET", data: bytes | None = None) -> Response:
    return await client.send(method, url, {}, data, limit=1000, tls=None)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"hello"),
        (b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 900\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"hello"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
            b"hello",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n", b"hello"),
    ],
)
def test_answers_are_read_and_the_connection_is_used_again(answer: bytes, body: bytes) -> None:
    async def twice(client: Client, url: URL) -> list[Response]:
        return [await get(client, url), await get(client, url)]

    (first, second), server = ask([answer], [OK], work=twice)
    assert (first.body, second.body) == (body, b"hello")
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_what_ends_with_the_connection_is_read_to_its_end(answer: bytes) -> None:
    async def twice(client: Client, url: URL) -> list[Response]:
        return [await get(client, url), await get(client, url)]

    (first, second), server = ask([answer, b""], [OK], work=twice)
    assert (first.body, second.body) == (b"hello", b"hello")
    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "length of the answer is ambiguous",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "length of the answer is ambiguous"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "length of the answer is ambiguous"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "the end of the answer is ambiguous",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "the end of the answer is ambiguous",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "no valid size"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n", "no valid size"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
            "longer than its stated size",
        ),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded: c\r\n\r\n", "no valid name"),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "no valid name"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no valid name"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "another protocol"),
        (b"HTTP/1.1 200 OK\r\nA: b\rContent-Length: 9\r\nContent-Length: 5\r\n\r\nhello", "line break"),
        (b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 9\r\nContent-Length: 5\r\n\r\nhello", "line break"),
        (b"HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 5\r\n\r\nhello", "NUL"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000 + OK, "beside headers and body"),
        (CHUNKED + b"0\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", "beside headers and body"),
        (CHUNKED + (b"1;" + b"b" * 30_000 + b"\r\nx\r\n") * 3 + b"0\r\n\r\n", "beside headers and body"),
        (b"HTTP/2 200\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 999 X\r\n\r\n", "not HTTP/1.1"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * MAX_HEAD + b"\r\n\r\n", "headers of more than"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * MAX_HEAD, "headers of more than"),
    ],
)
def test_answers_that_may_mean_two_things_are_refused(answer: bytes, words: str) -> None:
    with pytest.raises(Broken, match=words):
        ask([answer])


@pytest.mark.parametrize("cut", [0, 1, 30, len(OK) - 1])
def test_an_answer_that_ends_early_is_none(cut: int) -> None:
    with pytest.raises(Broken, match=r"ended early|ConnectionResetError"):
        ask([OK[:cut], b""] if cut else [b""])


def test_a_body_over_the_limit_is_not_read() -> None:
    with pytest.raises(TooLarge) as announced:
        ask([b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"])
    assert announced.value.size == 1001
    for endless in (
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n",
    ):
        with pytest.raises(TooLarge):
            ask([endless, b"x" * 2000])


def test_a_head_request_has_no_body() -> None:
    found, _ = ask([b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"], method="HEAD")
    assert (found.body, found.headers["content-length"]) == (b"", "900")


def test_requests_are_written_as_rfc_9112_wants_them() -> None:
    async def put(client: Client, url: URL) -> Response:
        return await client.send("PUT", url, {"If-Match": '"x"'}, b"data", limit=10, tls=None)

    _, server = ask([OK], work=put)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert (line, body) == ("PUT /v2/a/manifests/latest?n=1 HTTP/1.1", b"data")
    assert headers == [
        f"Host: 127.0.0.1:{server.url.port}", 'If-Match: "x"', "Content-Length: 4",
        "Content-Type: application/octet-stream", "Accept: */*",
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\nb", "a\rb"])
def test_no_header_gets_another_one_in(value: str) -> None:
    async def send(client: Client, url: URL) -> Response:
        return await client.send("GET", url, {"Authorization": value}, None, limit=10, tls=None)

    with pytest.raises(ValueError, match="line break"):
        ask([OK], work=send)


def test_a_connection_that_was_let_go_of_is_replaced_for_reading_alone() -> None:
    async def after_a_pause(client: Client, url: URL, method: str) -> Response:
        await get(client, url)
        connection = client._idle[url.scheme, url.host_port_subcomponent or ""][0]
        exchange, broken = connection.exchange, []

        async def lost(*sent: Any) -> Response:
            if not broken:
                broken.append(1)
                raise Broken("it ended early", unheard=True)
            return await exchange(*sent)

        connection.exchange = lost  # type: ignore[method-assign]
        return await get(client, url, method, b"x" if method == "POST" else None)

    found, server = ask([OK], [OK], work=lambda client, url: after_a_pause(client, url, "GET"))
    assert (found.body, server.connections) == (b"hello", 2)
    with pytest.raises(Broken, match="ended early"):
        ask([OK], [OK], work=lambda client, url: after_a_pause(client, url, "POST"))


def test_what_nobody_asked_for_closes_the_connection() -> None:
    async def twice(client: Client, url: URL) -> list[Response]:
        return [await get(client, url), await get(client, url)]

    (_, second), server = ask([OK + b"HTTP/1.1 200 OK\r\n"], [OK], work=twice)
    assert (second.body, server.connections) == (b"hello", 2)


def test_a_request_that_was_given_up_leaves_no_connection_behind() -> None:
    async def give_up(client: Client, url: URL) -> Response:
        using = asyncio.ensure_future(get(client, url))
        while not client._busy:  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        return await get(client, url)

    found, server = ask([OK[:10]], [OK], work=give_up)
    assert (found.body, server.connections) == (b"hello", 2)


def test_idle_connections_are_closed_and_closing_ends_those_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    async def idle(client: Client, url: URL) -> None:
        monkeypatch.setattr(http1, "IDLE_SECONDS", 0.01)
        await get(client, url)
        while client._idle:  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0.01)

    ask([OK], work=idle)

    async def close(client: Client, url: URL) -> None:
        using = asyncio.ensure_future(get(client, url))
        while not client._busy:  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0.01)
        await client.close()
        with pytest.raises(Broken):
            await using

    ask([OK[:10]], work=close)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), max_size=12),
    st.sampled_from(
        [
            OK,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        ]
    ),
)
def test_where_the_network_cuts_an_answer_does_not_matter(cuts: list[int], answer: bytes) -> None:
    connection, found = exchange.Connection(), list[Response]()

    class Transport:
        def get_write_buffer_size(self) -> int:
            return 0

        def abort(self) -> None:
            raise AssertionError("not closed")

    class Waiter:
        def done(self) -> bool:
            return bool(found)

        def set_result(self, value: Response) -> None:
            found.append(value)

        def set_exception(self, error: Exception) -> None:
            raise error

    connection.connection_made(Transport())  # type: ignore[arg-type]
    connection._waiter, connection._limit = Waiter(), 10  # type: ignore[assignment]
    rest = answer
    for cut in cuts:
        if rest[:cut]:
            connection.data_received(rest[:cut])
        rest = rest[cut:]
    if rest:
        connection.data_received(rest)
    assert [each.body for each in found] == [b"hello"]


def test_of_an_error_as_much_is_read_as_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "ERROR_BODY", 5)
    sent = b"HTTP/1.1 500 No\r\nContent-Length: 11\r\n\r\nhello world"
    chunked = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n8\r\nlo world\r\n0\r\n\r\n"

    async def several(client: Client, url: URL) -> list[Response]:
        return [await get(client, url) for _ in range(3)]

    found, server = ask([sent], [chunked], [OK], work=several)
    assert [(each.status, each.body) for each in found] == [(500, b"hello"), (403, b"hello"), (200, b"hello")]
    assert server.connections == 3, "what was left of an answer is never taken for the next"


def sized(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def until_the_end(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n\r\n" + body


@pytest.mark.parametrize("form", [sized, chunked, until_the_end])
@pytest.mark.parametrize("size", [10, 100, 70_000, 700_000])
def test_a_body_is_read_when_there_is_room_for_it(
    form: Callable[[bytes], bytes], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(1_000_000)
    monkeypatch.setattr(exchange, "BODIES", pool)
    monkeypatch.setattr(exchange, "UNBOOKED", 50)
    monkeypatch.setattr(exchange, "STEP", 1000)
    body = bytes(bytearray(range(250))) * (size // 10)
    others = pool.take(1_000_000 if size < 70_000 else 999_000)

    async def work() -> None:
        nonlocal others
        answer = [form(body[:size]), *([b""] if form is until_the_end else [])]
        async with serving(answer, [OK]) as server, Client() as client:
            reading = asyncio.ensure_future(
                client.send("GET", server.url, {}, None, limit=1_000_000, tls=None)
            )
            if size > 50:
                while not pool._waiting:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
                assert not reading.done(), "others have the room"
            others = None
            found = await reading
            assert found.body == body[:size]
            if size > 50:
                assert found.hold is not None
                assert found.hold.size == size
                assert pool.free == pool.size - size
            else:
                assert found.hold is None
            assert (await client.send("GET", server.url, {}, None, limit=9, tls=None)).body == b"hello"
            del found, reading

    asyncio.run(asyncio.wait_for(work(), 30))
    gc.collect()
    assert pool.free == pool.size


def test_who_gives_up_waiting_for_room_leaves_it_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(100_000)
    monkeypatch.setattr(exchange, "BODIES", pool)
    others = pool.take(100_000)
    assert others is not None

    async def work() -> None:
        async with serving([sized(b"x" * 60_000)], [OK]) as server, Client() as client:
            reading = asyncio.ensure_future(client.send("GET", server.url, {}, None, limit=100_000, tls=None))
            while not pool._waiting:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            others.release()
            await asyncio.sleep(0)
            assert pool.free == 100_000
            assert (await get(client, server.url)).body == b"hello"

    asyncio.run(asyncio.wait_for(work(), 20))
