"""Verifies Fulcio certificates: identity, issuing authority, validity at the signing time.

Sources: Sigstore client specification section 4.3 (path validation at the signing time, certificate
timestamp, policy), RFC 5280 section 6, RFC 6962 section 3.2, sigstore/fulcio
``docs/certificate-specification.md`` and ``docs/oid-info.md``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.certificate_transparency import SignedCertificateTimestamp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from signers.errors import FormatError, SignerError, VerificationError
from signers.sigstore.trusted_root import Authority, TrustedRoot, find_log

ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
"""Fulcio's two extensions for the issuer of the identity token: v2 is a DER UTF8String, v1 bare text."""
USERNAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
"""The type of the OtherName in which Fulcio writes user names."""
MAX_BYTES = 64 * 1024
"""The largest certificate that is read. Fulcio's have about 1 kB."""
_SHORT = 128
"""DER lengths below this take one byte; from it on, bit 7 marks a longer form (X.690, section 8.1.3)."""
_UTF8_STRING = 0x0C
"""The DER tag of a UTF8String."""
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.BASIC_CONSTRAINTS,
    }
)
"""The extensions that a certificate may mark as critical (RFC 5280, section 4.2)."""
UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
"""What ``cryptography`` raises for malformed certificates. The deprecation warning is among them for
processes that turn warnings into errors."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that was verified up to the trusted root."""

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    """The other certificates, from the issuer to the root."""
    identity: str
    """The URI, mail address or name in the subject alternative name."""
    issuer: str
    """The issuer of the identity token (an OIDC issuer), not that of the certificate."""

    @property
    def der(self) -> bytes:
        """The leaf certificate in DER."""
        return self.leaf.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The leaf certificate in PEM."""
        return self.leaf.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The certificates of ``chain`` in PEM."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that an authority of the trusted root issued. Its validity is not checked yet."""

    leaf: x509.Certificate
    authorities: tuple[Authority, ...]
    """The authorities that may have issued it, at least one. A trusted root can list one authority several
    times with different periods."""
    identity: str
    issuer: str

    def at(self, moment: datetime, skew: timedelta = timedelta()) -> Certificate:
        """Return the certificate as valid at ``moment``, its chain included.

        ``skew`` extends the validity of the leaf on both sides. Raises :class:`VerificationError`:
        ``timestamp_outside_cert`` when the leaf was not valid then, ``expired`` when no authority was.
        """
        if not _held(self.leaf, moment, skew):
            raise VerificationError(
                f"the certificate is valid from {self.leaf.not_valid_before_utc} to "
                f"{self.leaf.not_valid_after_utc}, not at {moment}",
                "timestamp_outside_cert",
            )
        # Intermediate and root certificates get no clock skew: their validity spans years.
        for authority in self.authorities:
            if moment in authority.valid and all(
                _held(certificate, moment) for certificate in authority.chain
            ):
                return Certificate(self.leaf, authority.chain, self.identity, self.issuer)
        raise VerificationError(f"the certificate's authority is not trusted at {moment}", "expired")


def read_certificate(der: bytes) -> x509.Certificate:
    """Read a DER certificate of at most :data:`MAX_BYTES`. Raises :class:`FormatError`."""
    if len(der) > MAX_BYTES:
        raise FormatError(f"the certificate has {len(der)} bytes, at most {MAX_BYTES} are read")
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE as error:
        raise FormatError("the certificate cannot be read") from error


def check_issued(leaf: x509.Certificate, root: TrustedRoot) -> Issued:
    """Verify who issued ``leaf`` and what it is for, but not when it was valid.

    Raises :class:`VerificationError`:

    - ``certificate_unknown``: no authority of ``root`` issued it.
    - ``certificate_invalid``: it is not for code signing, has not exactly one name, or cannot be read.
    - ``sct_missing``, ``sct_invalid``: it has no valid certificate timestamp by a log of ``root``.
    """
    try:
        authorities = tuple(
            authority for authority in root.certificate_authorities if _issued(leaf, authority)
        )
        if not authorities:
            raise VerificationError(
                "no authority of the trusted root issued the certificate", "certificate_unknown"
            )
        _check_profile(leaf)
        # Entries for the same authority share its issuing key, so the first one is enough for the timestamp.
        verify_sct(leaf, authorities[0].chain[0], root)
        return Issued(leaf, authorities, _identity(leaf), issuer_of(leaf))
    except UNREADABLE as error:
        raise VerificationError("the certificate cannot be read", "certificate_invalid") from error


