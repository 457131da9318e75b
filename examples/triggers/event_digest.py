"""An interceptor of Tekton Triggers that gives the SHA-256 of an event's body to the bindings.

A binding reads it as ``$(extensions.event.sha256)``. Triggers' own interceptors have no such function. It
needs only the standard library: ``python event_digest.py --port 8443 --cert tls.crt --key tls.key``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGEST = 32 * 1024 * 1024
CODE_INVALID_ARGUMENT = 3  # google.rpc.Code


def answer(request: bytes) -> dict[str, object]:
    """Return the InterceptorResponse to an InterceptorRequest, whose ``body`` is the event as a text."""
    try:
        asked = json.loads(request)
        body, extensions = asked["body"], asked.get("extensions") or {}
        given = {**extensions, "event": {"sha256": hashlib.sha256(body.encode()).hexdigest()}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"not an InterceptorRequest with a body: {error}"
        return {"continue": False, "status": {"code": CODE_INVALID_ARGUMENT, "message": message}}
    return {"continue": True, "extensions": given}


class Handler(BaseHTTPRequestHandler):
    """Answers one request of the EventListener."""

    timeout = 10

    def do_POST(self) -> None:
        """Answer with the digest; a body of no or too much length gets the status 413."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= LARGEST:
            self.send_error(413)
            return
        data = json.dumps(answer(self.rfile.read(length))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--cert", required=True, help="PEM of the certificate and its chain")
    parser.add_argument("--key", required=True, help="PEM of its private key")
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    server = ThreadingHTTPServer((options.address, options.port), Handler)
    # the handshake belongs to the thread of a connection, so that a silent peer holds up nobody else
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(f"listening on port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
