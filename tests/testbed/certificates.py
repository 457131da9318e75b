"""A private CA and one server certificate for the loopback address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NO_USAGE = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: the CA, a certificate it issued for 127.0.0.1, localhost and other names, and its private key."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    @property
    def expires(self) -> float:
        """When the server's certificate ends, in seconds since 1970."""
        return x509.load_pem_x509_certificate(self.cert_file.read_bytes()).not_valid_after_utc.timestamp()


def make_certificates(folder: Path, hosts: Sequence[str] = ()) -> Certificates:
    """Write a new CA and a server certificate (also for ``hosts``) into ``folder``; valid for one day."""
    folder.mkdir(parents=True, exist_ok=True)
    files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _ca(ca_key)
    files.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files.cert_file.write_bytes(_server(key, ca, ca_key, hosts).public_bytes(serialization.Encoding.PEM))
    files.key_file.touch(mode=0o600)
    files.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


@dataclass(frozen=True, slots=True)
class ClientAuthority:
    """A CA whose certificates name users and their groups, as Kubernetes reads them."""

    ca_file: Path
    _ca: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path) -> ClientAuthority:
        """Write a new CA into ``folder``."""
        key = ec.generate_private_key(ec.SECP256R1())
        found = cls(folder / "client-ca.pem", _ca(key), key)
        found.ca_file.write_bytes(found._ca.public_bytes(serialization.Encoding.PEM))
        return found

    def issue(self, user: str, *groups: str) -> tuple[bytes, bytes]:
        """Return PEMs of a certificate for ``user`` and of its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        certificate = (
            _builder(subject, self._ca.subject, key.public_key(), self._key.public_key())
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        encoding = serialization.Encoding.PEM
        pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return certificate.public_bytes(encoding), pem


def _ca(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    usage = x509.KeyUsage(**NO_USAGE | {"key_cert_sign": True, "crl_sign": True})
    name = _name("testbed CA")
    return (
        _builder(name, name, key.public_key(), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    hosts: Sequence[str],
) -> x509.Certificate:
    dns = [x509.DNSName(host) for host in ("localhost", *hosts)]
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1")), *dns])
    usage = x509.KeyUsage(**NO_USAGE | {"digital_signature": True})
    return (
        _builder(_name("testbed server"), ca.subject, key.public_key(), ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
