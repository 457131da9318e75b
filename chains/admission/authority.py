"""A CA for the webhook alone, and the certificates that it issues. Pure: PEM in, PEM out.

The CA is trusted in the webhook's configuration and nowhere else, so it need not be anybody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
_EARLIER = timedelta(minutes=5)
"""A certificate begins before it is made: clocks differ."""
_LONGEST_NAME = 64
"""Characters of a common name (RFC 5280, appendix A.1)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both in PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(…)"


@dataclass(frozen=True, slots=True)
class Plan:
    """The CA and the certificate to use, and which of them are new. ``why`` says so for people."""

    authority: Pair
    leaf: Pair
    is_new_authority: bool
    is_new_leaf: bool
    why: str = ""


def plan(authority: Pair | None, leaf: Pair | None, names: Sequence[str], now: datetime, days: int) -> Plan:
    """Return what to use from now on: what there is, or new ones in place of what is missing, wrong or ends.

    A certificate is renewed when a third of its ``days`` is left, a CA when it ends before a new certificate
    would.
    """
    life = timedelta(days=days)
    wrong = _authority_problem(authority, now + life)
    if authority is None or wrong:
        authority = new_authority(now)
        return Plan(authority, new_leaf(authority, names, now, days), True, True, wrong)
    wrong = _leaf_problem(leaf, authority, names, now + life / 3)
    if leaf is None or wrong:
        return Plan(authority, new_leaf(authority, names, now, days), False, True, wrong)
    return Plan(authority, leaf, False, False)


def new_authority(now: datetime) -> Pair:
    """Return a new CA, which may sign certificates of servers and no other CAs."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"chains admission CA {now:%Y-%m-%dT%H:%M:%SZ}")]
    )
    usage = _usage(key_cert_sign=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    built = (
        _builder(name, name, key, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, SHA256())
    )
    return Pair(built.public_bytes(Encoding.PEM), _to_pem(key))


def new_leaf(authority: Pair, names: Sequence[str], now: datetime, days: int) -> Pair:
    """Return a new certificate for a server with these DNS names, issued by a CA."""
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    issuer_key = load_pem_private_key(authority.key, None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the CA's key is no key of an elliptic curve")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_LONGEST_NAME])])
    built = (
        _builder(name, issuer.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .sign(issuer_key, SHA256())
    )
    return Pair(built.public_bytes(Encoding.PEM), _to_pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _authority_problem(pair: Pair | None, needed: datetime) -> str:
    if pair is None:
        return "there is no CA"
    try:
        found = _opened(pair)
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        return f"the CA cannot be used: {error}"
    if not constraints.ca:
        return "the CA's certificate is none of a CA"
    return "the CA ends" if found.not_valid_after_utc <= needed else ""


def _leaf_problem(pair: Pair | None, authority: Pair, names: Sequence[str], needed: datetime) -> str:
    if pair is None:
        return "there is no certificate"
    try:
        found = _opened(pair)
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        return f"the certificate is none of the CA: {error or type(error).__name__}"
    if set(names) - set(alternative.get_values_for_type(x509.DNSName)):
        return "the certificate is for other names"
    return "the certificate ends" if found.not_valid_after_utc <= needed else ""


def _opened(pair: Pair) -> x509.Certificate:
    """Return the certificate of a pair. Raises ValueError or TypeError if they are none or do not match."""
    found = x509.load_pem_x509_certificate(pair.certificate)
    key = load_pem_private_key(pair.key, None)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != found.public_key().public_bytes(*form):
        raise ValueError("the key is that of another certificate")
    return found


def certificates_of(bundle: bytes) -> list[bytes]:
    """Return each certificate of a bundle once, in PEM. Raises ValueError for a bundle that has none."""
    found = x509.load_pem_x509_certificates(bundle)
    return list(dict.fromkeys(one.public_bytes(Encoding.PEM) for one in found))
