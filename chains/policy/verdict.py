"""The answer of a policy about one image: a verdict, a decision and every check that led to them.

The JSON keys are stable; ``docs/policy.md`` documents them. The text for people is in ``render``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from chains.policy.document.format import Mode
from chains.policy.document.policy import Exemption
from chains.policy.reasons import PolicyReason, Requirement
from chains.text import excerpt, rfc3339
from chains.verify.reasons import WRONG, Reason, Result
from chains.verify.verdict import Attestation, Left, Verdict, worst

SCHEMA = "https://provenance.chains/policy-verdict/v1"
SCHEMA_MANY = "https://provenance.chains/policy-verdicts/v1"


class Decision(StrEnum):
    """What follows from a verdict: the policy's mode decides between ``deny`` and ``warn``."""

    ALLOW = "allow"
    WARN = "warn"
    DENY = "deny"


_STRICTEST = (Decision.DENY, Decision.WARN, Decision.ALLOW)


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """One requirement or rule with the expected and the actual answer.

    ``exempted`` is the exemption that takes the requirement out of the verdict; ``result`` then is ``skip``.
    ``expired`` are exemptions that would have changed the result and are over.
    """

    id: str
    result: Result
    expected: str = ""
    actual: str = ""
    reason: PolicyReason | Reason | None = None
    guidance: str = ""
    attestation: str = ""
    exempted: Exemption | None = None
    expired: tuple[Exemption, ...] = ()

    @property
    def is_wrong(self) -> bool:
        """Whether it keeps the verdict from VERIFIED."""
        return self.result in WRONG

    def to_json(self) -> dict[str, Any]:
        """Return the check as printed."""
        written: dict[str, Any] = {
            "id": self.id,
            "result": self.result.value,
            "expected": excerpt(self.expected),
            "actual": excerpt(self.actual),
            "reason": self.reason.value if self.reason else None,
            "guidance": excerpt(self.guidance),
        }
        if self.attestation:
            algorithm, _, value = self.attestation.partition(":")
            written["attestation"] = {algorithm: value}
        if self.exempted:
            written["exemption"] = self.exempted.to_json()
        if self.expired:
            written["expiredExemptions"] = [one.to_json() for one in self.expired]
        return written


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """What one policy says about one image.

    ``level`` is the SLSA build level of the provenance that counts, 0 where none does; ``trust`` the name of
    the trust entry that gives it.
    """

    image: str
    digest: str
    policy: str
    policy_digest: str
    mode: Mode
    verdict: Verdict
    decision: Decision
    summary: str
    verified_at: datetime
    checks: tuple[PolicyCheck, ...] = ()
    attestations: tuple[Attestation, ...] = ()
    skipped: tuple[Left, ...] = ()
    stores: tuple[str, ...] = ()
    level: int = 0
    trust: str = ""
    hermetic: str = ""
    cache_seconds: int = 300
    basis: str = ""
    """What the answer rests on: ``provenance``, a verification summary (``vsa``), or empty for nothing."""

    @property
    def exit_code(self) -> int:
        """0 verified or exempt from evidence, 1 failed, 3 no evidence, 4 undecided, whatever the mode is."""
        is_exempt = any(check.id == Requirement.EVIDENCE and check.exempted for check in self.checks)
        return 0 if is_exempt and self.first_wrong is None else self.verdict.exit_code

    @property
    def first_wrong(self) -> PolicyCheck | None:
        """The first requirement that is not met."""
        return next((check for check in self.checks if check.is_wrong), None)

    def to_json(self) -> dict[str, Any]:
        """Return one object of plain JSON values, with the same keys for every verdict."""
        algorithm, _, value = self.digest.partition(":")
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.value,
            "decision": self.decision.value,
            "exitCode": self.exit_code,
            "summary": excerpt(self.summary),
            "verifiedAt": rfc3339(self.verified_at),
            "subject": {"ref": self.image, "digest": {algorithm: value} if value else {}},
            "policy": {"name": self.policy, "digest": self.policy_digest, "mode": self.mode.value},
            "level": self.level,
            "trust": self.trust or None,
            "hermetic": self.hermetic or None,
            "basis": self.basis or None,
            "stores": list(self.stores),
            "checks": [check.to_json() for check in self.checks],
            "attestations": [attestation.to_json() for attestation in self.attestations],
            "skipped": [item.to_json() for item in self.skipped],
        }


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """What all matching policies say about one image, the strictest answer first; never empty."""

    verdicts: tuple[PolicyVerdict, ...] = field(default=())

    @property
    def strictest(self) -> PolicyVerdict:
        """The answer that counts."""
        return self.verdicts[0]

    @property
    def verdict(self) -> Verdict:
        """What the evidence shows, whatever follows from it."""
        return self.strictest.verdict

    @property
    def decision(self) -> Decision:
        """What follows from the verdict in the policy's mode."""
        return self.strictest.decision

    @property
    def summary(self) -> str:
        """Why, in one sentence."""
        return self.strictest.summary

    @property
    def exit_code(self) -> int:
        """What ``chains verify --policy`` returns for this image."""
        return self.strictest.exit_code

    @property
    def checks(self) -> tuple[PolicyCheck, ...]:
        """Each requirement and rule of the policy that counts, with expected and actual."""
        return self.strictest.checks

    @property
    def guidance(self) -> tuple[str, ...]:
        """What to do about each requirement that is not met."""
        return tuple(check.guidance for check in self.checks if check.is_wrong and check.guidance)

    @property
    def exemptions(self) -> tuple[Exemption, ...]:
        """The exemptions that the answer makes use of, each once."""
        return tuple(dict.fromkeys(check.exempted for check in self.checks if check.exempted))

    @property
    def cache_seconds(self) -> int:
        """For how long the answer may be used again: the least that one of the matching policies allows."""
        return min(one.cache_seconds for one in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Return what ``chains verify --policy --output json`` prints for one image."""
        return {
            **self.strictest.to_json(),
            "otherPolicies": [other.to_json() for other in self.verdicts[1:]],
        }


def strictest_first(verdicts: Iterable[PolicyVerdict]) -> ImageAnswer:
    """Order answers: by decision, then by verdict, then by the policy's name. Raises ValueError for none."""

    def place(one: PolicyVerdict) -> tuple[int, int, str]:
        return _STRICTEST.index(one.decision), _WORST.index(one.verdict), one.policy

    found = tuple(sorted(verdicts, key=place))
    if not found:
        raise ValueError("no policy answered")
    return ImageAnswer(found)


_WORST = (Verdict.FAILED, Verdict.INDETERMINATE, Verdict.NOT_FOUND, Verdict.VERIFIED)


def answers_to_json(answers: Sequence[ImageAnswer]) -> dict[str, Any]:
    """Return what ``verify --policy --output json`` prints: one answer, or several with the worst verdict."""
    written = [answer.to_json() for answer in answers]
    if len(written) == 1:
        return written[0]
    verdict = worst(answer.strictest.verdict for answer in answers)
    return {
        "schema": SCHEMA_MANY,
        "verdict": verdict.value,
        "exitCode": verdict.exit_code,
        "results": written,
    }
