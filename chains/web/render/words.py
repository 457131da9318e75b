"""The words for states, levels, predicate types and signers. Each says what was confirmed, never "safe"."""

from __future__ import annotations

import re
from typing import Final

from chains.index.codes import Level, Outcome, Verdict
from chains.statements.statement import SCAI, SLSA_V02, SLSA_V1
from chains.statements.vsa import SVR, VSA

LEVELS: Final = {
    Level.NONE: ("not stated", "no confirmed execution report says how the run was isolated"),
    Level.NOT_REQUESTED: ("not requested", "isolation was not requested, and nothing is known to isolate"),
    Level.REQUESTED_ONLY: ("requested only", "isolation was requested, and no container was isolated"),
    Level.UNKNOWN: ("unknown", "whether the build had a network cannot be determined"),
    Level.PARTLY: ("partly", "some containers had no network, or only one direction was closed"),
    Level.ENFORCED: ("enforced", "no process of the build had a network; this is proven"),
}
"""The isolation levels of execution reports: the word, and a sentence."""
_TYPES: Final = {
    SLSA_V1: "SLSA provenance v1",
    SLSA_V02: "SLSA provenance v0.2",
    SCAI: "Execution report",
    VSA: "Verification summary",
    SVR: "Simple verification result",
    "https://sigstore.dev/cosign/sign/v1": "Image signature",
}
_OUTCOMES: Final = {
    Outcome.NONE: "not stated",
    Outcome.SUCCEEDED: "succeeded",
    Outcome.FAILED: "failed",
    Outcome.CANCELLED: "cancelled",
    Outcome.TIMED_OUT: "timed out",
    Outcome.UNFINISHED: "unfinished",
}
_STATES: Final = {
    Verdict.VERIFIED: ("ok", "Confirmed"),
    Verdict.FAILED: ("bad", "Not confirmed"),
    Verdict.INDETERMINATE: ("unsure", "Undecided"),
    Verdict.NOT_JUDGED: ("unsure", "Not judged"),
}
_SHORT_KEY: Final = 18
_IDENTITY: Final = re.compile(r"(?P<identity>.+) \(issuer (?P<issuer>.+)\)", re.DOTALL)


def level_word(level: Level) -> str:
    """Return the word of an isolation level."""
    return LEVELS[level][0]


def level_sentence(level: Level) -> str:
    """Return what an isolation level means."""
    return LEVELS[level][1]


def type_name(predicate: str) -> str:
    """Return what a predicate type is called; an unknown one as it is."""
    return _TYPES.get(predicate, predicate)


def outcome_word(outcome: Outcome) -> str:
    """Return the word of an outcome."""
    return _OUTCOMES[outcome]


def state_of(verdict: Verdict) -> tuple[str, str]:
    """Return the class and the words of a verdict."""
    return _STATES[verdict]


def signer_words(signer: str) -> tuple[str, str, str]:
    """Return what a signer is (``key`` or ``identity``), its name, and who issued the identity."""
    match = _IDENTITY.fullmatch(signer)
    return ("identity", match["identity"], match["issuer"]) if match else ("key", signer, "")


def short_signer(who: str) -> str:
    """Return the beginning of a key's fingerprint; an identity as it is."""
    return f"{who[:_SHORT_KEY]}…" if who.startswith("SHA256:") and len(who) > _SHORT_KEY else who
