"""An OpenID Connect issuer for logins: an authorization endpoint, a token endpoint with PKCE, and keys that change.

Whoever asks is logged in as :attr:`LoginIssuer.claims` say, without a form. Tests set faults of the issuer, or of
somebody who sits between it and the server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.testbed.loopback import Answer, Request, serving

CLIENT, SECRET = "chains-web", "testbed secret/with+signs"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass
class LoginIssuer:
    """A running issuer. Attributes may be changed while it runs."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "alice", "groups": ["shop-devs"]})
    """What ID tokens say beside the usual claims; a value of None leaves a claim out."""
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer
    """Changes the answer of the token endpoint on its way."""
    document: dict[str, Any] = field(default_factory=dict)
    """What its document says beside the usual."""
    asked: list[str] = field(default_factory=list)
    """The path of every request."""
    keys: dict[str, Key] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    is_away: bool = False

    def rotate(self, key: Key | None = None) -> str:
        """Sign with a new key from now on, and forget the old ones. Returns its id."""
        kid = f"key-{secrets.token_hex(4)}"
        self.keys = {kid: key or ec.generate_private_key(ec.SECP256R1())}
        return kid

    def token(self, *, header: dict[str, Any] | None = None, key: Key | None = None, **claims: Any) -> str:
        """Return a signed token for the client, with these claims."""
        kid, own = next(iter(self.keys.items()))
        now = int(time.time())
        usual = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300}
        content = {
            name: value for name, value in {**usual, **self.claims, **claims}.items() if value is not None
        }
        used = key or own
        algorithm = "RS256" if isinstance(used, rsa.RSAPrivateKey) else "ES256"
        signed = f"{encoded({'alg': algorithm, 'kid': kid, **(header or {})})}.{encoded(content)}"
        return f"{signed}.{base64url(_sign(used, signed.encode()))}"

    def code(self, url: str) -> tuple[str, str]:
        """Carry out a login as a browser does. Returns the code, and the URL to go back to with it and the state."""
        question = dict(parse_qsl(urlsplit(url).query))
        code = secrets.token_urlsafe(16)
        self.codes[code] = question
        back = {"code": code, "state": question["state"]}
        return code, f"{question['redirect_uri']}?{urlencode(back)}"

    def answer(self, request: Request) -> Answer:
        """Answer a request."""
        path = urlsplit(request.path).path
        self.asked.append(path)
        if self.is_away:
            return Answer(503)
        if path == "/.well-known/openid-configuration":
            return Answer(200, self._document())
        if path == "/keys":
            return Answer(200, {"keys": [_jwk(kid, key) for kid, key in self.keys.items()]})
        if path == "/authorize":
            return Answer(302, headers={"Location": self.code(request.path)[1]})
        if path == "/token" and request.method == "POST":
            return self._token(request)
        return Answer(404)

    def _document(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            "code_challenge_methods_supported": ["S256"],
            **self.document,
        }

    def _token(self, request: Request) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        # each code counts once
        question = self.codes.pop(form.get("code", ""), None)
        challenge = base64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            question is None
            or not _is_client(request, form)
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != question["redirect_uri"]
            or question.get("code_challenge_method") != "S256"
            or challenge != question.get("code_challenge")
        ):
            return Answer(400, {"error": "invalid_grant"})
        access = self.token(aud="api", header={"typ": "at+jwt"})
        half = hashlib.sha256(access.encode()).digest()[:16]
        found = self.token(nonce=question["nonce"], at_hash=base64url(half))
        return Answer(200, self.change({"access_token": access, "token_type": "Bearer", "id_token": found}))


@contextmanager
def login_issuer() -> Iterator[LoginIssuer]:
    """Run an issuer for the length of the block."""
    found = LoginIssuer()
    found.rotate()
    with serving(found.answer) as url:
        found.url = url
        yield found


def forged_none(token: str) -> str:
    """Return a token with the same claims and the algorithm ``none``."""
    return f"{encoded({'alg': 'none'})}.{token.split('.')[1]}."


def forged_with_public_key(token: str, kid: str, key: Key) -> str:
    """Return a token that is signed with HS256, with the public key as the secret."""
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = f"{encoded({'alg': 'HS256', 'kid': kid})}.{token.split('.')[1]}"
    return f"{signed}.{base64url(hmac.digest(public, signed.encode(), 'sha256'))}"


def encoded(content: dict[str, Any]) -> str:
    return base64url(json.dumps(content, separators=(",", ":")).encode())


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _is_client(request: Request, form: dict[str, str]) -> bool:
    # the secret is form-encoded before it is joined with the name (RFC 6749, 2.3.1)
    expected = base64.b64encode(f"{CLIENT}:{quote(SECRET, safe='')}".encode()).decode()
    by_header = request.headers.get("authorization", "") == f"Basic {expected}"
    return form.get("client_id") == CLIENT and (by_header or form.get("client_secret") == SECRET)


def _jwk(kid: str, key: Key) -> dict[str, str]:
    usual = {"use": "sig", "kid": kid}
    if isinstance(key, rsa.RSAPrivateKey):
        of_rsa = key.public_key().public_numbers()
        size = (of_rsa.n.bit_length() + 7) // 8
        parts = {"n": base64url(of_rsa.n.to_bytes(size, "big")), "e": base64url(of_rsa.e.to_bytes(3, "big"))}
        return {"kty": "RSA", "alg": "RS256", **usual, **parts}
    numbers = key.public_key().public_numbers()
    point = {
        name: base64url(value.to_bytes(32, "big")) for name, value in (("x", numbers.x), ("y", numbers.y))
    }
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", **usual, **point}


def _sign(key: Key, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
