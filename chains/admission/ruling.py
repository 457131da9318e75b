"""What is said about one image of a request: a decision, with the first requirement that is not met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chains.admission.policies import strictest_mode
from chains.policy.consequence import consequence_of
from chains.policy.decide import decide
from chains.policy.document.format import Mode
from chains.policy.guidance import GUIDANCE
from chains.policy.opened import OpenedPolicy
from chains.policy.reasons import PolicyReason
from chains.policy.verdict import Decision, PolicyCheck, PolicyVerdict, strictest_first
from chains.text import excerpt
from chains.verify.reasons import Reason, Result
from chains.verify.search import Search
from chains.verify.verdict import Check, Verdict
from storage.formats.reference import Image

_LONGEST = 300
"""Characters of one part of a ruling: rulings are kept, and their text comes from evidence."""
_DECISIONS = {Mode.ENFORCE: Decision.DENY, Mode.WARN: Decision.WARN, Mode.AUDIT: Decision.ALLOW}
_STRICTEST = (Decision.DENY, Decision.WARN, Decision.ALLOW)


class AdmissionReason(StrEnum):
    """Why an image is not allowed that no policy could be asked about."""

    NO_POLICY = "no_policy"
    NOT_PINNED = "not_pinned"
    NOT_AN_IMAGE = "not_an_image"
    TAG_NOT_RESOLVED = "tag_not_resolved"
    OBJECT_UNREADABLE = "object_unreadable"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The decision about an image, and why. ``verdict`` is empty if no policy was asked.

    ``policies`` are the names of those that decide, the one that counts first.
    """

    decision: Decision
    verdict: str = ""
    policies: tuple[str, ...] = ()
    requirement: str = ""
    reason: str = ""
    expected: str = ""
    actual: str = ""
    guidance: str = ""

    @property
    def is_met(self) -> bool:
        """Whether nothing is wrong with the image, or all that is wrong is exempt."""
        return not self.requirement


def ruling_of(verdicts: Sequence[PolicyVerdict]) -> Ruling:
    """Return the ruling of what policies answered, the strictest first."""
    counts = verdicts[0]
    names = tuple(one.policy for one in verdicts)
    wrong = counts.first_wrong
    if wrong is None:
        return Ruling(counts.decision, counts.verdict.value, names)
    return Ruling(
        counts.decision,
        counts.verdict.value,
        names,
        str(wrong.id),
        wrong.reason.value if wrong.reason else "",
        excerpt(wrong.expected, _LONGEST),
        excerpt(wrong.actual, _LONGEST),
        _guidance(wrong),
    )


def _guidance(wrong: PolicyCheck) -> str:
    """Return what to do, after the exemption that ended: until then, the image was allowed."""
    ended = [
        f"an exemption ended at {one.until:%Y-%m-%dT%H:%M:%SZ}: {one.reason} ({one.reference})"
        for one in wrong.expired[:1]
    ]
    return "; ".join(excerpt(part, _LONGEST) for part in (*ended, wrong.guidance) if part)


def undecided(policies: Sequence[OpenedPolicy], image: Image, why: str, now: datetime) -> Ruling:
    """Return what the policies for an image say where nothing was found out in time.

    ``unavailable`` of each policy decides, and an exemption from evidence counts.
    """
    error = Check("store", Result.ERROR, "every store answers", why, Reason.STORE_UNAVAILABLE)
    search = Search(errors=(error,))
    return ruling_of(
        strictest_first(decide(one, image, search, stores=(), now=now) for one in policies).verdicts
    )


def unresolved(policies: Sequence[OpenedPolicy], why: str, *, is_away: bool = True) -> Ruling:
    """Return what the policies for a tag say that cannot be resolved.

    ``unavailable`` of each decides if the registry is away, and not if it refuses.
    """
    decisions = {
        one.policy.name: consequence_of(Verdict.INDETERMINATE, one.policy, is_away=is_away)
        for one in policies
    }
    names = sorted(decisions, key=lambda name: _STRICTEST.index(decisions[name]))
    return Ruling(
        decisions[names[0]],
        Verdict.INDETERMINATE.value,
        tuple(names),
        "image",
        AdmissionReason.TAG_NOT_RESOLVED.value,
        "a tag that the registry resolves to a digest",
        excerpt(why, _LONGEST),
        GUIDANCE[PolicyReason.STORE_UNAVAILABLE if is_away else PolicyReason.STORE_REJECTED],
    )


def not_pinned(policies: Sequence[OpenedPolicy]) -> Ruling:
    """Return the denial of a tag in a pod that a policy enforces."""
    names = [one.policy.name for one in policies if one.policy.mode is Mode.ENFORCE]
    return Ruling(
        Decision.DENY,
        "",
        tuple(names),
        "image",
        AdmissionReason.NOT_PINNED.value,
        "a digest: REPOSITORY@sha256:HEX",
        "a tag, which can be moved before the image is pulled",
        "name the image by digest, or let the mutating webhook pin it",
    )


def not_an_image(policies: Sequence[OpenedPolicy], why: str) -> Ruling:
    """Return the ruling on text that names no image, by the strictest mode of the namespace's policies."""
    return Ruling(
        _DECISIONS[strictest_mode(policies)],
        "",
        tuple(one.policy.name for one in policies),
        "image",
        AdmissionReason.NOT_AN_IMAGE.value,
        "REGISTRY/REPOSITORY@sha256:HEX",
        excerpt(why, _LONGEST),
        "correct the name of the image",
    )


def unreadable(policies: Sequence[OpenedPolicy], why: str) -> Ruling:
    """Return the ruling on an object in which images cannot be seen, by the strictest mode."""
    return Ruling(
        _DECISIONS[strictest_mode(policies)],
        "",
        tuple(one.policy.name for one in policies),
        "object",
        AdmissionReason.OBJECT_UNREADABLE.value,
        "lists of containers and volumes that name images",
        excerpt(why, _LONGEST),
        "correct the object",
    )


def unmatched(policies: Sequence[OpenedPolicy], allowed: Decision) -> Ruling:
    """Return the ruling on an image that none of the namespace's policies is for.

    The strictest mode of these policies decides, but no more strictly than ``allowed``.
    """
    strictest = _DECISIONS[strictest_mode(policies)]
    return Ruling(
        max(strictest, allowed, key=_STRICTEST.index),
        "",
        (),
        "image",
        AdmissionReason.NO_POLICY.value,
        "a policy for the image",
        f"none of the namespace's policies ({excerpt(', '.join(one.policy.name for one in policies), 100)})",
        "use an image of a listed repository, or let a policy match this one",
    )
