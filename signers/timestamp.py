"""Timestamps of RFC 3161: a third party's word on when a signature was there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.x509 import BasicConstraints, Certificate, ExtensionNotFound
from rfc3161_client import TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response
from rfc3161_client import VerificationError as TimestampVerificationError
from rfc3161_client.base import HashAlgorithm
from rfc3161_client.tsp import PKIStatus, TimeStampResponse

from signers.base import SignerUnavailable, VerificationError
from signers.service import Service, expect_success
from signers.trusted_root import Authority, TrustedRoot

_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
_IMPRINTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A timestamp response in DER, and the time it tells."""

    der: bytes
    time: datetime


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


def check_timestamp(
    der: bytes, signature: bytes, root: TrustedRoot | None, nonce: int | None = None
) -> Timestamp:
    """Return the timestamp in ``der`` if it is one over ``signature``. Raises :class:`VerificationError`.

    Client specification 4.2.1 and RFC 3161 section 2.2: the imprint is of the signature's bytes, and an
    authority of ``root`` signed it, with a certificate for timestamps that was valid at the time it tells, as
    was the authority itself. Without ``root`` nobody's signature is verified, imprint and nonce alone.
    """
    try:
        response = decode_timestamp_response(der)
        if response.status != PKIStatus.GRANTED:
            raise VerificationError(f"no timestamp was granted: {response.status}", "signature_invalid")
        info = response.tst_info
    except ValueError as error:
        raise VerificationError("this is no timestamp response", "signature_invalid") from error
    imprint = info.message_imprint
    algorithm = _IMPRINTS.get(imprint.hash_algorithm.dotted_string)
    if algorithm is None or imprint.message != hashlib.new(algorithm, signature).digest():
        raise VerificationError("the timestamp is over another signature", "signature_invalid")
    if nonce is not None and info.nonce != nonce:
        raise VerificationError("the timestamp answers another query", "signature_invalid")
    if root is not None:
        _verify_signed(response, signature, root)
    moment = info.gen_time
    return Timestamp(der, moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _verify_signed(response: TimeStampResponse, signature: bytes, root: TrustedRoot) -> None:
    problem = "the trusted root has no timestamp authority"
    for authority in root.timestamp_authorities:
        try:
            _builder(authority).build().verify_message(response, signature)
        except (TimestampVerificationError, ValueError) as error:
            problem = str(error)
            continue
        moment = response.tst_info.gen_time
        if (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) in authority.valid:
            return
        problem = "its authority is trusted for another time"
    raise VerificationError(f"the timestamp is not one of the trusted root: {problem}", "signature_invalid")


def _builder(authority: Authority) -> VerifierBuilder:
    *others, last = authority.chain
    builder = VerifierBuilder(roots=[last])
    if others and not _is_ca(others[0]):
        builder = builder.tsa_certificate(others.pop(0))
    for certificate in others:
        builder = builder.add_intermediate_certificate(certificate)
    return builder


def _is_ca(certificate: Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False
