"""RFC 3161 timestamp responses, encoded by hand, so that they can have content that no authority would
sign.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.testbed.certificates import NO_USAGE
from tests.testbed.ct_log import SEQUENCE, der
from tests.testbed.sigstore_keys import Authority

INTEGER, OCTET_STRING, OID, GENERALIZED_TIME, SET, EXPLICIT, SIGNED_ATTRIBUTES = 2, 4, 6, 24, 0x31, 0xA0, 0xA0
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
_ECDSA_SHA256 = "1.2.840.10045.4.3.2"
_IMPRINTS = {"sha1": "1.3.14.3.2.26", "sha256": "2.16.840.1.101.3.4.2.1", "sha512": "2.16.840.1.101.3.4.2.3"}


@dataclass(frozen=True, slots=True)
class Stamp:
    """The content of a response; the defaults are valid."""

    moment: datetime
    status: int = 0
    algorithm: str = "sha256"
    told: datetime | None = None
    """The time in the response, if it is not the signed one."""
    nonce: int | None = None


def make_authority(
    root: Authority,
    now: datetime,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING,
    lasts: timedelta = timedelta(days=3000),
    *,
    is_told: bool = True,
) -> Authority:
    """Return a timestamp authority under ``root``, with a certificate valid since the day before ``now``.

    ``is_told``: the certificate states that it is not a CA.
    """
    key, above = ec.generate_private_key(ec.SECP256R1()), root.chain[0]
    start = now - timedelta(days=1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "timestamp authority")])
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(above.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lasts)
        .add_extension(x509.KeyUsage(**NO_USAGE | {"digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key()), critical=False
        )
    )
    if is_told:
        leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return Authority(key, (leaf.sign(root.key, hashes.SHA256()), *root.chain))


def make_root(now: datetime, above: Authority | None = None) -> Authority:
    """Return the root of a timestamp authority, valid for ten years from the day before ``now``.

    With another root in ``above`` it is an intermediate authority.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "timestamp root" if above is None else "between")]
    )
    start = now - timedelta(days=1)
    root = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if above is None else above.chain[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**NO_USAGE | {"key_cert_sign": True}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key if above is None else above.key, hashes.SHA256())
    )
    return Authority(key, (root, *(above.chain if above else ())))


def stamp(authority: Authority, data: bytes, wanted: Stamp) -> bytes:
    """Return an authority's response over ``data``. The authority's own certificate comes first."""
    info = _tst_info(data, wanted, wanted.moment)
    attributes = b"".join(
        sorted(
            _attribute(*one)
            for one in (
                (_CONTENT_TYPE, oid(_TST_INFO)),
                (_MESSAGE_DIGEST, der(OCTET_STRING, hashlib.sha256(info).digest())),
                (_SIGNING_CERTIFICATE_V2, _signing_certificate(authority.chain[0])),
            )
        )
    )
    signature = authority.key.sign(der(SET, attributes), ec.ECDSA(hashes.SHA256()))
    leaf = authority.chain[0]
    signer = sequence(
        integer(1),
        sequence(leaf.issuer.public_bytes(), integer(leaf.serial_number)),
        _algorithm("sha256"),
        der(SIGNED_ATTRIBUTES, attributes),
        sequence(oid(_ECDSA_SHA256)),
        der(OCTET_STRING, signature),
    )
    shown = info if wanted.told is None else _tst_info(data, wanted, wanted.told)
    signed = sequence(
        integer(3),
        der(SET, _algorithm("sha256")),
        sequence(oid(_TST_INFO), der(EXPLICIT, der(OCTET_STRING, shown))),
        der(0xA0, b"".join(sorted(one.public_bytes(Encoding.DER) for one in authority.chain))),
        der(SET, signer),
    )
    return sequence(sequence(integer(wanted.status)), sequence(oid(_SIGNED_DATA), der(EXPLICIT, signed)))


def _tst_info(data: bytes, wanted: Stamp, moment: datetime) -> bytes:
    imprint = der(OCTET_STRING, hashlib.new(wanted.algorithm, data).digest())
    return sequence(
        integer(1),
        oid("1.3.6.1.4.1.57264.2"),
        sequence(_algorithm(wanted.algorithm), imprint),
        integer(4711),
        der(GENERALIZED_TIME, moment.strftime("%Y%m%d%H%M%SZ").encode()),
        b"" if wanted.nonce is None else integer(wanted.nonce),
    )


def _signing_certificate(certificate: x509.Certificate) -> bytes:
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    return sequence(sequence(sequence(der(OCTET_STRING, digest))))


def _attribute(name: str, value: bytes) -> bytes:
    return sequence(oid(name), der(SET, value))


def _algorithm(name: str) -> bytes:
    return sequence(oid(_IMPRINTS[name]))


def sequence(*elements: bytes) -> bytes:
    """Return a SEQUENCE."""
    return der(SEQUENCE, b"".join(elements))


def integer(value: int) -> bytes:
    """Return an INTEGER that is not negative."""
    return der(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for part in (first * 40 + second, *rest):
        digits = [part & 0x7F]
        while part := part >> 7:
            digits.append(0x80 | part & 0x7F)
        content += bytes(reversed(digits))
    return der(OID, content)
