"""Whose verdict changes with another policy, before anybody enforces it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chains.policy.answer import matching
from chains.policy.decide import decide
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import Decision, ImageAnswer, strictest_first
from chains.verify.search import Query, searched
from storage.base import Store
from storage.formats.reference import Image


@dataclass(frozen=True, slots=True)
class Change:
    """What the old and the new policies say about one image; ``None`` where none of them is for it."""

    image: Image
    old: ImageAnswer | None
    new: ImageAnswer | None

    @property
    def is_changed(self) -> bool:
        """Whether verdict or decision differ."""
        return _state(self.old) != _state(self.new)

    @property
    def is_denied_now(self) -> bool:
        """Whether the image was not denied by the old policies and is by the new."""
        return _decision(self.new) is Decision.DENY and _decision(self.old) is not Decision.DENY

    def to_json(self) -> dict[str, Any]:
        """Return the change as printed."""
        first = self.new.strictest.first_wrong if self.new else None
        return {
            "image": f"{self.image.repository}@{self.image.digest}",
            "changed": self.is_changed,
            "old": _state(self.old),
            "new": _state(self.new),
            "reason": first.reason.value if first and first.reason else None,
        }


def _decision(found: ImageAnswer | None) -> Decision | None:
    return found.strictest.decision if found else None


def _state(found: ImageAnswer | None) -> str:
    return f"{found.strictest.verdict.value}, {found.strictest.decision.value}" if found else "no policy"


async def compare(
    old: Sequence[OpenedPolicy],
    new: Sequence[OpenedPolicy],
    image: Image,
    *,
    stores: Sequence[Store],
    now: datetime,
) -> Change:
    """Return what changes for an image with a digest; its evidence is looked for once."""
    urls = tuple(store.url for store in stores)
    async with searched(stores, [Query(image.digest, str(image.repository))]) as search:
        answers = []
        for policies in (old, new):
            own = matching(policies, image)
            verdicts = [decide(opened, image, search, stores=urls, now=now) for opened in own]
            answers.append(strictest_first(verdicts) if verdicts else None)
    return Change(image, *answers)
