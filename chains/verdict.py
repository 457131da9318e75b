"""What a verification is asked and what it answers: criteria, checks, attestations, one verdict.

Everything here is plain data with two renderings, JSON and text, equal in content for success and failure.
The JSON keys are stable; ``docs/verify.md`` documents them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from chains.criteria import Criteria
from chains.reasons import Reason, Result
from chains.signed_by import SignedBy
from chains.statement import Statement
from chains.terminal import plain

SCHEMA = "https://provenance.chains/verify-result/v1"
SCHEMA_MANY = "https://provenance.chains/verify-results/v1"
_RESULT_TYPE = "application/vnd.dev.sigstore.verificationresult+json;version=0.1"
_LONGEST = 600
_INDENT = " " * 8
_RUN_WORDS = {
    "namespace": "namespace",
    "taskRef": "task ref",
    "pipelineRef": "pipeline ref",
    "source": "source",
}
_REQUIRED = {
    "hermetic": "hermetic execution, proven",
    "log": "an entry in a transparency log",
    "timestamp": "a timestamp by an authority",
}


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
    """One question with the expected and the actual answer; ``attestation`` is the digest of whose it is."""

    id: str
    result: Result
    expected: str = ""
    actual: str = ""
    reason: Reason | None = None
    attestation: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the check as printed; ``attestation`` only where the check is about one."""
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
    """One piece of evidence that was looked at.

    ``statement``, ``payload`` and ``signed_by`` are set only when somebody of the criteria signed it: nothing
    that was not verified is told as if it were true. ``used`` means that it passed every check asked of it
    and counts; otherwise ``reason`` and ``detail`` say why not.
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
    statement: Statement | None = None
    payload: bytes = field(default=b"", repr=False)

    @property
    def keyid(self) -> str:
        """The fingerprint of the given key that signed it, else empty."""
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
    """Something found that is no usable evidence, and why."""

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
    """What was verified: ``ref`` as the user knows it, its digest set, and for a run its UID."""

    ref: str
    digest: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the target as ``subject``."""
        written: dict[str, Any] = {"ref": self.ref, "digest": dict(self.digest)}
        return written | ({"runUid": self.uid} if self.uid else {})


@dataclass(frozen=True, slots=True)
class Verification:
    """One target with its verdict and everything that led to it."""

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

    def to_text(self) -> str:
        """Return lines for humans: criteria, checks with expected and actual, attestations, the verdict last.

        No word of the evidence can start a line or move the cursor.
        """
        lines = [f"target {_plain(self.target.ref)}"]
        lines += [f"  digest {name}:{_plain(value)}" for name, value in self.target.digest.items()]
        lines += [f"  run uid {_plain(self.target.uid)}"] if self.target.uid else []
        lines += ["criteria", *_criteria_lines(self.criteria, self.stores), "checks"]
        for check in self.checks:
            lines += _check_lines(check)
        if self.attestations:
            lines.append("attestations")
        for attestation in self.attestations:
            lines += _attestation_lines(attestation)
        if self.skipped:
            lines.append("skipped")
        for item in self.skipped:
            lines.append(f"  {_plain(item.location)} {_plain(item.digest)}".rstrip())
            lines.append(f"{_INDENT}{item.reason.value}: {_plain(item.detail)}")
        lines.append(f"{self.verdict.value} {_plain(self.target.ref)}: {_plain(self.summary)}")
        return "\n".join(map(plain, lines))


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict that stands for several targets: FAILED, then INDETERMINATE, NOT_FOUND, VERIFIED.

    Wrong evidence is a finding that must not hide behind an outage; an outage may hide wrong evidence, so it
    comes before a plain absence. No verdicts at all are INDETERMINATE: nothing was verified.
    """
    found = set(verdicts)
    return next((verdict for verdict in _FROM_WORST if verdict in found), Verdict.INDETERMINATE)


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


def many_to_text(verifications: Sequence[Verification]) -> str:
    """Return the texts of all, and a last line with the counts when there are several."""
    text = "\n\n".join(each.to_text() for each in verifications)
    if len(verifications) == 1:
        return text
    verdicts = [each.verdict for each in verifications]
    counts = [f"{verdicts.count(verdict)} {verdict.value}" for verdict in _FROM_WORST if verdict in verdicts]
    return (
        f"{text}\n\n{worst(verdicts).value} {len(verdicts)} targets: {', '.join(counts) or 'none'}".lstrip()
    )


def excerpt(text: str, limit: int = _LONGEST) -> str:
    """Return ``text``, cut where it is longer than ``limit`` characters, saying so."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def rfc3339(moment: datetime) -> str:
    """Return a moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _digest_set(digest: str) -> dict[str, str]:
    algorithm, colon, value = digest.partition(":")
    return {algorithm: value} if colon else {}


def _plain(text: str) -> str:
    """Return ``text`` cut, and on one line fit for a terminal."""
    return plain(excerpt(text))


def _criteria_lines(criteria: Criteria, stores: Sequence[str]) -> list[str]:
    lines = [f"  signed by       {key.keyid} ({key.algorithm})" for key in criteria.keys]
    lines += [f"  signed by       {_plain(str(criteria.certificate))}"] if criteria.certificate else []
    lines += [f"  predicate type  {_plain(wanted)}" for wanted in criteria.wanted_types]
    for name, value in (("builder id", criteria.builder_id), ("build type", criteria.build_type)):
        asked = "not asked for" if value is None else f"{_plain(value)}, believed for the signer's sake"
        lines.append(f"  {name:14}  {asked}")
    lines += [
        f"  {_RUN_WORDS[name]:14}  {_plain(value)}" for name, value in criteria.run_wanted.items() if value
    ]
    lines += [f"  require         {_REQUIRED[name]}" for name in criteria.required]
    lines += [f"  looked in       {_plain(store)}" for store in stores]
    return lines


def _check_lines(check: Check) -> list[str]:
    lines = [f"  {check.result.value:5} {check.id}"]
    if check.reason:
        lines[0] += f": {check.reason.value}"
    if check.expected == check.actual:
        return [*lines, f"{_INDENT}as expected {_plain(check.actual)}"]
    lines.append(f"{_INDENT}expected {_plain(check.expected)}")
    return [*lines, f"{_INDENT}actual   {_plain(check.actual)}"]


def _attestation_lines(found: Attestation) -> list[str]:
    if found.is_image_signature:
        kind = f"image signature{'' if found.signed_by else ', unverified'}"
    else:
        kind = found.statement.predicate_type if found.statement else "unverified"
    lines = [f"  {'used' if found.used else 'not used'}: {_plain(kind)}"]
    lines.append(f"{_INDENT}{_plain(found.location)} {found.digest} ({_plain(found.format)}, {found.source})")
    if found.signed_by:
        uid = f", run uid {_plain(found.run_uid)}" if found.run_uid else ""
        lines.append(f"{_INDENT}signed by {_plain(str(found.signed_by))}{uid}")
    if found.reason or found.detail:
        reason = f"{found.reason.value}: " if found.reason else ""
        lines.append(f"{_INDENT}{reason}{_plain(found.detail)}")
    return lines
