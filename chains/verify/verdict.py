"""The result of a verification: criteria, checks, attestations and one verdict.

Plain data, with the same JSON for success and failure; ``chains/verify/render.py`` makes the text. The JSON
keys are stable; ``docs/verify.md`` documents them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from chains.errors import ChainsError
from chains.statements.statement import Statement
from chains.text import excerpt, rfc3339
from chains.verify.criteria import Criteria
from chains.verify.reasons import WRONG, Reason, Result
from chains.verify.signed_by import SignedBy

SCHEMA = "https://provenance.chains/verify-result/v1"
SCHEMA_MANY = "https://provenance.chains/verify-results/v1"
_RESULT_TYPE = "application/vnd.dev.sigstore.verificationresult+json;version=0.1"


NOT_VERIFIED = "it passed every check, but the verdict is not VERIFIED"
"""Why evidence was not used that is right by itself."""


class Verdict(StrEnum):
    """The answer to one target."""

    VERIFIED = "VERIFIED"
    FAILED = "FAILED"
    NOT_FOUND = "NOT_FOUND"
    INDETERMINATE = "INDETERMINATE"

    @property
    def exit_code(self) -> int:
        """0, 1, 3 or 4; 2 is left to usage errors."""
        return _EXIT_CODES[self]


_EXIT_CODES = {Verdict.VERIFIED: 0, Verdict.FAILED: 1, Verdict.NOT_FOUND: 3, Verdict.INDETERMINATE: 4}
_FROM_WORST = (Verdict.FAILED, Verdict.INDETERMINATE, Verdict.NOT_FOUND, Verdict.VERIFIED)


@dataclass(frozen=True, slots=True)
class Check:
    """One check with the expected and actual value; ``attestation`` is the digest of what it is about."""

    id: str
    result: Result
    expected: str = ""
    actual: str = ""
    reason: Reason | None = None
    attestation: str = ""

    def of(self, digest: str) -> Check:
        """Return the check as one of the evidence with this digest."""
        return Check(self.id, self.result, self.expected, self.actual, self.reason, digest)

    def to_json(self) -> dict[str, Any]:
        """Return the check as printed; ``attestation`` only if the check is about one."""
        written: dict[str, Any] = {
            "id": self.id,
            "result": self.result.value,
            "expected": excerpt(self.expected),
            "actual": excerpt(self.actual),
            "reason": self.reason and self.reason.value,
        }
        if self.attestation:
            written["attestation"] = _digest_set(self.attestation)
        return written


@dataclass(frozen=True, slots=True)
class Attestation:
    """One piece of evidence that was judged.

    ``statement``, ``payload`` and ``signed_by`` are set only if somebody trusted signed it: unverified claims
    are not shown. ``used`` means that it passed every check and counts; otherwise ``reason`` and ``detail``
    say why not.
    """

    source: str
    location: str
    digest: str
    format: str
    used: bool = False
    reason: Reason | None = None
    detail: str = ""
    signed_by: SignedBy | None = None
    run_uid: str = ""
    is_image_signature: bool = False
    is_tampered: bool = False
    """It names a trusted signer who did not sign it, or contradicts what was signed about the same run."""
    is_revoked: bool = False
    """Whether a revocation list takes it away."""
    statement: Statement | None = None
    payload: bytes = field(default=b"", repr=False)

    @property
    def keyid(self) -> str:
        """The fingerprint of the trusted key that signed it, else empty."""
        return self.signed_by.keyid if self.signed_by else ""

    def to_json(self) -> dict[str, Any]:
        """Return the attestation as printed; the statement itself, in sigstore-go's keys, only when used."""
        statement = self.statement
        written: dict[str, Any] = {
            "source": self.source,
            "location": self.location,
            "digest": _digest_set(self.digest),
            "format": self.format,
            "predicateType": statement.predicate_type if statement else None,
            "used": self.used,
            "signer": self.signed_by.to_json() if self.signed_by else None,
            "logEntries": self.signed_by.entries_to_json() if self.signed_by else [],
            "runUid": self.run_uid or None,
            "reason": self.reason and self.reason.value,
            "detail": excerpt(self.detail),
        }
        if self.used and self.signed_by:
            written["verificationResult"] = {
                "mediaType": _RESULT_TYPE,
                "signature": self.signed_by.signature_to_json(),
                "statement": orjson.loads(self.payload),
                "verifiedTimestamps": self.signed_by.times_to_json(),
            }
        return written


