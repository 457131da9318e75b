"""An HTTP proxy for TLS: it answers CONNECT, forwards bytes, and records the destinations."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_SECONDS = 30


@dataclass(slots=True)
class ConnectProxy:
    """A running proxy: its URL, and the destinations that it was asked for."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def connect_proxy() -> Iterator[ConnectProxy]:
    """Run a proxy on a free port for the length of the block."""
    found = ConnectProxy()

    class Handler(socketserver.StreamRequestHandler):
        timeout = _SECONDS

        def handle(self) -> None:
            place = self.rfile.readline().split()[1].decode()
            while self.rfile.readline().strip():
                pass
            found.asked.append(place)
            host, _, port = place.rpartition(":")
            with socket.create_connection((host, int(port)), _SECONDS) as target:
                self.wfile.write(b"HTTP/1.1 200 connected\r\n\r\n")
                back = threading.Thread(target=_pass_on, args=(target, self.connection), daemon=True)
                back.start()
                _pass_on(self.connection, target)
                back.join(_SECONDS)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore the error: a client that disconnects is not a failure of the proxy."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
