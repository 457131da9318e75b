"""One exchange over HTTP: connections that end at the wrong moment, and answers that are cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from signers.errors import SignerUnavailable
from signers.sigstore.service import Service, shown_url, without_user

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"


@contextmanager
def scripted(*connections: tuple[bytes, ...]) -> Iterator[tuple[str, list[int]]]:
    """Answer each connection's requests in turn, and close it; yields the URL and who was asked."""
    asked: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for number, answers in enumerate(connections):
                with server.accept()[0] as taken:
                    for answer in answers:
                        taken.recv(65536)
                        asked.append(number)
                        taken.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        thread.join(10)


def test_a_kept_connection_that_is_closed_as_it_is_used_again_costs_nothing() -> None:
    with scripted((WHOLE, b""), (WHOLE,)) as (url, asked):
        service = Service(url, "log")
        assert [service.request("GET").body for _ in range(2)] == [b"{}", b"{}"]
    assert asked == [0, 0, 1]


def test_who_never_answers_is_asked_twice_and_is_unavailable() -> None:
    with scripted((b"",), (b"",)) as (url, asked), pytest.raises(SignerUnavailable, match="does not answer"):
        Service(url, "log").request("POST", body=b"x")
    assert asked == [0, 1]


def test_an_answer_that_is_cut_is_no_answer() -> None:
    with (
        scripted((CUT,)) as (url, _),
        pytest.raises(SignerUnavailable, match="does not answer: ProtocolError"),
    ):
        Service(url, "log").request("GET")


def test_what_is_shown_and_published_of_a_url_has_no_password() -> None:
    url = "https://user:hunter2@host:8443/log?key=hunter2"
    assert shown_url(url) == "https://host:8443"
    assert without_user("https://user:hunter2@host:8443/log") == "https://host:8443/log"
