"""Requests short-lived certificates from Fulcio with an identity token and a key.

Source: sigstore/fulcio ``fulcio.proto`` (``/api/v2/signingCert``).
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from signers.errors import SignerError, SignerRejected, SignerUnavailable, VerificationError
from signers.sigstore.certificate import Certificate, check_certificate
from signers.sigstore.identity_token import IdentityToken
from signers.sigstore.service import Service, expect_success, succeeded
from signers.sigstore.trusted_root import TrustedRoot

_SKEW = timedelta(seconds=5)
"""The clock difference between Fulcio and this machine that is tolerated."""


class Fulcio:
    """A Fulcio instance at ``url`` whose authority is in ``root``. Safe to use from several threads."""

    def __init__(self, url: str, root: TrustedRoot, *, timeout: float = 20.0) -> None:
        self.url = url.rstrip("/")
        self._root = root
        self._service = Service(url, "fulcio", timeout=timeout)

    def request(self, token: IdentityToken, key: ec.EllipticCurvePrivateKey) -> Certificate:
        """Return a new certificate for ``key``. Its key, chain and certificate timestamp are verified.

        Raises :class:`SignerUnavailable` when a later call may succeed, and :class:`SignerRejected`. A token
        that Fulcio refuses counts as unavailable: the token is read again for the next call, and a failing
        discovery of the issuer can recover.
        """
        # The subject of the request is empty: Fulcio takes the identity from the token only. The request
        # proves possession of the key.
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
        content = {
            "credentials": {"oidcIdentityToken": token.jwt},
            "certificateSigningRequest": b64encode(request.public_bytes(Encoding.PEM)).decode(),
        }
        reply = self._service.post_json("/api/v2/signingCert", content, secret=token.jwt)
        if not succeeded(reply):
            raise _refused(reply.refusal(), token)
        answer = expect_success(reply).json
        try:
            chain = answer["signedCertificateEmbeddedSct"]["chain"]["certificates"]
            leaf = x509.load_pem_x509_certificate(chain[0].encode())
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise SignerUnavailable(
                f"{reply.where}: its answer has no certificate with an embedded certificate timestamp"
            ) from error
        # A certificate for another key would make every signature unverifiable, so it must not be used.
        if leaf.public_key() != key.public_key():
            raise SignerUnavailable(f"{reply.where}: its answer has a certificate for another key")
        try:
            return check_certificate(leaf, self._root, datetime.now(UTC), _SKEW)
        except VerificationError as error:
            raise SignerRejected(
                f"{reply.where}: its certificate does not verify: {error}; check signers.x509.trusted-root"
            ) from error


def _refused(error: SignerError, token: IdentityToken) -> SignerError:
    """Return the exception for a refused request, with the public claims of the token."""
    text = (
        f"{error} (token of {token.subject or 'nobody'}, issuer {token.issuer or 'unknown'}, {token.source})"
    )
    if isinstance(error, SignerRejected):
        # fulcio answers 400 for an expired token and an unknown issuer, but also when the issuer is down
        return SignerUnavailable(
            f"{text}: check the audience, the issuer and the clock; fulcio's log says more"
        )
    return SignerUnavailable(text)
