"""What preflight says about one image: a state for each namespace, and for each platform of an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chains.policy.verdict import PolicyVerdict
from chains.tekton.workloads import Use
from chains.text import excerpt
from chains.verify.verdict import Verdict


class State(StrEnum):
    """What preflight says about one image in one namespace."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNDECIDED = "undecided"
    SKIP = "skip"


WORST = (State.FAIL, State.UNDECIDED, State.SKIP, State.PASS)


def state_of(verdict: PolicyVerdict) -> State:
    """Return the state that a verdict gives, whatever the mode of its policy is."""
    if verdict.exit_code == 0:
        return State.PASS
    return State.UNDECIDED if verdict.verdict is Verdict.INDETERMINATE else State.FAIL


def reason_of(verdict: PolicyVerdict | None) -> str:
    """Return the reason code of the first requirement that is not met, else empty."""
    wrong = verdict.first_wrong if verdict else None
    return wrong.reason.value if wrong and wrong.reason else ""


@dataclass(frozen=True, slots=True)
class PlatformCheck:
    """One platform's image of an index, and what the policies would say if its own digest were named."""

    digest: str
    name: str
    state: State
    reason: str = ""

    @property
    def label(self) -> str:
        """``linux/amd64``, or the digest where the index names no platform."""
        return self.name or self.digest

    def to_json(self) -> dict[str, Any]:
        """Return the platform as printed."""
        return {
            "platform": self.name or None,
            "digest": self.digest,
            "state": self.state.value,
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """One image with all places that name it in one namespace, and the strictest answer about it.

    ``image`` is as written; ``digest`` what it is, empty where that could not be found. ``detail`` says why
    an image is skipped or undecided without an answer. ``platforms`` is empty for an image of one platform;
    ``unlisted`` says why nobody knows whether it is an index.
    """

    image: str
    digest: str
    state: State
    uses: tuple[Use, ...]
    verdict: PolicyVerdict | None = None
    detail: str = ""
    platforms: tuple[PlatformCheck, ...] = ()
    unlisted: str = ""

    @property
    def reason(self) -> str:
        """The reason code of the first requirement that is not met, else empty."""
        return reason_of(self.verdict)

    @property
    def explanation(self) -> str:
        """Why the state is what it is, in one sentence."""
        return self.verdict.summary if self.verdict else self.detail

    @property
    def told(self) -> str:
        """The explanation, with what is to be known about the platforms of an index."""
        note = _platform_note(self.state, self.platforms)
        if self.unlisted:
            note = f"its platforms are not known: {excerpt(self.unlisted, 300)}"
        return f"{self.explanation}; {note}" if note else self.explanation

    def to_json(self) -> dict[str, Any]:
        """Return the check as printed."""
        return {
            "image": self.image,
            "digest": self.digest or None,
            "state": self.state.value,
            "reason": self.reason or None,
            "explanation": self.explanation,
            "answer": self.verdict.to_json() if self.verdict else None,
            "uses": [use.to_json() for use in self.uses],
            "platforms": [platform.to_json() for platform in self.platforms],
            "platformsUnknown": self.unlisted or None,
        }


def _platform_note(state: State, platforms: Sequence[PlatformCheck]) -> str:
    """Say where the platforms' own digests get another answer than their index, else nothing."""
    other = [one for one in platforms if one.state is not state]
    if not other:
        return ""
    names = ", ".join(f"{one.label} {one.state.value}" for one in other)
    if state is State.PASS:
        return f"by their own digests alone: {names}; the index passes for them"
    return f"by their own digests: {names}; the digest that is named is the index's"
