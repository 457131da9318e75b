"""A proxy between a client and an S3 service that forwards everything, and misbehaves on request.

It also issues credentials as AWS does: by STS for a web identity, and as an instance's metadata service.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.testbed.loopback import LoopbackServer

DROP, FLIP = "drop", "flip"
Fault = Callable[[str, str], str | int | None]
"""Gets method and path of a request. ``drop`` cuts the connection, ``flip`` changes the last byte of the
answer, a number is the status of an error, None does nothing."""


class Proxy:
    """``seen`` has method and path of every request; ``fault`` may be set at any time."""

    def __init__(self, backend: str, access: str, secret: str) -> None:
        self.backend = urlsplit(backend).netloc
        self.access, self.secret = access, secret
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.fault: Fault = lambda *_: None
        self.url = ""


@contextmanager
def s3_proxy(backend: str, access: str, secret: str) -> Iterator[Proxy]:
    """Run a proxy in front of ``backend`` (``http://HOST:PORT``) that issues these credentials."""
    proxy = Proxy(backend, access, secret)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _handle(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            proxy.seen.append(f"{self.command} {self.path}")
            proxy.headers.append(dict(self.headers.items()))
            answer = _credentials(proxy, self.command, self.path, body)
            if answer is not None:
                self._send(200, answer, {})
                return
            fault = proxy.fault(self.command, self.path)
            if fault == DROP:
                self.close_connection = True
                return
            if isinstance(fault, int):
                self._send(
                    fault, b"<Error><Code>ServiceUnavailable</Code><Message>told to</Message></Error>", {}
                )
                return
            status, data, headers = _forward(proxy, self.command, self.path, body, dict(self.headers.items()))
            if fault == FLIP and data:
                data = data[:-1] + bytes([data[-1] ^ 1])
            self._send(status, data, headers)

        def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response_only(status)
            kept = {name: value for name, value in headers.items() if name.lower() not in _HOP}
            for name, value in kept.items():
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815

    server = LoopbackServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_HOP = {"content-length", "transfer-encoding", "connection", "keep-alive"}


def _forward(
    proxy: Proxy, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes, dict[str, str]]:
    if path.startswith("http://"):  # asked as a forward proxy
        parts = urlsplit(path)
        path = path[len(f"http://{parts.netloc}") :]
    connection = http.client.HTTPConnection(proxy.backend, timeout=30)
    try:
        # the Host header is signed, and stays what the client made it
        kept = {
            name: value for name, value in headers.items() if name.lower() not in {"connection", "expect"}
        }
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in kept.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def _credentials(proxy: Proxy, method: str, path: str, body: bytes) -> bytes | None:
    """Answer as STS or as an instance's metadata service (version 2)."""
    until = "2099-01-01T00:00:00Z"
    if method == "POST" and b"AssumeRoleWithWebIdentity" in body:
        return (
            "<AssumeRoleWithWebIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
            f"<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{proxy.access}</AccessKeyId>"
            f"<SecretAccessKey>{proxy.secret}</SecretAccessKey><SessionToken>session</SessionToken>"
            f"<Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
            "</AssumeRoleWithWebIdentityResponse>"
        ).encode()
    if path == "/latest/api/token":
        return b"imds-token"
    if path == "/latest/meta-data/iam/security-credentials/":
        return b"builder-role"
    if path == "/latest/meta-data/iam/security-credentials/builder-role":
        found = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": proxy.access, "Token": "session",
                 "SecretAccessKey": proxy.secret, "Expiration": until, "LastUpdated": "2026-01-01T00:00:00Z"}  # fmt: skip
        return json.dumps(found).encode()
    return None
