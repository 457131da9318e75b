"""The certificates by which the components of a cluster authenticate each other, issued by one CA."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Authority:
    """A CA for one day, in a folder: ``ca.crt``, and ``NAME.crt`` with ``NAME.key`` for each certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.ca_file = folder, folder / "ca.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("node CA")
        certificate = self._sign(
            _builder(self._name, self._key.public_key()).add_extension(
                x509.BasicConstraints(ca=True, path_length=0), critical=True
            )
        )
        self.ca_file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self, name: str, subject: str, *, group: str = "", hosts: Sequence[str] = ()
    ) -> tuple[Path, Path]:
        """Write a certificate for a server and client with these addresses and names; return it and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(subject, group), key.public_key()).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        files = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        files[0].write_bytes(self._sign(builder).public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.issuer_name(self._name).sign(self._key, hashes.SHA256())


def _builder(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _name(common: str, organization: str = "") -> x509.Name:
    group = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*group, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
