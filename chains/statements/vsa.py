"""What a verification leaves behind: a SLSA Verification Summary and an in-toto SVR. Pure.

Sources: https://slsa.dev/spec/v1.2/verification_summary (predicate type ``…/verification_summary/v1`` for
every 1.x), and https://github.com/in-toto/attestation/blob/main/spec/predicates/svr.md (version 0.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chains.statements.statement import STATEMENT_V1, ResourceDescriptor, Statement

VSA = "https://slsa.dev/verification_summary/v1"
SVR = "https://in-toto.io/attestation/svr/v0.2"
SLSA_VERSION = "1.2"
FAILED_LEVELS = ("FAILED",)
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
        "verificationResult": "PASSED" if summary.is_passed else "FAILED",
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
    return [*found, "TEKTON_HERMETIC_ENFORCED"] if is_hermetic else found
