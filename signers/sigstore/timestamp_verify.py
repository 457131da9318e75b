"""Verifies RFC 3161 timestamps, which prove that a signature existed at a time.

Sources: RFC 3161 sections 2.3 (the authority's key is for timestamps only) and 2.4.2, Sigstore client
specification section 4.2.1 (the timestamp is over the raw signature).
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
"""The largest timestamp response that is read."""
MAX_CERTIFICATES = 16
"""The most certificates in a response. Building chains from many certificates takes long, which an attacker
could use to occupy verifiers."""
_HASHES = {
    "2.16.840.1.101.3.4.2.1": hashlib.sha256,
    "2.16.840.1.101.3.4.2.2": hashlib.sha384,
    "2.16.840.1.101.3.4.2.3": hashlib.sha512,
}


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A timestamp response in DER, and its time."""

    der: bytes
    time: datetime
    authority: str = ""
    """The URL of the authority in the trusted root; empty when no signature was verified."""


def check_timestamp(
    der: bytes, signature: bytes, root: TrustedRoot | None, nonce: int | None = None
) -> Timestamp:
    """Verify that ``der`` is a timestamp response over ``signature`` and return it.

    Without ``root`` only the imprint and the nonce are checked. With ``root`` one of its authorities must
    have signed the response with a certificate for timestamping that was valid at that time. Raises
    :class:`VerificationError` (``signature_invalid``).
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
        raise VerificationError("this is not a timestamp response", "signature_invalid") from error
    if not _is_over(info.message_imprint, signature):
        raise VerificationError("the timestamp is over another signature", "signature_invalid")
    # The nonce proves that the response was made for this query and is not a replay.
    if nonce is not None and info.nonce != nonce:
        raise VerificationError("the timestamp answers another query", "signature_invalid")
    authority = _verify_signed(response, signature, moment, root).url if root is not None else ""
    return Timestamp(der, moment, authority)


def _is_over(imprint: MessageImprint, signature: bytes) -> bool:
    """Whether the message imprint is the digest of ``signature``."""
    algorithm = _HASHES.get(imprint.hash_algorithm.dotted_string)
    return algorithm is not None and imprint.message == algorithm(signature).digest()


def _verify_signed(
    response: TimeStampResponse, signature: bytes, moment: datetime, root: TrustedRoot
) -> Authority:
    """Return the authority of ``root`` that signed the response. Raises :class:`VerificationError`."""
    _check_certificates(response)
    problem = "the trusted root has no timestamp authority"
    # The response does not say which authority it is from, so each is tried.
    for authority in root.timestamp_authorities:
        try:
            _builder(authority).build().verify_message(response, signature)
        except (TimestampVerificationError, *UNREADABLE) as error:
            problem = str(error)
            continue
        # The signature verifies, but the trusted root may limit when this authority counts.
        if moment in authority.valid:
            return authority
        problem = f"its authority is not trusted at {moment}"
    raise VerificationError(
        f"no authority of the trusted root made the timestamp: {problem}", "signature_invalid"
    )


def _check_certificates(response: TimeStampResponse) -> None:
    """Refuse two certificates with the same issuer and serial number.

    The library looks the signer's certificate up by these. With two, the one whose properties are checked
    might not be the one whose key signed.
    """
    try:
        certificates = [
            load_der_x509_certificate(certificate) for certificate in response.signed_data.certificates
        ]
        names = {
            (certificate.issuer.public_bytes(), certificate.serial_number) for certificate in certificates
        }
    except UNREADABLE as error:
        raise VerificationError(
            "a certificate of the timestamp cannot be read", "signature_invalid"
        ) from error
    if len(names) != len(certificates) or len(certificates) > MAX_CERTIFICATES:
        raise VerificationError("the timestamp's certificates are ambiguous or too many", "signature_invalid")


def _builder(authority: Authority) -> VerifierBuilder:
    """Return the verifier for one authority of the trusted root."""
    # The chain runs from the issuing certificate to the root. Its first certificate may be the one that signs
    # timestamps, which is not an authority.
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