@dataclass(frozen=True, slots=True)
class Left:
    """Something that was found and is no usable evidence, with the reason."""

    location: str
    digest: str
    reason: Reason
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the item as printed."""
        return {
            "location": self.location,
            "digest": _digest_set(self.digest),
            "reason": self.reason.value,
            "detail": excerpt(self.detail),
        }


@dataclass(frozen=True, slots=True)
class Target:
    """What was verified: ``ref`` as the user named it, its digest set, and the UID of a run."""

    ref: str
    digest: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the target as ``subject``."""
        written: dict[str, Any] = {"ref": self.ref, "digest": dict(self.digest)}
        return written | ({"runUid": self.uid} if self.uid else {})


@dataclass(frozen=True, slots=True)
class Verification:
    """One target with its verdict and everything that it depends on."""

    verdict: Verdict
    summary: str
    verified_at: datetime
    target: Target
    criteria: Criteria
    stores: tuple[str, ...]
    checks: tuple[Check, ...]
    attestations: tuple[Attestation, ...] = ()
    skipped: tuple[Left, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 verified, 1 evidence is wrong, 3 no evidence, 4 could not decide."""
        return self.verdict.exit_code

    def require(self) -> Attestation:
        """Return the attestation that was verified, the provenance before a report about the same run.

        Raises :class:`VerificationFailed` for every other verdict.
        """
        if self.verdict is not Verdict.VERIFIED:
            raise VerificationFailed(self)
        used = [one for one in self.attestations if one.used]
        types = self.criteria.wanted_types
        wanted = (one for one in used if one.statement and one.statement.predicate_type in types)
        return next(wanted, used[0])

    def to_json(self) -> dict[str, Any]:
        """Return one object of plain JSON values, with the same keys for every verdict."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.value,
            "exitCode": self.exit_code,
            "summary": excerpt(self.summary),
            "verifiedAt": rfc3339(self.verified_at),
            "subject": self.target.to_json(),
            "criteria": {**self.criteria.to_json(), "stores": list(self.stores)},
            "checks": [check.to_json() for check in self.checks],
            "attestations": [attestation.to_json() for attestation in self.attestations],
            "skipped": [item.to_json() for item in self.skipped],
        }


class VerificationFailed(ChainsError):  # noqa: N818 - the answer was no, nothing broke
    """A verification whose verdict is not VERIFIED; ``verification`` has every check.

    The text names the verdict, the summary and each check that failed. ``exit_code`` is that of the verdict.
    """

    def __init__(self, verification: Verification) -> None:
        self.verification = verification
        self.exit_code = verification.exit_code
        super().__init__("; ".join(self.lines))

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check of the verification, passed ones too."""
        return self.verification.checks

    @property
    def lines(self) -> tuple[str, ...]:
        """The verdict, and each check that did not pass."""
        found = self.verification
        wrong = (check for check in self.checks if check.result in WRONG)
        return (
            f"{found.target.ref}: {found.verdict}: {excerpt(found.summary)}",
            *(
                f"{check.id}: expected {excerpt(check.expected)}, got {excerpt(check.actual)}"
                for check in wrong
            ),
        )


def from_worst(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts that are among these, each once: FAILED, INDETERMINATE, NOT_FOUND, VERIFIED."""
    found = set(verdicts)
    return [verdict for verdict in _FROM_WORST if verdict in found]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict for several targets: the first found of FAILED, INDETERMINATE, NOT_FOUND, VERIFIED.

    An outage must not hide wrong evidence. It may itself hide wrong evidence, so it comes before an absence.
    No verdicts at all are INDETERMINATE: nothing was verified.
    """
    return next(iter(from_worst(verdicts)), Verdict.INDETERMINATE)


def many_to_json(verifications: Sequence[Verification]) -> dict[str, Any]:
    """Return one object: the verification itself, or several of them with the worst verdict."""
    if len(verifications) == 1:
        return verifications[0].to_json()
    verdict = worst(each.verdict for each in verifications)
    results = [each.to_json() for each in verifications]
    return {
        "schema": SCHEMA_MANY,
        "verdict": verdict.value,
        "exitCode": verdict.exit_code,
        "results": results,
    }


def _digest_set(digest: str) -> dict[str, str]:
    algorithm, colon, value = digest.partition(":")
    return {algorithm: value} if colon else {}
