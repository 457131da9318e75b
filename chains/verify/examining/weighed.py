"""The evidence of one case by its role, and how each piece is listed in the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chains.verify.evidence import OF_PROVENANCE, Examined
from chains.verify.reasons import REVOCATION, WRONG, Reason
from chains.verify.verdict import NOT_VERIFIED, Attestation, Check, Left

_LEFT = frozenset(
    {Reason.UNREADABLE, Reason.DIGEST_MISMATCH, Reason.NOT_AN_ATTESTATION, Reason.KEYLESS_UNSUPPORTED}
)
"""Reasons for which something found is listed as skipped, and not as an attestation."""


@dataclass(slots=True)
class Weighed:
    """Evidence by its role.

    ``used`` are the attestations that passed every check. ``matched`` are the execution reports of the run's
    own snapshot, ``alone`` those of them that stand for a run without provenance. ``other_checks`` are about
    no single attestation.
    """

    attestations: list[Examined] = field(default_factory=list)
    reports: list[Examined] = field(default_factory=list)
    signatures: list[Examined] = field(default_factory=list)
    used: list[Examined] = field(default_factory=list)
    matched: list[Examined] = field(default_factory=list)
    alone: list[Examined] = field(default_factory=list)
    other_checks: list[Check] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many attestations of any kind were found, usable or not."""
        return len(self.attestations) + len(self.reports)


def listed(
    examined: Sequence[Examined], weighed: Weighed, *, is_verified: bool, is_revocable: bool
) -> tuple[tuple[Attestation, ...], tuple[Left, ...]]:
    """Return the attestations, and what is none, each with the reason why it was not used."""
    attestations: list[Attestation] = []
    skipped: list[Left] = []
    matched, used = {id(each) for each in weighed.matched}, {id(each) for each in weighed.used}
    reports = {id(each) for each in weighed.reports}
    for each in examined:
        failed = each.failed
        if failed and failed.reason in _LEFT:
            skipped.append(Left(each.evidence.location, each.digest, failed.reason, failed.actual))
            continue
        is_matched = id(each) in matched
        is_used = is_verified and (is_matched or id(each) in used)
        if failed is not None:
            failed = None if is_matched else _telling(each, is_report=id(each) in reports)
        authentic = each.authentic
        attestations.append(
            Attestation(
                source=each.evidence.source,
                location=each.evidence.location,
                digest=each.digest,
                format=each.evidence.format,
                used=is_used,
                reason=failed.reason if failed else None,
                detail="" if is_used else _why_not(each, failed),
                signed_by=each.signed_by,
                run_uid=each.run_uid,
                is_image_signature=each.is_image_signature,
                is_tampered=each.is_tampered,
                is_revoked=is_revocable and any(check.id == REVOCATION for check in each.checks),
                statement=authentic.statement if authentic else None,
                payload=authentic.payload if authentic else b"",
            )
        )
    return tuple(attestations), tuple(skipped)


def _telling(each: Examined, *, is_report: bool) -> Check | None:
    """Return the failed check that explains most. For a report, that it is no provenance explains nothing."""
    if not is_report:
        return each.failed
    wrong = (check for check in each.checks if check.result in WRONG)
    return next((check for check in wrong if check.id not in OF_PROVENANCE), each.failed)


def _why_not(each: Examined, failed: Check | None) -> str:
    kind = "image signature: " if each.is_image_signature else ""
    if failed:
        return f"{kind}{failed.id}: expected {failed.expected}, got {failed.actual}"
    if kind:
        return f"{kind}verified, and told by its own check; it says nothing about how the image was made"
    return NOT_VERIFIED
