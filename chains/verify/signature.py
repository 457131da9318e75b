"""Who made one signature: a trusted key, or a certificate of a trusted identity.

Certificates are verified by section 4 of the Sigstore client specification: issued for signing code by an
authority (4.3), the signature (4.5), a time (4.2), the log entry (4.4), and the certificate at every time
(4.3). The identity is compared early, so that a stranger's evidence is reported as such and not as broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from chains.verify.criteria import CertificateWanted, Criteria
from chains.verify.material import (
    Refused,
    Signing,
    check_material,
    not_checked,
    read_material,
    refusal,
)
from chains.verify.reasons import Reason, Result
from chains.verify.signed_by import SignedBy
from chains.verify.verdict import Check
from signers.errors import FormatError, SignerRejected, VerificationError
from signers.formats.dsse import find_signature
from signers.formats.layer_annotations import CERTIFICATE_ANNOTATION
from signers.keys.known_signatures import known_made_by
from signers.keys.public_key import PublicKey, find_key
from signers.sigstore.signed import Signed

if TYPE_CHECKING:
    from signers.sigstore.certificate import Issued
    from signers.sigstore.trusted_root import TrustedRoot
    from signers.sigstore.verification_material import VerifiedTime

_NOT_ASKED = "a certificate signed this, and no identity was asked for"
_ISSUED = "a certificate for signing code by a trusted authority, logged"


@dataclass(frozen=True, slots=True)
class Judged:
    """Who signed, if it is somebody trusted, and the checks up to the first that failed.

    ``is_tampered``: it names a trusted key, or has a valid certificate of a trusted identity, which did not
    make the signature.
    """

    checks: tuple[Check, ...]
    signed_by: SignedBy | None = None
    is_tampered: bool = False

    @property
    def is_keyless_unasked(self) -> bool:
        """Whether only a certificate could say who signed, and the criteria trust no certificate."""
        return any(check.reason is Reason.KEYLESS_UNSUPPORTED for check in self.checks)


def judge(
    signing: Signing, criteria: Criteria, now: datetime, passed_over: frozenset[str] = frozenset()
) -> Judged:
    """Return who signed. Never raises because of evidence.

    ``passed_over`` are the ids of keys that signed and do not count; somebody else has to have signed, too.

    A bundle is signed with a key or a certificate, as its verification material says; in form A the keys are
    tried first. With a trusted root, every log entry and every timestamp has to be valid, demanded or not.
    """
    is_keyless = signing.bundle is not None and signing.bundle.key_hint is None
    if not is_keyless:
        judged = _judge_keys(signing, criteria, now, passed_over)
        has_certificate = bool(signing.annotations.get(CERTIFICATE_ANNOTATION))
        if judged.signed_by or judged.is_tampered or not has_certificate:
            return judged
    wanted, root = criteria.certificate, criteria.trusted_root
    checks: list[Check] = []
    try:
        if wanted is None or root is None:
            raise refusal("signature", criteria.signers, _NOT_ASKED, Reason.KEYLESS_UNSUPPORTED)
        return _judge_certificate(signing, criteria, wanted, root, now, checks)
    except Refused as refused:
        return Judged((*checks, refused.check), is_tampered=refused.check.reason is Reason.SIGNATURE_INVALID)


def _judge_keys(signing: Signing, criteria: Criteria, now: datetime, passed_over: frozenset[str]) -> Judged:
    expected = criteria.signers
    keys = [key for key in criteria.keys if key.keyid not in passed_over] if passed_over else criteria.keys
    try:
        key, signature = _find_key(signing, keys)
    except VerificationError as error:
        names = [one.keyid for one in signing.signatures]
        names.append(signing.bundle.key_hint or "" if signing.bundle else "")
        if any(find_key(keys, name) for name in names if name):
            actual = f"names a given key, which did not sign this: {error}"
            check = Check("signature", Result.FAIL, expected, actual, Reason.SIGNATURE_INVALID)
            return Judged((check,), is_tampered=True)
        # it names no trusted key, so nothing shows that it was altered
        why = str(error) if criteria.keys else "signed by a key, and no key was given"
        return Judged((Check("signature", Result.FAIL, expected, why, Reason.KEY_UNKNOWN),))
    signed_by = SignedBy(key.keyid)
    checks = [Check("signature", Result.PASS, expected, f"signed by {key.keyid}")]
    if criteria.trusted_root is None:
        return Judged((*checks, *not_checked(signing)), signed_by)
    signed = Signed(signing.data, signature, key, b"", signing.envelope)
    try:
        found, times, entries = check_material(read_material(signing), signed, signing.whole, criteria, now)
    except Refused as refused:
        return Judged((*checks, refused.check), signed_by)
    return Judged((*checks, *found), replace(signed_by, entries=tuple(entries), times=tuple(times)))


def _find_key(signing: Signing, keys: Sequence[PublicKey]) -> tuple[PublicKey, bytes]:
    """Return the trusted key that signed, and its signature. Raises :class:`VerificationError`."""
    if signing.envelope is not None:
        key, made = find_signature(signing.envelope, keys, known_made_by)
        return key, made.sig
    for key in keys:
        signature = _signature_by(key, signing)
        if signature is not None:
            return key, signature
    raise VerificationError("no given key made this signature", "key_unknown")


def _signature_by(key: PublicKey, signing: Signing) -> bytes | None:
    return next((one.sig for one in signing.signatures if known_made_by(key, one.sig, signing.data)), None)


def _judge_certificate(
    signing: Signing,
    criteria: Criteria,
    wanted: CertificateWanted,
    root: TrustedRoot,
    now: datetime,
    checks: list[Check],
) -> Judged:
    material = read_material(signing)
    issued, key = _issued(material.certificate, root)
    checks += _match(issued, wanted)
    signature = _signature_by(key, signing)
    if signature is None:
        actual = f"it has a certificate of {issued.identity}, whose key did not sign this"
        raise refusal("signature", criteria.signers, actual, Reason.SIGNATURE_INVALID)
    signed = Signed(signing.data, signature, key, material.certificate, signing.envelope)
    found, times, entries = check_material(material, signed, signing.whole, criteria, now)
    checks += found
    checks.append(_held(issued, times))
    authority = issued.leaf.issuer.rfc4514_string()
    signed_by = SignedBy(
        "", issued.identity, issued.issuer, authority, tuple(entries), tuple(times), key.keyid
    )
    checks.append(Check("signature", Result.PASS, criteria.signers, f"signed by {signed_by.name}"))
    return Judged(tuple(checks), signed_by)


def _issued(der: bytes, root: TrustedRoot) -> tuple[Issued, PublicKey]:
    """Return the certificate with its key, valid at any time (4.3 without the time)."""
    from signers.sigstore.certificate import check_issued, read_certificate  # noqa: PLC0415 - keeps keys alone fast

    try:
        leaf = read_certificate(der)
        return check_issued(leaf, root), PublicKey.from_key(leaf.public_key(), "the certificate's key")
    except VerificationError as error:
        raise refusal("certificate", _ISSUED, str(error), Reason(error.reason)) from error
    except (FormatError, SignerRejected) as error:
        raise refusal("certificate", _ISSUED, str(error), Reason.CERTIFICATE_INVALID) from error


def _match(issued: Issued, wanted: CertificateWanted) -> list[Check]:
    """Compare identity and issuer. The issuer is not compared if the identity differs."""
    asked = (
        ("identity", wanted.identity, issued.identity, Reason.IDENTITY_MISMATCH),
        ("issuer", wanted.issuer, issued.issuer, Reason.ISSUER_MISMATCH),
    )
    for name, want, actual, reason in asked:
        if not want.matches(actual):
            raise refusal(name, str(want), actual or "none", reason)
    return [Check(name, Result.PASS, str(want), actual) for name, want, actual, _ in asked]


def _held(issued: Issued, times: Sequence[VerifiedTime]) -> Check:
    """The certificate has to be valid at every verified time, and there has to be one (4.3).

    A certificate that is valid for ten minutes proves nothing about a signature without a time.
    """
    if not times:
        expected = "a verified time: a timestamp, or an entry of a Rekor v1 log with its promise"
        raise refusal("timestamp", expected, "none", Reason.TIMESTAMP_MISSING)
    expected = "a certificate that held at every verified time"
    for one in times:
        try:
            issued.at(one.moment)
        except VerificationError as error:
            reason = Reason(error.reason)
            name = "timestamp" if reason is Reason.TIMESTAMP_OUTSIDE_CERT else "certificate"
            raise refusal(name, expected, str(error), reason) from error
    leaf = issued.leaf
    actual = (
        f"by {leaf.issuer.rfc4514_string()}, from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}"
    )
    return Check("certificate", Result.PASS, expected, actual)
