"""Who made one signature, and what stands beside it: given keys, or certificates of an identity asked for.

Certificates are verified as the Sigstore client specification wants, section 4: a time (4.2), the certificate
at that time (4.3), the log entry (4.4), the signature (4.5). Whose certificate it is comes first, so that a
stranger's evidence is told as such and not as broken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509

from chains.reasons import Reason, Result
from chains.signed_by import CertificateWanted, SignedBy
from chains.verdict import Check, Criteria
from signers.base import FormatError, SignerRejected, VerificationError
from signers.bundle import Bundle
from signers.dsse import Envelope, Signature, verify_envelope
from signers.transparency import Signed
from signers.trust import PublicKey, find_key
from signers.trusted_root import TrustedRoot

if TYPE_CHECKING:
    from signers.fulcio import Certificate
    from signers.verification_material import VerificationMaterial, VerifiedEntry, VerifiedTime

SKEW = timedelta(minutes=5)
"""How far a clock that is trusted may be ahead of ours."""
CERTIFICATE_ANNOTATION = "dev.sigstore.cosign/certificate"
_BESIDE = (
    CERTIFICATE_ANNOTATION,
    "dev.sigstore.cosign/bundle",
    "dev.sigstore.cosign/rfc3161timestamp",
    "provenance.chains/verification-material",
)
_NOT_ASKED = "a certificate signed this, and no identity was asked for"
_CERTIFICATE_REASONS = {
    "key_unknown": Reason.CERTIFICATE_UNKNOWN,
    "expired": Reason.EXPIRED,
    "sct_missing": Reason.SCT_MISSING,
    "sct_invalid": Reason.SCT_INVALID,
}


@dataclass(frozen=True, slots=True)
class Signing:
    """Signatures over one piece of ``data`` (an envelope's PAE or a bare payload) as they were found."""

    data: bytes
    signatures: tuple[Signature, ...]
    envelope: Envelope | None
    bundle: Bundle | None
    whole: bytes
    """What lies in the store: timestamps of form A are over all of an envelope."""
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """Who signed, if somebody did who is trusted, and the checks up to the first that failed.

    ``is_tampered``: it names a given key, or has a true certificate of the identity asked for, which did not
    make the signature.
    """

    checks: tuple[Check, ...]
    signed_by: SignedBy | None = None
    is_tampered: bool = False

    @property
    def is_keyless_unasked(self) -> bool:
        """Whether only a certificate, that nobody asked for, could say who signed."""
        return any(check.reason is Reason.KEYLESS_UNSUPPORTED for check in self.checks)


class _Refused(Exception):  # noqa: N818 - not an error: the check that ends the judgement
    def __init__(self, check: Check) -> None:
        super().__init__(check.id)
        self.check = check


def judge(signing: Signing, criteria: Criteria, now: datetime) -> Judged:
    """Say who signed. Never raises for what was found.

    A bundle says by its key hint or its certificate which of both it is; in form A given keys come first.
    Where a trusted root is given, every log entry and every timestamp has to hold, asked for or not.
    """
    is_keyless = signing.bundle is not None and signing.bundle.key_hint is None
    if not is_keyless:
        judged = _judge_keys(signing, criteria, now)
        has_certificate = bool(signing.annotations.get(CERTIFICATE_ANNOTATION))
        if judged.signed_by or judged.is_tampered or not has_certificate:
            return judged
    if criteria.certificate is None or criteria.trusted_root is None:
        return Judged((_fail("signature", signers(criteria), _NOT_ASKED, Reason.KEYLESS_UNSUPPORTED),))
    checks: list[Check] = []
    try:
        return _judge_certificate(signing, criteria, criteria.certificate, criteria.trusted_root, now, checks)
    except _Refused as refused:
        return Judged((*checks, refused.check), is_tampered=refused.check.reason is Reason.SIGNATURE_INVALID)


def signers(criteria: Criteria) -> str:
    """Return who may sign, in words."""
    names = [key.keyid for key in criteria.keys]
    return "signed by " + " or ".join([*names, str(criteria.certificate)] if criteria.certificate else names)


def _judge_keys(signing: Signing, criteria: Criteria, now: datetime) -> Judged:
    found = _find_signer(signing, criteria.keys)
    if isinstance(found, VerificationError):
        names = [one.keyid for one in signing.signatures]
        names.append(signing.bundle.key_hint or "" if signing.bundle else "")
        if any(find_key(criteria.keys, name) for name in names if name):
            actual = f"names a given key, which did not sign this: {found}"
            check = _fail("signature", signers(criteria), actual, Reason.SIGNATURE_INVALID)
            return Judged((check,), is_tampered=True)
        # nothing in it claims a given key, so nothing says that it was changed
        return Judged((_fail("signature", signers(criteria), str(found), Reason.KEY_UNKNOWN),))
    key, signature = found
    checks = [Check("signature", Result.PASS, signers(criteria), f"signed by {key.keyid}")]
    signed_by = SignedBy(key.keyid)
    if criteria.trusted_root is None:
        return Judged((*checks, *_not_checked(signing)), signed_by)
    try:
        material = _read_material(signing)
        times, entries = _check_beside(
            signing, material, criteria, _signed(signing, signature, key), now, checks
        )
        _demand(criteria, times, entries)
    except _Refused as refused:
        return Judged((*checks, refused.check), signed_by)
    return Judged(tuple(checks), replace(signed_by, entries=tuple(entries), times=tuple(times)))


def _find_signer(signing: Signing, keys: Sequence[PublicKey]) -> tuple[PublicKey, bytes] | VerificationError:
    if signing.envelope is not None:
        try:
            key = verify_envelope(signing.envelope, keys)
        except VerificationError as error:
            return error
        keys = [key]
    for one in signing.signatures:
        for key in keys:
            if _made_by(key, one.sig, signing.data):
                return key, one.sig
    return VerificationError("no given key made this signature", "key_unknown")


def _judge_certificate(
    signing: Signing,
    criteria: Criteria,
    wanted: CertificateWanted,
    root: TrustedRoot,
    now: datetime,
    checks: list[Check],
) -> Judged:
    from signers.fulcio import check_certificate  # noqa: PLC0415 - an extra's packages

    material = _read_material(signing)
    leaf, key = _leaf(material.certificate)
    # client specification 4.3, what does not depend on a time: path, certificate timestamp, what it is for
    found = _certificate(lambda: check_certificate(leaf, root))
    checks.append(_name("identity", str(wanted.identity), found.identity, Reason.IDENTITY_MISMATCH, wanted))
    checks.append(_name("issuer", str(wanted.issuer), found.issuer, Reason.ISSUER_MISMATCH, wanted))
    # 4.5
    signature = next((one.sig for one in signing.signatures if _made_by(key, one.sig, signing.data)), None)
    if signature is None:
        actual = f"it has a certificate of {found.identity}, whose key did not sign this"
        raise _Refused(_fail("signature", signers(criteria), actual, Reason.SIGNATURE_INVALID))
    # 4.2 and 4.4
    signed = _signed(signing, signature, key, material.certificate)
    times, entries = _check_beside(signing, material, criteria, signed, now, checks)
    if not times:
        expected = "a verified time: a timestamp, or an entry of a Rekor v1 log with its promise"
        raise _Refused(_fail("timestamp", expected, "none", Reason.TIMESTAMP_MISSING))
    _expect_inside(leaf, times)
    # 4.3, at every time
    moments = [one.moment for one in times]
    found = _certificate(lambda: check_certificate(leaf, root, *moments))
    authority = leaf.issuer.rfc4514_string()
    checks.append(Check("certificate", Result.PASS, "of a trusted authority", f"by {authority}"))
    _demand(criteria, times, entries)
    signed_by = SignedBy("", found.identity, found.issuer, authority, tuple(entries), tuple(times))
    checks.append(Check("signature", Result.PASS, signers(criteria), f"signed by {signed_by.name}"))
    return Judged(tuple(checks), signed_by)


def _certificate(check: Callable[[], Certificate]) -> Certificate:
    try:
        return check()
    except VerificationError as error:
        reason = _CERTIFICATE_REASONS.get(error.reason, Reason.CERTIFICATE_INVALID)
        raise _Refused(
            _fail("certificate", "a certificate of a trusted authority", str(error), reason)
        ) from error


def _leaf(der: bytes) -> tuple[x509.Certificate, PublicKey]:
    try:
        leaf = x509.load_der_x509_certificate(der)
        return leaf, PublicKey.from_key(leaf.public_key(), "the certificate's key")
    except (ValueError, SignerRejected) as error:
        check = _fail("certificate", "a certificate that can be read", str(error), Reason.CERTIFICATE_INVALID)
        raise _Refused(check) from error


def _name(check: str, expected: str, actual: str, reason: Reason, wanted: CertificateWanted) -> Check:
    if not (wanted.identity if check == "identity" else wanted.issuer).matches(actual):
        raise _Refused(_fail(check, expected, actual or "none", reason))
    return Check(check, Result.PASS, expected, actual)


def _expect_inside(leaf: x509.Certificate, times: Sequence[VerifiedTime]) -> None:
    """Every time has to lie in the certificate's (client specification 4.3): one that does not fails it."""
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    for one in times:
        if not start <= one.moment <= end:
            expected = f"a time from {start.isoformat()} to {end.isoformat()}"
            raise _Refused(
                _fail("timestamp", expected, one.moment.isoformat(), Reason.TIMESTAMP_OUTSIDE_CERT)
            )


def _read_material(signing: Signing) -> VerificationMaterial:
    from signers.verification_material import VerificationMaterial  # noqa: PLC0415 - an extra's packages

    try:
        if signing.bundle is not None:
            return VerificationMaterial.from_bundle(signing.bundle)
        return VerificationMaterial.from_annotations(
            signing.annotations, is_envelope=signing.envelope is not None
        )
    except FormatError as error:
        expected = "certificate, log entries and timestamps that can be read"
        raise _Refused(
            _fail("verification-material", expected, str(error), Reason.MATERIAL_INVALID)
        ) from error


def _signed(signing: Signing, signature: bytes, key: PublicKey, certificate: bytes = b"") -> Signed:
    return Signed(signing.data, signature, key, certificate, signing.envelope)


def _check_beside(
    signing: Signing,
    material: VerificationMaterial,
    criteria: Criteria,
    signed: Signed,
    now: datetime,
    checks: list[Check],
) -> tuple[list[VerifiedTime], list[VerifiedEntry]]:
    """Return all times and log entries; each has to hold. Without a trusted root there are none."""
    from signers import verification_material as verifier  # noqa: PLC0415 - an extra's packages

    root = criteria.trusted_root
    if root is None:
        return [], []
    expected = "timestamps over this signature by a trusted authority"
    try:
        times = verifier.verify_timestamps(material, signed.signature, signing.whole, root)
    except VerificationError as error:
        raise _Refused(_fail("timestamp", expected, str(error), Reason.TIMESTAMP_INVALID)) from error
    if times:
        told = ", ".join(one.moment.isoformat() for one in times)
        checks.append(Check("timestamp", Result.PASS, expected, told))
    expected = "entries of this signature in a trusted log"
    try:
        entries = verifier.verify_entries(material, signed, root)
        integrated = [one.time for one in entries if one.time]
        times += [verifier.VerifiedTime(one, "Tlog") for one in dict.fromkeys(integrated)]
        # a log's key that is trusted no more proves nothing about an entry that no time is known of
        verifier.expect_in_force(material.entries, root, [one.moment for one in times] or [now])
    except VerificationError as error:
        raise _Refused(_fail("transparency-log", expected, str(error), Reason.TLOG_INVALID)) from error
    if entries:
        told = ", ".join(f"index {one.index} of {one.url}" for one in entries)
        checks.append(Check("transparency-log", Result.PASS, expected, told))
    late = [one for one in times if one.moment > now + SKEW]
    if late:
        told = f"{late[0].moment.isoformat()}, and it is {now.isoformat()} here"
        raise _Refused(
            Check("timestamp", Result.ERROR, "a time that has passed", told, Reason.TIME_IN_FUTURE)
        )
    return times, entries


def _demand(criteria: Criteria, times: Sequence[VerifiedTime], entries: Sequence[VerifiedEntry]) -> None:
    if criteria.require_log and not entries:
        raise _Refused(_fail("transparency-log", "an entry in a trusted log", "none", Reason.TLOG_MISSING))
    if criteria.require_timestamp and all(one.source != "TimestampAuthority" for one in times):
        raise _Refused(
            _fail("timestamp", "a timestamp by a trusted authority", "none", Reason.TIMESTAMP_MISSING)
        )


def _not_checked(signing: Signing) -> list[Check]:
    """Say what was not looked at, since no trusted root was given."""
    found = {"transparency-log": 0, "timestamp": 0}
    if signing.bundle is not None:
        found = {
            "transparency-log": len(signing.bundle.log_entries),
            "timestamp": len(signing.bundle.timestamps),
        }
    elif any(signing.annotations.get(name) for name in _BESIDE[1:]):
        found["transparency-log"] = 1
    return [
        Check(
            name,
            Result.SKIP,
            "entries that are checked",
            f"{number} found, not checked: no trusted root was given",
            Reason.NOT_CHECKED,
        )
        for name, number in found.items()
        if number
    ]


def _made_by(key: PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except VerificationError:
        return False
    return True


def _fail(check: str, expected: str, actual: str, reason: Reason) -> Check:
    return Check(check, Result.FAIL, expected, actual, reason)
