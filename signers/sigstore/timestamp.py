"""Timestamps of RFC 3161, asked for."""

from __future__ import annotations

from rfc3161_client import TimestampRequestBuilder
from rfc3161_client.base import HashAlgorithm

from signers.errors import SignerUnavailable, VerificationError
from signers.sigstore.service import Service, expect_success
from signers.sigstore.timestamp_verify import Timestamp, check_timestamp
from signers.sigstore.trusted_root import TrustedRoot

_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}


class TimestampAuthority:
    """A timestamp authority; queries are sent to ``url`` as it is. Safe for threads.

    With ``root`` an answer counts only when an authority in it signed it.
    """

    def __init__(self, url: str, root: TrustedRoot | None = None, *, timeout: float = 10.0) -> None:
        self.url = url
        self._root = root
        self._service = Service(url, "timestamp authority", timeout=timeout)

    def stamp(self, signature: bytes) -> Timestamp:
        """Return a timestamp over ``signature``, verified: imprint, nonce and, with a root, certificates.

        Raises :class:`SignerUnavailable`, since another answer may be better, and :class:`SignerRejected`.
        """
        query = (
            TimestampRequestBuilder()
            .hash_algorithm(HashAlgorithm.SHA256)
            .data(signature)
            .nonce(nonce=True)
            .build()
        )
        reply = expect_success(self._service.request("POST", "", query.as_bytes(), _HEADERS))
        try:
            return check_timestamp(reply.body, signature, self._root, query.nonce)
        except VerificationError as error:
            raise SignerUnavailable(f"{reply.where}: its answer is not used: {error}") from error
