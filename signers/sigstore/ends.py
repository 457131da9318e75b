"""When the certificates in a signature's verification material end. They are read, and not verified here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    ExtensionNotFound,
    load_der_x509_certificate,
)
from rfc3161_client import decode_timestamp_response

from signers.sigstore.certificate import UNREADABLE
from signers.sigstore.verification_material import VerificationMaterial


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """A certificate: subject and issuer as RFC 4514 writes them, its key, and its last moment.

    A certificate of Fulcio has no subject.
    """

    subject: str
    issuer: str
    algorithm: str
    until: datetime


def signing_end(material: VerificationMaterial) -> CertificateEnd | None:
    """Return the certificate that signed, None for a plain key and for one that cannot be read."""
    if not material.certificate:
        return None
    try:
        return _end(load_der_x509_certificate(material.certificate))
    except UNREADABLE:
        return None


def timestamp_ends(material: VerificationMaterial) -> Iterator[CertificateEnd]:
    """Yield the certificates that signed the timestamps, as far as the timestamps have them."""
    for der in (*material.timestamps, *material.outer_timestamps):
        try:
            response = decode_timestamp_response(der)
            found = [load_der_x509_certificate(one) for one in response.signed_data.certificates]
        except (ValueError, *UNREADABLE):
            continue
        yield from (_end(one) for one in found if not _is_authority(one))


def _end(certificate: Certificate) -> CertificateEnd:
    return CertificateEnd(
        certificate.subject.rfc4514_string(),
        certificate.issuer.rfc4514_string(),
        _algorithm(certificate),
        certificate.not_valid_after_utc,
    )


def _algorithm(certificate: Certificate) -> str:
    """Return the key's algorithm as keys have it, such as ``rsa-2048`` and ``ecdsa-p256``."""
    match certificate.public_key():
        case rsa.RSAPublicKey() as key:
            return f"rsa-{key.key_size}"
        case ec.EllipticCurvePublicKey() as key:
            return f"ecdsa-p{key.key_size}"
        case ed25519.Ed25519PublicKey():
            return "ed25519"
        case other:
            return type(other).__name__


def _is_authority(certificate: Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False
