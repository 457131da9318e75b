"""Certificates from Fulcio: an identity token and a key go in, a short-lived certificate comes out.

Source: sigstore/fulcio ``fulcio.proto`` (``/api/v2/signingCert``) and ``docs/certificate-specification.md``;
RFC 6962 section 3.2 for the certificate timestamp.
"""

from __future__ import annotations

import hashlib
import struct
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.certificate_transparency import LogEntryType, SignedCertificateTimestamp
from cryptography.x509.oid import ExtendedKeyUsageOID

from signers.base import SignerError, SignerRejected, SignerUnavailable, VerificationError
from signers.identity_token import IdentityToken
from signers.service import Service, expect_success, succeeded
from signers.trusted_root import Authority, TrustedRoot, find_log

ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
"""Fulcio's extensions for the issuer of the identity token: a DER UTF8String, and bare text."""
_SHORT = 128
_SKEW = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, verified to the trusted root."""

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    """From its issuer to the root."""
    identity: str
    """The URI, mail address or name that it is for."""
    issuer: str
    """The issuer of the identity token."""

    @property
    def der(self) -> bytes:
        """The leaf in DER."""
        return self.leaf.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The leaf in PEM."""
        return self.leaf.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The rest in PEM."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)


class Fulcio:
    """A certificate authority at ``url``, trusted by ``root``. Safe for threads."""

    def __init__(self, url: str, root: TrustedRoot, *, timeout: float = 20.0) -> None:
        self.url = url.rstrip("/")
        self._root = root
        self._service = Service(url, "fulcio", timeout=timeout)

    def request(self, token: IdentityToken, key: ec.EllipticCurvePrivateKey) -> Certificate:
        """Return a new certificate for ``key``, verified: key, chain and certificate timestamp.

        Raises :class:`SignerUnavailable` when trying again can help, which includes a token that Fulcio does
        not take (it is read anew, and an issuer's discovery heals), and :class:`SignerRejected`.
        """
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
        content = {
            "credentials": {"oidcIdentityToken": token.jwt},
            "certificateSigningRequest": b64encode(request.public_bytes(Encoding.PEM)).decode(),
        }
        reply = self._service.post_json("/api/v2/signingCert", content)
        if not succeeded(reply):
            raise _refused(reply.refusal(), token)
        answer = expect_success(reply).json
        try:
            chain = answer["signedCertificateEmbeddedSct"]["chain"]["certificates"]
            leaf = x509.load_pem_x509_certificate(chain[0].encode())
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise SignerUnavailable(
                f"{reply.where} answered no certificate with an embedded certificate timestamp"
            ) from error
        if leaf.public_key() != key.public_key():
            raise SignerUnavailable(f"{reply.where} answered a certificate for another key")
        try:
            return check_certificate(leaf, self._root, datetime.now(UTC))
        except VerificationError as error:
            raise SignerRejected(
                f"{reply.where}: its certificate is not used: {error}; check signers.x509.trusted-root"
            ) from error


def check_certificate(leaf: x509.Certificate, root: TrustedRoot, moment: datetime) -> Certificate:
    """Return the certificate with its chain, if it was one at ``moment``. Raises :class:`VerificationError`.

    It has to chain to an authority of ``root`` that was valid then, be meant for signing code, and carry a
    certificate timestamp by a log of ``root``.
    """
    if not leaf.not_valid_before_utc - _SKEW <= moment <= leaf.not_valid_after_utc + _SKEW:
        raise VerificationError(
            f"it is valid from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}, not at {moment}",
            "signature_invalid",
        )
    chain = _chain_of(leaf, root, moment)
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise VerificationError("it names no identity or no usage", "signature_invalid") from error
    if ExtendedKeyUsageOID.CODE_SIGNING not in usage:
        raise VerificationError("it is not for signing code", "signature_invalid")
    verify_sct(leaf, chain[0], root)
    return Certificate(leaf, chain, _identity(names), issuer_of(leaf))


def _chain_of(leaf: x509.Certificate, root: TrustedRoot, moment: datetime) -> tuple[x509.Certificate, ...]:
    for authority in root.certificate_authorities:
        if moment in authority.valid and _issued(leaf, authority, moment):
            return authority.chain
    raise VerificationError("no authority of the trusted root issued it", "key_unknown")


def _issued(leaf: x509.Certificate, authority: Authority, moment: datetime) -> bool:
    try:
        for lower, upper in pairwise((leaf, *authority.chain)):
            if not upper.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                return False
            if not upper.not_valid_before_utc <= moment <= upper.not_valid_after_utc:
                return False
            lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False
    return True


def issuer_of(leaf: x509.Certificate) -> str:
    """Return the issuer of the identity token that the certificate was given for; empty when it has none."""
    for oid in (ISSUER_V2, ISSUER_V1):
        try:
            extension = leaf.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            continue
        raw = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
        if oid == ISSUER_V2 and len(raw) > 1:
            # DER UTF8String: tag, length, text; a length above 127 takes bytes of its own
            raw = raw[2:] if raw[1] < _SHORT else raw[2 + (raw[1] & 0x7F) :]
        return raw.decode(errors="replace")
    return ""


def _identity(names: x509.SubjectAlternativeName) -> str:
    found = [str(one.value) for one in names if not isinstance(one, x509.OtherName)]
    return found[0] if found else ""


def verify_sct(leaf: x509.Certificate, issuer: x509.Certificate, root: TrustedRoot) -> None:
    """Return if a certificate transparency log of ``root`` promised to log ``leaf``.

    Raises :class:`VerificationError` unless one of its embedded timestamps holds.
    """
    try:
        found = leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps)
    except x509.ExtensionNotFound as error:
        raise VerificationError("it has no certificate timestamp", "signature_invalid") from error
    problem: SignerError | None = None
    for sct in found.value:
        try:
            log = find_log(root.ct_logs, sct.log_id)
            moment = sct.timestamp if sct.timestamp.tzinfo else sct.timestamp.replace(tzinfo=UTC)
            if moment not in log.valid:
                problem = VerificationError("its certificate log is trusted for another time", "key_unknown")
                continue
            log.verify(sct.signature, _promised(sct, leaf, issuer, moment))
        except VerificationError as error:
            problem = error
        else:
            return
    raise VerificationError(f"its certificate timestamp does not hold: {problem}", "signature_invalid")


def _promised(
    sct: SignedCertificateTimestamp, leaf: x509.Certificate, issuer: x509.Certificate, moment: datetime
) -> bytes:
    if sct.entry_type != LogEntryType.PRE_CERTIFICATE:
        raise VerificationError("its timestamp is for another kind of entry", "signature_invalid")
    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    tbs = leaf.tbs_precertificate_bytes
    milliseconds = round(moment.timestamp() * 1000)
    head = struct.pack("!BBQH", sct.version.value, 0, milliseconds, 1)
    extensions = struct.pack("!H", len(sct.extension_bytes)) + sct.extension_bytes
    return head + hashlib.sha256(key).digest() + len(tbs).to_bytes(3, "big") + tbs + extensions


def _refused(error: SignerError, token: IdentityToken) -> SignerError:
    told = (
        f"{error} (token of {token.subject or 'nobody'}, issuer {token.issuer or 'unknown'}, {token.source})"
    )
    if isinstance(error, SignerRejected):
        # fulcio says 400 for an expired token, an unknown issuer and one that does not answer alike
        return SignerUnavailable(
            f"{told}: check the audience, the issuer and the clock; fulcio's log says more"
        )
    return SignerUnavailable(told)