def check_certificate(
    leaf: x509.Certificate, root: TrustedRoot, moment: datetime, skew: timedelta = timedelta()
) -> Certificate:
    """Verify ``leaf`` at ``moment`` and return it with its chain.

    The certificate must chain to an authority of ``root`` that was valid then, be for code signing, and carry
    a certificate timestamp by a log of ``root``. Raises :class:`VerificationError` with the reasons of
    :func:`check_issued` and :meth:`Issued.at`.
    """
    return check_issued(leaf, root).at(moment, skew)


def _held(certificate: x509.Certificate, moment: datetime, skew: timedelta = timedelta()) -> bool:
    """Whether ``moment`` is within the certificate's validity, extended by ``skew`` on both sides."""
    return certificate.not_valid_before_utc - skew <= moment <= certificate.not_valid_after_utc + skew


def _issued(leaf: x509.Certificate, authority: Authority) -> bool:
    """Whether signatures chain from the leaf to the root through certificates of the trusted root only."""
    lower = leaf
    try:
        for below, upper in enumerate(authority.chain):
            if not _may_issue(upper, below):
                return False
            lower.verify_directly_issued_by(upper)
            lower = upper
    except (*UNREADABLE, InvalidSignature, x509.ExtensionNotFound):
        return False
    return True


def _may_issue(authority: x509.Certificate, below: int) -> bool:
    """Whether this certificate may issue code signing certificates.

    ``below`` is the number of authorities between it and the leaf, which its path length must allow.
    """
    # A certificate without basic constraints is not an authority; _issued() treats the exception as "no".
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not constraints.ca or (constraints.path_length is not None and constraints.path_length < below):
        return False
    for extension in authority.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not value.key_cert_sign:
            return False
        # The extended key usage of an authority restricts what it may issue (RFC 5280, section 4.2.1.12).
        if isinstance(value, x509.ExtendedKeyUsage) and not (
            {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(value)
        ):
            return False
        if extension.critical and extension.oid not in _UNDERSTOOD:
            return False
    return True


def _check_profile(leaf: x509.Certificate) -> None:
    """Check what the certificate may be used for. Raises :class:`VerificationError`."""
    problem = ""
    usages: Sequence[x509.ObjectIdentifier] = ()
    may_sign = False
    for extension in leaf.extensions:
        value = extension.value
        if extension.critical and extension.oid not in _UNDERSTOOD:
            problem = f"has the critical extension {extension.oid.dotted_string}, which is not supported"
        elif isinstance(value, x509.BasicConstraints) and value.ca:
            problem = "is an authority's"
        elif isinstance(value, x509.KeyUsage):
            may_sign = value.digital_signature
        elif isinstance(value, x509.ExtendedKeyUsage):
            usages = list(value)
    # RFC 5280, section 4.2.1.3: the key usage must allow signatures over data.
    if not may_sign or ExtendedKeyUsageOID.CODE_SIGNING not in usages:
        problem = problem or "is not for signing code"
    if len(_names(leaf)) != 1:
        problem = problem or f"is for {len(_names(leaf))} names, not for one"
    if problem:
        raise VerificationError(f"the certificate {problem}", "certificate_invalid")


def stated_names(leaf: x509.Certificate) -> tuple[tuple[str, ...], str]:
    """Return the identities and the issuer as a certificate states them; anybody can make such a certificate.

    What cannot be read is empty.
    """
    try:
        names = tuple(str(name.value) for name in _names(leaf) if not isinstance(name, x509.OtherName))
        return names, issuer_of(leaf)
    except (VerificationError, *UNREADABLE):
        return (), ""


def issuer_of(leaf: x509.Certificate) -> str:
    """Return the issuer of the identity token in the certificate's extensions; empty when there is none.

    Raises :class:`VerificationError` for an extension that cannot be read, and when the two extensions
    contradict each other.
    """
    issuers = []
    for oid in (ISSUER_V2, ISSUER_V1):
        try:
            extension = leaf.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            continue
        raw = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
        issuers.append(_utf8_string(raw) if oid == ISSUER_V2 else _text(raw))
    # Readers prefer either extension, so contradicting values would be read in two ways.
    if len(set(issuers)) > 1:
        raise VerificationError(
            f"the certificate names two issuers, {' and '.join(issuers)}", "certificate_invalid"
        )
    return issuers[0] if issuers else ""


def _names(leaf: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _identity(leaf: x509.Certificate) -> str:
    """Return the one name in the subject alternative name; empty for an OtherName of unknown type."""
    # _check_profile() has verified that there is exactly one.
    (name,) = _names(leaf)
    if isinstance(name, x509.OtherName):
        return _utf8_string(name.value) if name.type_id == USERNAME else ""
    return str(name.value)


def _utf8_string(raw: bytes) -> str:
    """Return the text of a DER UTF8String. Raises :class:`VerificationError`."""
    # A length of 128 or more is encoded as 0x80 plus the number of length bytes that follow (X.690, 8.1.3.5).
    header, length = 2, raw[1] if len(raw) > 1 else 0
    if length >= _SHORT:
        header += length & 0x7F
        length = int.from_bytes(raw[2:header], "big")
    # The length byte 0x80 means indefinite length, which BER allows and DER does not.
    if raw[:1] != bytes((_UTF8_STRING,)) or raw[1:2] == bytes((_SHORT,)) or len(raw) != header + length:
        raise VerificationError("the certificate has a name that is no text", "certificate_invalid")
    return _text(raw[header:])


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise VerificationError(
            "the certificate has a name that is no text", "certificate_invalid"
        ) from error


def verify_sct(leaf: x509.Certificate, issuer: x509.Certificate, root: TrustedRoot) -> None:
    """Return if a certificate transparency log of ``root`` signed a timestamp for ``leaf``.

    ``issuer`` is the certificate that issued it. One valid timestamp of several is enough. Source: RFC 6962,
    section 3.2. Raises :class:`VerificationError` (``sct_missing``, ``sct_invalid``).
    """
    try:
        extension = leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps)
    except x509.ExtensionNotFound as error:
        raise VerificationError("the certificate has no certificate timestamp", "sct_missing") from error
    problem: SignerError | None = None
    for sct in extension.value:
        try:
            log = find_log(root.ct_logs, sct.log_id)
            # cryptography returns this time without a zone; it is UTC.
            moment = sct.timestamp if sct.timestamp.tzinfo else sct.timestamp.replace(tzinfo=UTC)
            if moment not in log.valid:
                problem = VerificationError("its certificate log is trusted for another time", "sct_invalid")
                continue
            log.verify(sct.signature, _promised(sct, leaf, issuer, moment))
        except VerificationError as error:
            problem = error
        else:
            return
    raise VerificationError(f"the certificate's timestamp is not valid: {problem}", "sct_invalid")


def _promised(
    sct: SignedCertificateTimestamp, leaf: x509.Certificate, issuer: x509.Certificate, moment: datetime
) -> bytes:
    """Return the bytes that a certificate timestamp signs (RFC 6962, section 3.2, ``digitally-signed``)."""
    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # The log signed the certificate before the SCT was embedded: the TBS without the SCT extension.
    tbs = leaf.tbs_precertificate_bytes
    milliseconds = round(moment.timestamp() * 1000)
    # Sct_version, signature_type certificate_timestamp (0), timestamp, entry_type precert_entry (1).
    head = struct.pack("!BBQH", sct.version.value, 0, milliseconds, 1)
    extensions = struct.pack("!H", len(sct.extension_bytes)) + sct.extension_bytes
    return head + hashlib.sha256(key).digest() + len(tbs).to_bytes(3, "big") + tbs + extensions
