"""Vault's transit engine and JWT login, as far as signing uses them, with real keys.

Source: Vault API docs, "Transit secrets engine" (read key, sign data) and "JWT/OIDC auth method" (login).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.testbed.key_services import DENY, MAKERS, OUTAGE, THROTTLE, KeyServer, public_pem, sign_digest
from tests.testbed.key_services.http import Answer, serving

_FAULTS = {
    OUTAGE: (503, "Vault is sealed"),
    THROTTLE: (429, "request limit"),
    DENY: (403, "permission denied"),
}


def _refusal(status: int, *errors: str) -> Answer:
    return status, {"errors": list(errors)}, {}


class Vault(KeyServer):
    """A running server. ``tokens`` are valid; a JWT in ``jwts`` logs in with the role ``chains`` at
    ``auth/jwt``.
    """

    algorithms = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096")

    def __init__(self) -> None:
        super().__init__()
        self.address = ""
        self.tokens = {"root-token"}
        self.jwts: set[str] = set()
        self.lease = 3600
        self.logins = 0

    def reference(self, algorithm: str) -> str:
        return f"hashivault://{self.keys.make(algorithm)}"

    def rotate(self, reference: str) -> None:
        self.keys.rotate(reference.removeprefix("hashivault://"))

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Answer:
        fault = self.faults.next()
        if fault:
            status, text = _FAULTS[fault]
            return _refusal(status, text)
        parts = path.split("?", maxsplit=1)[0].strip("/").split("/")
        if parts == ["v1", "auth", "jwt", "login"]:
            return self._log_in(body)
        if headers.get("X-Vault-Token") not in self.tokens:
            return _refusal(403, "permission denied", "invalid token")
        match method, parts:
            case "GET", ["v1", "transit", "keys", name] if name in self.keys.versions:
                return self._read(name)
            case "PUT" | "POST", ["v1", "transit", "sign", name, "sha2-256"] if name in self.keys.versions:
                return self._sign(name, body)
        return _refusal(404)

    def _log_in(self, body: dict[str, Any]) -> Answer:
        self.logins += 1
        if body.get("role") != "chains":
            return _refusal(400, f'role "{body.get("role")}" could not be found')
        if body.get("jwt") not in self.jwts:
            return _refusal(400, "error validating token: invalid audience")
        token = "hvs." + secrets.token_hex(12)
        self.tokens.add(token)
        return 200, {"auth": {"client_token": token, "lease_duration": self.lease, "renewable": True}}, {}

    def _read(self, name: str) -> Answer:
        kind = self.keys.algorithms[name]
        found = {}
        for number, key in enumerate(self.keys.versions[name], 1):
            raw = (
                base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
                if kind == "ed25519"
                else public_pem(key)
            )
            found[str(number)] = {
                "public_key": raw.decode(),
                "name": kind,
                "creation_time": "2026-01-02T03:04:05Z",
            }
        data = {
            "type": kind,
            "latest_version": len(found),
            "keys": found,
            "supports_signing": True,
            "derived": False,
        }
        return 200, {"data": data}, {}

    def _sign(self, name: str, body: dict[str, Any]) -> Answer:
        versions, kind = self.keys.versions[name], self.keys.algorithms[name]
        number = int(body.get("key_version") or len(versions))
        if not 1 <= number <= len(versions):
            return _refusal(400, "cannot sign: version is not there")
        key = MAKERS[kind]() if self.faults.lying else versions[number - 1]
        data = base64.b64decode(body["input"], validate=True)
        if kind == "ed25519":
            signature = key.sign(data)
        elif body.get("prehashed") is not True or body.get("signature_algorithm") != "pkcs1v15":
            return _refusal(400, "this server signs digests, and with pkcs1v15")
        else:
            signature = sign_digest(key, data)
        return 200, {"data": {"signature": f"vault:v{number}:{base64.b64encode(signature).decode()}"}}, {}


@contextmanager
def vault() -> Iterator[Vault]:
    """Run a Vault for the length of the block."""
    server = Vault()
    with serving(server.handle) as address:
        server.address = f"http://{address}"
        yield server
