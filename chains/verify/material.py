"""The checks of what accompanies a signature: log entries, timestamps, and what is demanded of both.

Everything that is there is verified, demanded or not: a wrong log entry or timestamp makes the evidence
unusable. Without a trusted root nothing can be verified; a skipped check says what was not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chains.verify.criteria import Criteria
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Check
from signers.errors import FormatError, VerificationError
from signers.formats.bundle import Bundle
from signers.formats.dsse import Envelope, Signature
from signers.formats.layer_annotations import BUNDLE_ANNOTATION, MATERIAL_ANNOTATION, TIMESTAMP_ANNOTATION
from signers.sigstore.signed import Signed

if TYPE_CHECKING:
    from signers.sigstore.log_entry import Logged
    from signers.sigstore.verification_material import VerificationMaterial, VerifiedTime

SKEW = timedelta(minutes=5)
"""How far a trusted clock may be ahead of ours."""
_TIMES = "timestamps over this signature by a trusted authority"
_ENTRIES = "entries of this signature in a trusted log"


@dataclass(frozen=True, slots=True)
class Signing:
    """The signatures that were found over ``data``: an envelope's PAE or a bare payload."""

    data: bytes
    signatures: tuple[Signature, ...]
    envelope: Envelope | None
    bundle: Bundle | None
    whole: bytes
    """The stored bytes. Timestamps of form A are over the whole envelope."""
    annotations: Mapping[str, str]


class Refused(Exception):  # noqa: N818 - not an error: the check that ends the judgement
    """The check that ends the judgement."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.id)
        self.check = check


def refusal(check: str, expected: str, actual: str, reason: Reason) -> Refused:
    """Return the exception for a failed check."""
    return Refused(Check(check, Result.FAIL, expected, actual, reason))


def read_material(signing: Signing) -> VerificationMaterial:
    """Return what accompanies the signature, not verified yet. Raises :class:`Refused`."""
    from signers.sigstore.verification_material import VerificationMaterial  # noqa: PLC0415 - an extra's packages

    try:
        if signing.bundle is not None:
            return VerificationMaterial.from_bundle(signing.bundle)
        return VerificationMaterial.from_annotations(
            signing.annotations, is_envelope=signing.envelope is not None
        )
    except FormatError as error:
        expected = "certificate, log entries and timestamps that can be read"
        raise refusal("verification-material", expected, str(error), Reason.MATERIAL_INVALID) from error


def check_material(
    material: VerificationMaterial, signed: Signed, whole: bytes, criteria: Criteria, now: datetime
) -> tuple[list[Check], list[VerifiedTime], list[Logged]]:
    """Return the checks, times and log entries. All must be valid, and what is demanded must be there.

    Without a trusted root there are none. Raises :class:`Refused`.
    """
    from signers.sigstore import verification_material as verifier  # noqa: PLC0415 - an extra's packages

    root = criteria.trusted_root
    if root is None:
        return [], [], []
    checks = []
    try:
        times = verifier.verify_timestamps(material, signed.signature, whole, root)
    except VerificationError as error:
        raise refusal("timestamp", _TIMES, str(error), Reason.TIMESTAMP_INVALID) from error
    if times:
        told = ", ".join(one.moment.isoformat() for one in times)
        checks.append(Check("timestamp", Result.PASS, _TIMES, told))
    if criteria.require_timestamp and not times:
        raise refusal("timestamp", _TIMES, "none", Reason.TIMESTAMP_MISSING)
    try:
        entries = verifier.verify_entries(material, signed, root)
        times += [verifier.VerifiedTime(one.time, "Tlog", one.url) for one in entries if one.time is not None]
        # a log key that is not trusted any more proves nothing for an entry without a known time
        verifier.expect_in_force(entries, [one.moment for one in times] or [now])
    except VerificationError as error:
        raise refusal("transparency-log", _ENTRIES, str(error), Reason.TLOG_INVALID) from error
    if entries:
        told = ", ".join(f"index {one.index} of {one.url}" for one in entries)
        checks.append(Check("transparency-log", Result.PASS, _ENTRIES, told))
    if criteria.require_log and not entries:
        raise refusal("transparency-log", _ENTRIES, "none", Reason.TLOG_MISSING)
    _expect_past(times, now)
    return checks, times, entries


def _expect_past(times: Sequence[VerifiedTime], now: datetime) -> None:
    late = next((one for one in times if one.moment > now + SKEW), None)
    if late is not None:
        told = f"{late.moment.isoformat()}, and it is {now.isoformat()} here"
        expected = "a time that has passed"
        raise Refused(Check("timestamp", Result.ERROR, expected, told, Reason.TIME_IN_FUTURE))


def not_checked(signing: Signing) -> list[Check]:
    """Return a skipped check that says what was not verified without a trusted root."""
    if signing.bundle is not None:
        found = {
            "transparency-log": len(signing.bundle.log_entries),
            "timestamp": len(signing.bundle.timestamps),
        }
    else:
        found = {
            "transparency-log": sum(
                bool(signing.annotations.get(name)) for name in (BUNDLE_ANNOTATION, MATERIAL_ANNOTATION)
            ),
            "timestamp": int(bool(signing.annotations.get(TIMESTAMP_ANNOTATION))),
        }
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
