"""The keys and certificates of a Sigstore instance, and the trusted root that names them."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.testbed.certificates import NO_USAGE

START = "2025-01-01T00:00:00Z"
TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
"""cosign 3.1 and sigstore-python 4.5 refuse the newer v0.2."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Authority:
    """A private key and its certificates, the key's own first."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def pem(self) -> bytes:
        """All certificates."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)


@dataclass(frozen=True, slots=True)
class SigstoreKeys:
    """All secrets of an instance, so that tests can forge any evidence."""

    fulcio: Authority
    timestamp: Authority
    """The signing certificate and its root."""
    ct: ec.EllipticCurvePrivateKey
    rekor: ec.EllipticCurvePrivateKey


def make_keys(now: datetime | None = None) -> SigstoreKeys:
    """Make new P-256 keys, with certificates for ten years from the day before ``now``."""
    now = now or datetime.now(UTC)
    fulcio, root, stamp = _key(), _key(), _key()
    fulcio_name, root_name = _name("fulcio"), _name("timestamp root")
    ca = (
        _builder(fulcio_name, fulcio_name, fulcio.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(fulcio, hashes.SHA256())
    )
    stamp_root = (
        _builder(root_name, root_name, root.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(root, hashes.SHA256())
    )
    leaf = (
        _builder(_name("timestamp authority"), root_name, stamp.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        .sign(root, hashes.SHA256())
    )
    return SigstoreKeys(Authority(fulcio, (ca,)), Authority(stamp, (leaf, stamp_root)), _key(), _key())


def trusted_root(keys: SigstoreKeys, fulcio: str, rekor: str, ct_log: str, timestamp: str) -> Json:
    """Return the trusted root of an instance at these URLs."""
    return {
        "mediaType": TRUSTED_ROOT,
        "tlogs": [log_of(keys.rekor, rekor)],
        "certificateAuthorities": [authority_of(keys.fulcio, fulcio)],
        "ctlogs": [log_of(keys.ct, ct_log)],
        "timestampAuthorities": [authority_of(keys.timestamp, timestamp)],
    }


def signing_config(fulcio: str, rekor: str, timestamp: str, *, rekor_version: int = 2) -> Json:
    """Return the signing configuration of an instance at these URLs."""

    def service(url: str, version: int) -> Json:
        return {"url": url, "majorApiVersion": version, "validFor": {"start": START}, "operator": "testbed"}

    return {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": [service(fulcio, 1)],
        "oidcUrls": [],
        "rekorTlogUrls": [service(rekor, rekor_version)],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": [service(timestamp, 1)],
        "tsaConfig": {"selector": "ANY"},
    }


def write_json(path: Path, content: Json) -> Path:
    """Write JSON and return the path."""
    path.write_text(json.dumps(content, indent=1))
    return path


def write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """Write an unencrypted PKCS #8 key and return the path."""
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public half."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def log_of(key: ec.EllipticCurvePrivateKey, url: str) -> Json:
    """Return a trusted root's entry for a log."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _base64(spki),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": START},
        },
        "logId": {"keyId": _base64(hashlib.sha256(spki).digest())},
    }


def authority_of(authority: Authority, url: str) -> Json:
    """Return a trusted root's entry for a certificate or timestamp authority."""
    return {
        "subject": {"organization": "testbed", "commonName": "testbed"},
        "uri": url,
        "certChain": {
            "certificates": [{"rawBytes": _base64(one.public_bytes(Encoding.DER))} for one in authority.chain]
        },
        "validFor": {"start": START},
    }


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "testbed")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**NO_USAGE | dict.fromkeys(names, True))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
