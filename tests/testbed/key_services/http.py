"""A threaded HTTP server that passes every request to one function, for the length of a block."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.testbed.loopback import LoopbackServer

Answer = tuple[int, Mapping[str, Any], Mapping[str, str]]
"""Status, JSON body, headers."""


@contextmanager
def serving(
    handle: Callable[[str, str, Mapping[str, str], dict[str, Any]], Answer], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve ``handle(method, path, headers, body)`` and yield ``127.0.0.1:port``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body, headers = handle(
                self.command, self.path, self.headers, json.loads(raw) if raw else {}
            )
            text = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the names are the library's

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = LoopbackServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
