"""An OpenID Connect issuer: discovery, keys, and any token that a test needs."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.testbed.loopback import Answer, Request, serving

KEY_ID = "testbed"


@dataclass(frozen=True, slots=True)
class Issuer:
    """A running issuer of tokens like those of Kubernetes."""

    url: str
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    def token(
        self,
        namespace: str = "tekton-chains",
        account: str = "tekton-chains-controller",
        *,
        audience: str = "sigstore",
        lifetime: int = 600,
        **claims: Any,
    ) -> str:
        """Return the identity token of a service account. A negative ``lifetime`` makes an expired one."""
        now = int(time.time())
        content = {
            "iss": self.url,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "aud": [audience],
            "iat": now + min(lifetime, 0) - 1,
            "nbf": now + min(lifetime, 0) - 1,
            "exp": now + lifetime,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account}},
        }
        signed = f"{_encode({'alg': 'ES256', 'typ': 'JWT', 'kid': KEY_ID})}.{_encode(content | claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def identity(self, namespace: str = "tekton-chains", account: str = "tekton-chains-controller") -> str:
        """Return the subject that Fulcio writes into a certificate for such a token."""
        return kubernetes_identity(namespace, account)


def kubernetes_identity(namespace: str, account: str) -> str:
    """Return the URI that Fulcio writes into certificates for the service account."""
    return f"https://kubernetes.io/namespaces/{namespace}/serviceaccounts/{account}"


@contextmanager
def issuer() -> Iterator[Issuer]:
    """Run an issuer for the length of the block."""
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
        "x": _base64url(numbers.x.to_bytes(32, "big")), "y": _base64url(numbers.y.to_bytes(32, "big")),
    }  # fmt: skip

    def answer(request: Request) -> Answer:
        if request.path == "/keys":
            return Answer(200, {"keys": [jwk]})
        if request.path != "/.well-known/openid-configuration":
            return Answer(404)
        base = f"http://{request.headers['host']}"
        return Answer(
            200,
            {
                "issuer": base,
                "jwks_uri": f"{base}/keys",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            },
        )

    with serving(answer) as url:
        yield Issuer(url, key)


def _encode(content: dict[str, Any]) -> str:
    return _base64url(json.dumps(content, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
