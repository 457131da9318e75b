"""Keyless signing: a key that exists for minutes, and a Fulcio certificate for it.

The key signs any bytes, as a key file does. The signer of sigstore-python is not used: it accepts only
Statement v1 and three digest algorithms, and Tekton Chains' formats need others.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from signers.base import Signer
from signers.errors import SignerError, SignerUnavailable
from signers.keys.public_key import PublicKey
from signers.sigstore.certificate import Certificate
from signers.sigstore.fulcio import Fulcio
from signers.sigstore.identity_token import IdentityToken, TokenSource

MARGIN = 60.0
"""Seconds before the end of a certificate from which it is no longer used. The timestamp of a signature must
be within the certificate's validity."""
_ECDSA = ec.ECDSA(SHA256())
_log = logging.getLogger("signers.keyless")


class CertifiedSigner(Signer):
    """A key with its certificate, usable while the certificate is valid."""

    deterministic = False

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: Certificate) -> None:
        self.key = PublicKey.from_key(key.public_key(), "the certified key")
        self.keyid = self.key.keyid
        self.public_pem = self.key.pem
        self.certificate = certificate
        self._key = key

    def sign(self, data: bytes) -> bytes:
        """Return the ECDSA signature over ``data`` in DER, with SHA-256."""
        return self._key.sign(data, _ECDSA)

    def lasts(self, seconds: float) -> bool:
        """Whether the certificate is valid for ``seconds`` more."""
        return datetime.now(UTC) + timedelta(seconds=seconds) < self.certificate.leaf.not_valid_after_utc


class Keyless:
    """Provides signers with a certificate. Each has a new key and a fresh token. Safe for threads."""

    def __init__(self, fulcio: Fulcio, tokens: TokenSource, *, margin: float = MARGIN) -> None:
        self._fulcio, self._tokens, self._margin = fulcio, tokens, margin
        self._lock = threading.Lock()
        self._held: CertifiedSigner | None = None
        self._failed: tuple[float, SignerError] | None = None

    def current(self) -> CertifiedSigner:
        """Return a signer whose certificate is valid for at least the margin.

        Threads share one signer, and only one of them requests a new certificate. A thread that waited for a
        request that failed raises the same exception and does not ask again: otherwise a failing service
        would be called once for every waiting thread. Raises :class:`SignerUnavailable` and
        :class:`SignerRejected`.
        """
        asked = time.monotonic()
        # Checked before the lock is taken: threads do not wait while a valid signer exists.
        held = self._held
        if held is not None and held.lasts(self._margin):
            return held
        with self._lock:
            held = self._held
            if held is not None and held.lasts(self._margin):
                return held
            # The last request failed after this call began, so this call waited for it and shares its result.
            if self._failed is not None and self._failed[0] > asked:
                raise self._failed[1]
            try:
                self._held = self._renew()
            except SignerError as error:
                self._failed = (time.monotonic(), error)
                raise
            return self._held

    def _renew(self) -> CertifiedSigner:
        """Request a certificate for a new key."""
        token = self._tokens.read()
        _refuse_expired(token)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._fulcio.request(token, key)
        _log.info(
            "a certificate was issued",
            extra={
                "identity": certificate.identity,
                "issuer": certificate.issuer,
                "until": certificate.leaf.not_valid_after_utc.isoformat(),
                "source": token.source,
            },
        )
        return CertifiedSigner(key, certificate)


def _refuse_expired(token: IdentityToken) -> None:
    """Raise :class:`SignerUnavailable` for an expired token. Fulcio's own answer would not name the cause."""
    if token.expires and token.expires <= time.time():
        ended = datetime.fromtimestamp(token.expires, UTC).isoformat()
        raise SignerUnavailable(
            f"{token.source}: the token of {token.subject or 'nobody'} expired at {ended}: check that it is "
            "renewed, and the clock"
        )
