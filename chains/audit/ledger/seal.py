"""Verifies the signature of a day statement, with its timestamps and log entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from signers.errors import FormatError, VerificationError
from signers.formats.bundle import Bundle
from signers.formats.dsse import find_signature, pae
from signers.keys.keyset import ListedKey

if TYPE_CHECKING:
    from signers.sigstore.trusted_root import TrustedRoot

SKEW = timedelta(minutes=5)
"""How far the clocks of writer and timestamp authority may differ."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Who signed a day, and when according to third parties; None without a verified time."""

    keyid: str
    moment: datetime | None
    log_entries: int = 0
    """How many entries of transparency logs were verified."""
    timestamps: int = 0
    """How many RFC 3161 timestamps were verified."""

    def lacks(self, *, log: bool, timestamp: bool) -> Iterator[str]:
        """Yield what is demanded of the signature and not there, in words."""
        for name, is_demanded, has in (
            ("entry of a transparency log", log, self.log_entries),
            ("timestamp", timestamp, self.timestamps),
        ):
            if is_demanded and not has:
                yield f"it has no {name}, which is demanded: it was taken away, or never made"

    def too_early(self, end: datetime, closed: datetime) -> str:
        """Return why its verified time is before the end of the day or its closing; empty if it is not."""
        if self.moment is not None and self.moment < end - SKEW:
            return f"it was signed at {self.moment.isoformat()}, before it was over"
        if self.moment is not None and self.moment < closed - SKEW:
            return f"it was signed at {self.moment.isoformat()}, but closed at {closed.isoformat()}"
        return ""


def verify_seal(
    bundle: Bundle, keys: Sequence[ListedKey], now: datetime, trusted_root: TrustedRoot | None
) -> Seal:
    """Return who sealed a bundle. Everything that accompanies the signature has to verify.

    Without ``trusted_root`` timestamps and log entries are not looked at. A key counts by its window and
    status at the verified time, or now if there is none. Raises :class:`VerificationError`, and
    :class:`FormatError` for malformed material.
    """
    envelope = bundle.envelope
    key, signature = find_signature(envelope, [one.key for one in keys])
    moments: list[datetime] = []
    logged = stamped = 0
    if trusted_root is not None:
        # these import packages that an installation without the extra keyless does not have
        from signers.sigstore.signed import Signed  # noqa: PLC0415
        from signers.sigstore.verification_material import (  # noqa: PLC0415
            VerificationMaterial,
            expect_in_force,
            verify_entries,
            verify_timestamps,
        )

        material = VerificationMaterial.from_bundle(bundle)
        if material.certificate:
            raise FormatError("the bundle has a certificate, expected a plain key")
        signed = Signed(pae(envelope.payload_type, envelope.payload), signature.sig, key, b"", envelope)
        times = verify_timestamps(material, signature.sig, envelope.to_bytes(), trusted_root)
        entries = verify_entries(material, signed, trusted_root)
        logged, stamped = len(entries), len(times)
        moments = [one.moment for one in times] + [one.time for one in entries if one.time is not None]
        expect_in_force(entries, moments or [now])
    late = next((one for one in moments if one > now + SKEW), None)
    if late is not None:
        raise VerificationError(f"its time {late.isoformat()} has not come yet", "signature_invalid")
    listed = next(one for one in keys if one.key == key)
    problems = [listed.problem(now, moment) for moment in moments] or [listed.problem(now)]
    if problem := next(filter(None, problems), ""):
        raise VerificationError(f"{key.keyid}: {problem}", "key_unknown")
    return Seal(key.keyid, min(moments, default=None), logged, stamped)
