"""Requests RFC 3161 timestamps."""

from __future__ import annotations

from rfc3161_client import TimestampRequestBuilder
from rfc3161_client.base import HashAlgorithm

from signers.errors import SignerUnavailable, VerificationError
from signers.sigstore.service import Service, expect_success
from signers.sigstore.timestamp_verify import Timestamp, check_timestamp
from signers.sigstore.trusted_root import TrustedRoot

_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}


class TimestampAuthority:
    """A timestamp authority at ``url``; nothing is appended to it. Safe to use from several threads.

    With ``root`` an answer must be signed by an authority in it.
    """

    def __init__(self, url: str, root: TrustedRoot | None = None, *, timeout: float = 10.0) -> None:
        self.url = url
        self._root = root
        self._service = Service(url, "timestamp authority", timeout=timeout)

    def stamp(self, signature: bytes) -> Timestamp:
        """Return a timestamp over ``signature``. Imprint, nonce and, with a root, certificates are verified.

        Raises :class:`SignerRejected`, and :class:`SignerUnavailable`, also for an answer that does not
        verify, because a later answer may.
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
            raise SignerUnavailable(f"{reply.where}: its answer does not verify: {error}") from error
