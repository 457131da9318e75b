"""Timestamps of RFC 3161, verified: a third party's word on when a signature was there.

Sources: RFC 3161 sections 2.3 (the authority's key is for nothing else) and 2.4.2, Sigstore client
specification section 4.2.1 (the stamped bytes are the raw signature).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.x509 import BasicConstraints, Certificate, ExtensionNotFound, load_der_x509_certificate
from rfc3161_client import VerificationError as TimestampVerificationError
from rfc3161_client import VerifierBuilder, decode_timestamp_response
from rfc3161_client.tsp import MessageImprint, PKIStatus, TimeStampResponse

from signers.errors import VerificationError
from signers.sigstore.certificate import UNREADABLE
from signers.sigstore.trusted_root import Authority, TrustedRoot

MAX_BYTES = 64 * 1024
MAX_CERTIFICATES = 16
"""As many does a response carry at most; building chains from more is how verifiers are kept busy."""
_HASHES = {
    "2.16.840.1.101.3.4.2.1": hashlib.sha256,
    "2.16.840.1.101.3.4.2.2": hashlib.sha384,
    "2.16.840.1.101.3.4.2.3": hashlib.sha512,
}


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A timestamp response in DER, and the time it tells."""

    der: bytes
    time: datetime
    authority: str = ""
    """The URL that the trusted root has for who made it; empty when nobody's signature was verified."""


def check_timestamp(
    der: bytes, signature: bytes, root: TrustedRoot | None, nonce: int | None = None
) -> Timestamp:
    """Return the timestamp in ``der`` if it is one over ``signature``. Raises :class:`VerificationError`.

    Without ``root`` nobody's signature is verified, the imprint and the nonce alone. With it, an authority of
    it has to have signed the response with a certificate that is for timestamps and was valid at its time.
    """
    if len(der) > MAX_BYTES:
        raise VerificationError(
            f"a timestamp response has {len(der)} bytes, at most {MAX_BYTES} are read", "signature_invalid"
        )
    try:
        response = decode_timestamp_response(der)
        if response.status != PKIStatus.GRANTED:
            raise VerificationError(f"no timestamp was granted: {response.status}", "signature_invalid")
        info = response.tst_info
        moment = info.gen_time if info.gen_time.tzinfo else info.gen_time.replace(tzinfo=UTC)
    except ValueError as error:
        raise VerificationError("this is no timestamp response", "signature_invalid") from error
    if not _is_over(info.message_imprint, signature):
        raise VerificationError("the timestamp is over another signature", "signature_invalid")
    if nonce is not None and info.nonce != nonce:
        raise VerificationError("the timestamp answers another query", "signature_invalid")
    authority = _verify_signed(response, signature, moment, root).url if root is not None else ""
    return Timestamp(der, moment, authority)


def _is_over(imprint: MessageImprint, signature: bytes) -> bool:
    algorithm = _HASHES.get(imprint.hash_algorithm.dotted_string)
    return algorithm is not None and imprint.message == algorithm(signature).digest()


def _verify_signed(
    response: TimeStampResponse, signature: bytes, moment: datetime, root: TrustedRoot
) -> Authority:
    _check_certificates(response)
    problem = "the trusted root has no timestamp authority"
    for authority in root.timestamp_authorities:
        try:
            _builder(authority).build().verify_message(response, signature)
        except (TimestampVerificationError, *UNREADABLE) as error:
            problem = str(error)
            continue
        if moment in authority.valid:
            return authority
        problem = f"its authority is not trusted at {moment}"
    raise VerificationError(f"the timestamp is not one of the trusted root: {problem}", "signature_invalid")


def _check_certificates(response: TimeStampResponse) -> None:
    """Refuse two certificates of one name: the one that is looked at has to be the one that signed."""
    try:
        certificates = [load_der_x509_certificate(one) for one in response.signed_data.certificates]
        names = {(one.issuer.public_bytes(), one.serial_number) for one in certificates}
    except UNREADABLE as error:
        raise VerificationError(
            "a certificate of the timestamp cannot be read", "signature_invalid"
        ) from error
    if len(names) != len(certificates) or len(certificates) > MAX_CERTIFICATES:
        raise VerificationError("the timestamp's certificates are ambiguous or too many", "signature_invalid")


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
