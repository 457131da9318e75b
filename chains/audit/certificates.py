"""The certificates in evidence that verifies: issuers, when they end, and whether a time outlives them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chains.text import excerpt, rfc3339
from chains.verify.signed_by import SignedBy
from signers.errors import SignerError
from signers.formats.bundle import Bundle
from storage.record import DSSE_FORMAT, Evidence

if TYPE_CHECKING:
    from signers.sigstore.ends import CertificateEnd
    from signers.sigstore.verification_material import VerificationMaterial

SIGNING, TIMESTAMP = "signing", "timestamp"
MOST = 10_000
"""Certificates of timestamp authorities that are told apart."""
_LONGEST = 200
_LOG = "Tlog"


@dataclass(slots=True)
class Certificates:
    """Certificates of one kind, issuer and algorithm; those of timestamp authorities also by their subject.

    ``outlived`` is in how many pieces a verified time, or a later certificate of another timestamp, goes on
    proving the signature after the end of this one.
    """

    kind: str
    subject: str
    issuer: str
    algorithm: str
    pieces: int = 0
    outlived: int = 0
    first_end: datetime | None = None
    last_end: datetime | None = None

    def add(self, end: datetime, *, outlived: bool) -> None:
        """Count a piece of evidence with such a certificate."""
        self.pieces += 1
        self.outlived += outlived
        self.first_end = min(filter(None, (self.first_end, end)))
        self.last_end = max(filter(None, (self.last_end, end)))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "kind": self.kind,
            "subject": self.subject or None,
            "issuer": self.issuer,
            "algorithm": self.algorithm,
            "pieces": self.pieces,
            "outlived": self.outlived,
            "firstEnd": rfc3339(self.first_end) if self.first_end else None,
            "lastEnd": rfc3339(self.last_end) if self.last_end else None,
        }


@dataclass(slots=True)
class CertificatesInEvidence:
    """The certificates of the pieces that were added."""

    found: dict[tuple[str, str, str, str], Certificates] = field(default_factory=dict)

    def add(self, evidence: Evidence, signer: SignedBy) -> None:
        """Add the certificates of a piece that verified with a trusted root."""
        # these need packages of the extra keyless, which a trusted root needs, too
        from signers.sigstore.ends import signing_end, timestamp_ends  # noqa: PLC0415

        try:
            material = _material(evidence)
        except SignerError:
            return
        own = signing_end(material) if signer.identity else None
        if own is not None:
            self._of(SIGNING, own, "").add(own.until, outlived=bool(signer.times))
        stamps = list(dict.fromkeys(timestamp_ends(material))) if signer.times else []
        is_logged = any(one.source == _LOG for one in signer.times)
        last = max((one.until for one in stamps), default=None)
        for one in stamps:
            outlived = is_logged or (last is not None and one.until < last)
            self._of(TIMESTAMP, one, one.subject).add(one.until, outlived=outlived)

    def _of(self, kind: str, one: CertificateEnd, subject: str) -> Certificates:
        if len(self.found) >= MOST:
            subject = ""
        key = (kind, excerpt(subject, _LONGEST), excerpt(one.issuer, _LONGEST), one.algorithm)
        return self.found.setdefault(key, Certificates(*key))

    def ending(self, end: datetime) -> Iterator[Certificates]:
        """Yield the timestamp certificates that end before ``end`` and that pieces depend on."""
        for one in self.listed():
            ends = one.last_end is not None and one.last_end <= end
            if one.kind == TIMESTAMP and ends and one.pieces > one.outlived:
                yield one

    def listed(self) -> list[Certificates]:
        """Return all, the one that ends first at the beginning."""
        return sorted(
            self.found.values(),
            key=lambda one: (one.last_end.timestamp() if one.last_end else 0.0, one.issuer),
        )


def _material(evidence: Evidence) -> VerificationMaterial:
    from signers.sigstore.verification_material import VerificationMaterial  # noqa: PLC0415

    if evidence.is_bundle:
        return VerificationMaterial.from_bundle(Bundle.from_bytes(evidence.data))
    return VerificationMaterial.from_annotations(
        evidence.annotations, is_envelope=evidence.format == DSSE_FORMAT
    )
