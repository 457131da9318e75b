"""The token service of a registry: it exchanges basic credentials for a signed token with the requested
scopes.

The protocol is the one that registries name in ``WWW-Authenticate: Bearer``
(https://distribution.github.io/distribution/spec/auth/token/). Tokens are real ES256 JWTs whose ``x5c``
header chains to the testbed's CA.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.testbed.certificates import Certificates

ISSUER = "testbed-issuer"
SERVICE = "testbed-registry"


@dataclass(frozen=True, slots=True)
class TokenService:
    """A running token service."""

    realm: str
    """The URL of the service."""
    scopes: list[str] = field(default_factory=list)
    """The scopes of every issued token, one entry per token, joined with a space."""
    refused: list[str] = field(default_factory=list)
    """The scopes of every request with missing or wrong credentials."""


@contextmanager
def token_service(
    certificates: Certificates, username: str, password: str, *, tls: bool, lifetime: int = 300
) -> Iterator[TokenService]:
    """Run a token service for the length of the block; tokens live for ``lifetime`` seconds."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.daemon_threads = True
        # by name: Go's registry client follows no realm whose host is a loopback address
        service = TokenService(f"{'https' if tls else 'http'}://localhost:{server.server_port}/token")
        accepted = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        server.RequestHandlerClass = _handler(
            service, _Issuer.load(certificates, username, lifetime), accepted
        )
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificates.cert_file, certificates.key_file)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


def _handler(service: TokenService, issuer: _Issuer, accepted: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            scopes = " ".join(query.get("scope", []))
            if self.headers.get("Authorization") != accepted:
                service.refused.append(scopes)
                self._answer(HTTPStatus.UNAUTHORIZED, {"errors": [{"code": "UNAUTHORIZED"}]})
            elif query.get("service") != [SERVICE]:
                self._answer(HTTPStatus.BAD_REQUEST, {"errors": [{"code": "UNKNOWN_SERVICE"}]})
            else:
                service.scopes.append(scopes)
                self._answer(HTTPStatus.OK, issuer.answer(scopes))

        def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
            del format, args

    return Handler


@dataclass(frozen=True, slots=True)
class _Issuer:
    key: ec.EllipticCurvePrivateKey
    chain: str
    username: str
    lifetime: int

    @classmethod
    def load(cls, certificates: Certificates, username: str, lifetime: int) -> _Issuer:
        key = serialization.load_pem_private_key(_read(certificates.key_file), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{certificates.key_file} holds no EC key")
        der = x509.load_pem_x509_certificate(_read(certificates.cert_file)).public_bytes(
            serialization.Encoding.DER
        )
        return cls(key, base64.b64encode(der).decode(), username, lifetime)

    def answer(self, scopes: str) -> dict[str, Any]:
        now = int(time.time())
        token = self._sign(
            {
                "iss": ISSUER,
                "sub": self.username,
                "aud": SERVICE,
                "iat": now,
                "nbf": now - 1,
                "exp": now + self.lifetime,
                "jti": uuid.uuid4().hex,
                "access": [_access(scope) for scope in scopes.split()],
            }
        )
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        return {"token": token, "access_token": token, "expires_in": self.lifetime, "issued_at": issued}

    def _sign(self, claims: dict[str, Any]) -> str:
        signed = f"{_encode({'typ': 'JWT', 'alg': 'ES256', 'x5c': [self.chain]})}.{_encode(claims)}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _access(scope: str) -> dict[str, Any]:
    """Parse ``type:name:action,action``; the name may contain a colon."""
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


def _encode(content: dict[str, Any]) -> str:
    return _base64url(json.dumps(content, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _read(path: Path) -> bytes:
    return path.read_bytes()
