"""Small HTTP services of the testbed, in a thread of the test process."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.testbed.certificates import Certificates


class LoopbackServer(ThreadingHTTPServer):
    """An HTTP server with one thread per connection and a long accept queue."""

    daemon_threads = True
    # with the usual five, some of those that come at the same time are reset
    request_queue_size = 128


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request."""

    method: str
    path: str
    """The path with the query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A service's answer; ``body`` is sent unchanged if it is bytes, else as JSON."""

    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def serving(answer: Callable[[Request], Answer], certificates: Certificates | None = None) -> Iterator[str]:
    """Serve HTTP on a free loopback port for the length of the block; yields the base URL.

    ``answer`` is called in several threads. With ``certificates``, or a context that has one, it is served
    behind TLS.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # 40 ms a request otherwise, on connections that are kept
        timeout = 30

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            given = answer(Request(self.command, self.path, headers, body))
            raw = given.body if isinstance(given.body, bytes) else json.dumps(given.body).encode()
            self.send_response(given.status)
            for name, value in ({"Content-Type": "application/json"} | given.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - http.server's own names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
            del format, args

    with LoopbackServer(("127.0.0.1", 0), Handler) as server:
        context = certificates
        if isinstance(certificates, Certificates):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.cert_file, certificates.key_file)
        if isinstance(context, ssl.SSLContext):
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http{'s' if certificates else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
