"""Certificates from Fulcio: an identity token and a key go in, a short-lived certificate comes out.

Source: sigstore/fulcio ``fulcio.proto`` (``/api/v2/signingCert``) and ``docs/certificate-specification.md``;
RFC 6962 section 3.2 for the certificate timestamp.
"""

from __future__ import annotations

import hashlib
import struct
from base64 import b64encode
from dataclasses import dataclass, replace
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
_USER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_UTF8_STRING = b"\x0c"
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
            return check_certificate(leaf, self._root, datetime.now(UTC), skew=_SKEW)
        except VerificationError as error:
            raise SignerRejected(
                f"{reply.where}: its certificate is not used: {error}; check signers.x509.trusted-root"
            ) from error


def check_certificate(
    leaf: x509.Certificate, root: TrustedRoot, *moments: datetime, skew: timedelta = timedelta()
) -> Certificate:
    """Return the certificate with its chain, if it was one at all of ``moments``.

    Client specification 4.3: it has to chain to an authority of ``root`` (RFC 5280 section 6; the
    path comes from ``root`` alone), every certificate of the path has to be valid at every moment, and a
    certificate transparency log of ``root`` has to have promised to log it. It has to be for signing code and
    to name one identity and one issuer (Fulcio's certificate specification). Without moments, nothing is said
    about time. ``skew`` is how far the leaf's own times are stretched. Raises :class:`VerificationError`.
    """
    chains = [one for one in root.certificate_authorities if _issued(leaf, one)]
    if not chains:
        raise VerificationError("no authority of the trusted root issued it", "key_unknown")
    check_profile(leaf)
    verify_sct(leaf, chains[0].chain[0], root)
    certificate = Certificate(leaf, chains[0].chain, identity_of(leaf), issuer_of(leaf))
    for moment in moments:
        if not leaf.not_valid_before_utc - skew <= moment <= leaf.not_valid_after_utc + skew:
            raise VerificationError(
                f"it is valid from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}, "
                f"not at {moment}",
                "expired",
            )
    for authority in chains:
        if all(_in_force(authority, moment) for moment in moments):
            return replace(certificate, chain=authority.chain)
    raise VerificationError(
        "its authority was not valid, or not trusted, when it was used: no authority of the trusted root "
        f"counts at {' and '.join(map(str, moments))}",
        "expired",
    )


def _in_force(authority: Authority, moment: datetime) -> bool:
    return moment in authority.valid and all(
        one.not_valid_before_utc <= moment <= one.not_valid_after_utc for one in authority.chain
    )


def _issued(leaf: x509.Certificate, authority: Authority) -> bool:
    """Whether the path to the authority's root holds, time aside (RFC 5280 section 6.1.3 and 6.1.4)."""
    try:
        for below, (lower, upper) in enumerate(pairwise((leaf, *authority.chain))):
            constraints = upper.extensions.get_extension_for_class(x509.BasicConstraints).value
            if not constraints.ca or (
                constraints.path_length is not None and below > constraints.path_length
            ):
                return False
            if not upper.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
                return False
            if _unknown_critical(upper) or not _may_sign_code(upper, is_optional=True):
                return False
            lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False
    return True


_UNDERSTOOD = (
    x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName,
)  # fmt: skip


def _unknown_critical(certificate: x509.Certificate) -> bool:
    return any(one.critical and not isinstance(one.value, _UNDERSTOOD) for one in certificate.extensions)


def _may_sign_code(certificate: x509.Certificate, *, is_optional: bool = False) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return is_optional
    return ExtendedKeyUsageOID.CODE_SIGNING in usage or (
        is_optional and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage
    )


def check_profile(leaf: x509.Certificate) -> None:
    """Return if a leaf is what Fulcio's certificate specification wants. Raises :class:`VerificationError`.

    It is for signing code (extended key usage), its key for signatures, it is no authority itself, and has no
    critical extension that is not understood here (RFC 5280 section 4.2).
    """
    problem = ""
    try:
        if not _may_sign_code(leaf):
            problem = "it is not for signing code"
        elif _unknown_critical(leaf):
            problem = "it has a critical extension that is not known"
        else:
            for extension in leaf.extensions:
                if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
                    problem = "it is an authority, no signer"
                if isinstance(extension.value, x509.KeyUsage) and not extension.value.digital_signature:
                    problem = "its key is not for signatures"
    except (ValueError, TypeError, x509.DuplicateExtension) as error:
        raise VerificationError("its extensions cannot be read", "certificate_invalid") from error
    if problem:
        raise VerificationError(problem, "certificate_invalid")


def issuer_of(leaf: x509.Certificate) -> str:
    """Return the issuer of the identity token that the certificate was given for; empty when it has none.

    Raises :class:`VerificationError` where its two extensions for it contradict each other or one cannot be
    read.
    """
    found = []
    for oid in (ISSUER_V2, ISSUER_V1):
        try:
            extension = leaf.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            continue
        raw = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
        try:
            found.append((_der_text(raw) if oid == ISSUER_V2 else raw).decode())
        except ValueError as error:
            raise VerificationError("its issuer cannot be read", "certificate_invalid") from error
    if len(set(found)) > 1:
        raise VerificationError(f"it names two issuers, {' and '.join(found)}", "certificate_invalid")
    return found[0] if found else ""


def _der_text(raw: bytes) -> bytes:
    """Return the text of a DER UTF8String (X.690 8.1.3: a length above 127 takes bytes of its own)."""
    size = raw[1] & (_SHORT - 1) if len(raw) > 1 and raw[1] >= _SHORT else 0
    length = int.from_bytes(raw[2 : 2 + size], "big") if size else raw[1] if len(raw) > 1 else -1
    text = raw[2 + size :]
    if raw[:1] != _UTF8_STRING or length != len(text):
        raise ValueError("no DER UTF8String")
    return text


def identity_of(leaf: x509.Certificate) -> str:
    """Return the one name that the certificate is for. Raises :class:`VerificationError` for none or several.

    Fulcio's certificate specification: a URI, a mail address, a DNS name, or a user name as ``otherName``.
    """
    try:
        names = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        if len(names) != 1:
            raise VerificationError(f"it names {len(names)} identities: expected one", "certificate_invalid")
        if isinstance(names[0], x509.OtherName):
            return _der_text(names[0].value).decode() if names[0].type_id == _USER_NAME else ""
        return str(names[0].value)
    except x509.ExtensionNotFound as error:
        raise VerificationError("it names no identity", "certificate_invalid") from error
    except ValueError as error:
        raise VerificationError("its identity cannot be read", "certificate_invalid") from error


def verify_sct(leaf: x509.Certificate, issuer: x509.Certificate, root: TrustedRoot) -> None:
    """Return if a certificate transparency log of ``root`` promised to log ``leaf``.

    Raises :class:`VerificationError` unless one of its embedded timestamps holds.
    """
    try:
        found = leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps)
    except x509.ExtensionNotFound as error:
        raise VerificationError("it has no certificate timestamp", "sct_missing") from error
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
    raise VerificationError(f"its certificate timestamp does not hold: {problem}", "sct_invalid")


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
