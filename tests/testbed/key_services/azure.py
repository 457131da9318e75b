"""The HTTPS interface of Azure Key Vault with real keys, for Azure's client library with a test credential.

Source: Azure Key Vault REST API, "Get Key" and "Sign". The first request without a token is challenged.
"""

from __future__ import annotations

import base64
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from signers.kms.azure import AzureKey
from tests.testbed.certificates import make_certificates
from tests.testbed.key_services import DENY, MAKERS, OUTAGE, THROTTLE, KeyServer, sign_digest
from tests.testbed.key_services.http import Answer, serving

_FAULTS = {OUTAGE: (503, "ServiceUnavailable"), THROTTLE: (429, "Throttled"), DENY: (403, "Forbidden")}


class Credential:
    """Returns one token, in the way the client library expects."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self.token, int(time.time()) + 3600)


def _encoded(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size)).rstrip(b"=").decode()


class Azure(KeyServer):
    """A vault. Versions are 32 hexadecimal digits, as in Azure."""

    algorithms = ("ecdsa-p256", "rsa-2048", "rsa-3072", "rsa-4096")

    def __init__(self) -> None:
        super().__init__()
        self.host = ""
        self.token = secrets.token_hex(16)

    def reference(self, algorithm: str) -> str:
        return f"azurekms://{self.host}/{self.keys.make(algorithm)}"

    def rotate(self, reference: str) -> None:
        self.keys.rotate(reference.rpartition("/")[2])

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Answer:
        if headers.get("Authorization") != f"Bearer {self.token}":
            challenge = 'Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net"'
            return (
                401,
                {"error": {"code": "Unauthorized", "message": "no token"}},
                {"WWW-Authenticate": challenge},
            )
        if fault := self.faults.next():
            status, code = _FAULTS[fault]
            return status, {"error": {"code": code, "message": f"{fault} for the test"}}, {}
        parts = path.split("?", maxsplit=1)[0].strip("/").split("/")
        match method, parts:
            case "GET", ["keys", name, *version] if name in self.keys.versions:
                return self._read(name, version[0] if version else "")
            case "POST", ["keys", name, version, "sign"] if name in self.keys.versions:
                return self._sign(name, version, body)
        return 404, {"error": {"code": "KeyNotFound", "message": "a key with this name was not found"}}, {}

    def _read(self, name: str, version: str) -> Answer:
        number = int(version, 16) if version else len(self.keys.versions[name])
        numbers = self.keys.versions[name][number - 1].public_key().public_numbers()
        key: dict[str, Any] = {
            "kid": f"https://{self.host}/keys/{name}/{number:032x}",
            "key_ops": ["sign", "verify"],
        }
        if isinstance(numbers, ec.EllipticCurvePublicNumbers):
            size = (numbers.curve.key_size + 7) // 8
            curve = {32: "P-256", 48: "P-384"}[size]
            key |= {"kty": "EC", "crv": curve, "x": _encoded(numbers.x, size), "y": _encoded(numbers.y, size)}
        else:
            size = (numbers.n.bit_length() + 7) // 8
            key |= {"kty": "RSA", "n": _encoded(numbers.n, size), "e": _encoded(numbers.e, 3)}
        attributes = {"enabled": True, "created": 1767323045, "updated": 1767323045}
        return 200, {"key": key, "attributes": attributes}, {}

    def _sign(self, name: str, version: str, body: dict[str, Any]) -> Answer:
        kind = self.keys.algorithms[name]
        key = MAKERS[kind]() if self.faults.lying else self.keys.versions[name][int(version, 16) - 1]
        digest = base64.urlsafe_b64decode(body["value"] + "==")
        expected = "ES256" if kind == "ecdsa-p256" else "RS256"
        if body["alg"] != expected or len(digest) != 32:
            return 400, {"error": {"code": "BadParameter", "message": f"expected {expected}"}}, {}
        signature = sign_digest(key, digest)
        if kind == "ecdsa-p256":
            signature = b"".join(number.to_bytes(32) for number in decode_dss_signature(signature))
        value = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        return 200, {"kid": f"https://{self.host}/keys/{name}/{version}", "value": value}, {}


@contextmanager
def azure(folder: Path) -> Iterator[Azure]:
    """Run a vault for the length of the block. Its certificates are written to ``folder``."""
    made = make_certificates(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.cert_file, made.key_file)
    server = Azure()

    def connect(vault: str, key: str, version: str) -> AzureKey:
        return AzureKey(
            vault, key, version, Credential(server.token),
            verify_challenge_resource=False, connection_verify=str(made.ca_file),
        )  # fmt: skip

    with serving(server.handle, tls) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr("signers.kms.azure.connect", connect)
        server.host = address
        yield server
