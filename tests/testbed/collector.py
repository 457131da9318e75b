"""An OTLP/HTTP endpoint that stores the spans it receives
(https://opentelemetry.io/docs/specs/otlp/#otlphttp).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.testbed.loopback import LoopbackServer


@dataclass
class Collector:
    """A running endpoint; ``spans`` are the protobuf messages in the order of their arrival."""

    url: str
    spans: list[Any] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def take(self, path: str, body: bytes) -> None:
        """Decode one request."""
        if path != "/v1/traces":
            raise ValueError(f"posted to {path}")
        self.raw.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(group.resource))
            for scope in group.scope_spans:
                self.spans.extend(scope.spans)


def attributes(message: Any) -> dict[str, Any]:
    """Return the attributes of a span or resource as plain values."""
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in message.attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """Run an endpoint on a free loopback port for the length of the block."""
    found = Collector("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_POST(self) -> None:
            found.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
            del format, args

    server = LoopbackServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
