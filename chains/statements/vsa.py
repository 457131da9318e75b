"""What a verification leaves behind: a SLSA Verification Summary and an in-toto SVR, and its reader. Pure.

Sources: https://slsa.dev/spec/v1.2/verification_summary (predicate type ``…/verification_summary/v1`` for
every 1.x), and https://github.com/in-toto/attestation/blob/main/spec/predicates/svr.md (version 0.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chains.errors import EvidenceError
from chains.statements.statement import STATEMENT_V1, ResourceDescriptor, Statement
from chains.tekton.raw import mapping_at, text_at

VSA = "https://slsa.dev/verification_summary/v1"
SVR = "https://in-toto.io/attestation/svr/v0.2"
SLSA_VERSION = "1.2"
FAILED_LEVELS = ("FAILED",)
PASSED, FAILED = "PASSED", "FAILED"
HERMETIC = "TEKTON_HERMETIC_ENFORCED"
_BUILD_LEVEL = re.compile(r"SLSA_BUILD_LEVEL_([0-9])", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SLSA_LEVEL = re.compile(r"SLSA_[A-Z]+_LEVEL_[0-9]+")


@dataclass(frozen=True, slots=True)
class InputAttestation:
    """One piece of evidence that a verification used: where it lies and the SHA-256 of its bytes."""

    uri: str
    digest: str

    def fields(self) -> dict[str, Any]:
        """Return the resource descriptor."""
        algorithm, _, value = self.digest.partition(":")
        return {"uri": self.uri, "digest": {algorithm: value}}


@dataclass(frozen=True, slots=True)
class Summary:
    """What a verifier found about one artifact.

    ``digest`` and ``policy_digest`` are ``sha256:HEX``. ``resource_uri`` is where consumers fetch the
    artifact, without tag. ``levels`` has one SLSA level of a track and properties of ours, which never begin
    with ``SLSA_``; it is empty where the verification failed.
    """

    name: str
    digest: str
    resource_uri: str
    verifier_id: str
    version: str
    policy_uri: str
    policy_digest: str
    verified_at: datetime
    levels: tuple[str, ...] = ()
    inputs: tuple[InputAttestation, ...] = ()

    @property
    def is_passed(self) -> bool:
        """Whether the verification passed."""
        return bool(self.levels)


def build_vsa(summary: Summary) -> Statement:
    """Return the Verification Summary. Raises ValueError for a level that the format forbids."""
    for level in summary.levels:
        if level.startswith("SLSA_") and _SLSA_LEVEL.fullmatch(level) is None:
            raise ValueError(f"{level!r}: a value that begins with SLSA_ is SLSA_<TRACK>_LEVEL_<NUMBER>")
    predicate: dict[str, Any] = {
        "verifier": {"id": summary.verifier_id, "version": {"provenance-chains": summary.version}},
        "timeVerified": _time(summary.verified_at),
        "resourceUri": summary.resource_uri,
        "policy": _policy(summary),
        "inputAttestations": [one.fields() for one in summary.inputs],
        "verificationResult": PASSED if summary.is_passed else FAILED,
        "verifiedLevels": list(summary.levels or FAILED_LEVELS),
        "slsaVersion": SLSA_VERSION,
    }
    if not summary.inputs:
        # the specification takes a list for all that was used; an empty one would say that nothing was
        del predicate["inputAttestations"]
    return _statement(summary, VSA, predicate)


def build_svr(summary: Summary) -> Statement:
    """Return the Simple Verification Result. Raises ValueError for a failure, which it cannot say."""
    if not summary.is_passed:
        raise ValueError("a simple verification result has passing properties alone")
    predicate = {
        "verifier": {"id": summary.verifier_id, "policies": [_policy(summary)]},
        "timeCreated": _time(summary.verified_at),
        "properties": list(summary.levels),
    }
    return _statement(summary, SVR, predicate)


def _statement(summary: Summary, predicate_type: str, predicate: Mapping[str, Any]) -> Statement:
    algorithm, _, value = summary.digest.partition(":")
    subject = ResourceDescriptor(name=summary.name, digest={algorithm: value})
    return Statement(STATEMENT_V1, (subject,), predicate_type, predicate)


def _policy(summary: Summary) -> dict[str, Any]:
    return ResourceDescriptor(
        uri=summary.policy_uri, digest=dict([summary.policy_digest.split(":", 1)])
    ).fields()


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def levels(level: int, *, is_hermetic: bool) -> Sequence[str]:
    """Return the values of a passed verification: the SLSA build level, and hermetic execution if proven."""
    found = [f"SLSA_BUILD_LEVEL_{level}"]
    return [*found, HERMETIC] if is_hermetic else found


@dataclass(frozen=True, slots=True)
class Claims:
    """What a Verification Summary says. It is as true as its signer is honest.

    ``policy_digest`` is ``sha256:HEX``, and empty if the summary names none. ``verified_at`` is None if it
    names no time.
    """

    verifier_id: str
    resource_uri: str
    policy_uri: str
    policy_digest: str
    is_passed: bool
    levels: tuple[str, ...]
    verified_at: datetime | None

    @property
    def build_level(self) -> int:
        """The SLSA build level that is stated, the lowest of several; 0 if none is."""
        return min((int(match[1]) for match in map(_BUILD_LEVEL.fullmatch, self.levels) if match), default=0)

    def states(self, level: str) -> bool:
        """Whether a level or property is stated; a SLSA build level also by a higher one."""
        wanted = _BUILD_LEVEL.fullmatch(level)
        return self.build_level >= int(wanted[1]) if wanted else level in self.levels


def read_vsa(statement: Statement) -> Claims:
    """Read a Verification Summary. Raises :class:`EvidenceError` for what is missing, wrong or contradictory.

    Unknown members are left unread, as the specification demands.
    """
    predicate = statement.predicate
    result = _text(predicate, "verificationResult")
    if result not in {PASSED, FAILED}:
        raise EvidenceError(f"verificationResult: expected {PASSED} or {FAILED}, got {result[:40]!r}")
    levels_ = predicate.get("verifiedLevels")
    if not isinstance(levels_, list) or not all(isinstance(one, str) for one in levels_):
        raise EvidenceError("verifiedLevels: expected a list of texts")
    if result == PASSED and FAILED in levels_:
        raise EvidenceError(f"it says {PASSED}, and its verifiedLevels say {FAILED}")
    policy = predicate.get("policy")
    digest = policy.get("digest", {}) if isinstance(policy, Mapping) else None
    if not isinstance(digest, Mapping):
        raise EvidenceError("policy: expected a uri, and a digest as a mapping")
    sha256 = digest.get("sha256", "")
    if not isinstance(sha256, str) or (sha256 and _SHA256.fullmatch(sha256) is None):
        raise EvidenceError("policy.digest.sha256: expected 64 hex digits")
    return Claims(
        verifier_id=_text(predicate, "verifier", "id"),
        resource_uri=_text(predicate, "resourceUri"),
        policy_uri=_text(predicate, "policy", "uri"),
        policy_digest=f"sha256:{sha256}" if sha256 else "",
        is_passed=result == PASSED,
        levels=tuple(levels_),
        verified_at=time_verified(statement) if "timeVerified" in predicate else None,
    )


def read_svr(statement: Statement) -> Claims:
    """Read a Simple Verification Result, which says what passed. Of several policies the first is told.

    Raises :class:`EvidenceError` for what is missing or wrong. Unknown members are left unread.
    """
    predicate = statement.predicate
    properties = predicate.get("properties")
    if not isinstance(properties, list) or not all(isinstance(one, str) for one in properties):
        raise EvidenceError("properties: expected a list of texts")
    policies = mapping_at(predicate, "verifier").get("policies", [])
    if not isinstance(policies, list) or not all(isinstance(one, Mapping) for one in policies):
        raise EvidenceError("verifier.policies: expected a list of resource descriptors")
    policy = policies[0] if policies else {}
    sha256 = text_at(policy, "digest", "sha256")
    if sha256 and _SHA256.fullmatch(sha256) is None:
        raise EvidenceError("verifier.policies.digest.sha256: expected 64 hex digits")
    return Claims(
        verifier_id=_text(predicate, "verifier", "id"),
        resource_uri="",
        policy_uri=text_at(policy, "uri"),
        policy_digest=f"sha256:{sha256}" if sha256 else "",
        is_passed=True,
        levels=tuple(properties),
        verified_at=time_verified(statement, "timeCreated") if "timeCreated" in predicate else None,
    )


def time_verified(statement: Statement, member: str = "timeVerified") -> datetime:
    """Return when a summary says that it was made. Raises :class:`EvidenceError` for no time of RFC 3339."""
    told = text_at(statement.predicate, member)
    if _MOMENT.fullmatch(told):
        try:
            return datetime.fromisoformat(told)
        except (ValueError, OverflowError):
            pass
    raise EvidenceError(f"{member}: expected a time such as 2026-12-31T00:00:00Z")


def _text(predicate: Mapping[str, Any], *path: str) -> str:
    found = text_at(predicate, *path)
    if not found:
        raise EvidenceError(f"{'.'.join(path)}: expected a text")
    return found
