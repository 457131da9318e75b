"""Every image of an inventory, asked of the policies: each digest once, several at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from chains.errors import UsageError
from chains.policy.answer import answers
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import PolicyVerdict
from chains.preflight.inventory import Inventory
from chains.tekton.workloads import Use
from chains.verify.verdict import Verdict
from storage.base import Store
from storage.errors import StoreError
from storage.formats.reference import Image

_UNMATCHED = "no policy is for this image"
AT_ONCE = 16
"""Images in work at the same time."""


class State(StrEnum):
    """What preflight says about one image in one namespace."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNDECIDED = "undecided"
    SKIP = "skip"


class TagResolver(Protocol):
    """Resolves a tag to a digest; :class:`chains.assembly.registry_tags.RegistryTags` does."""

    async def resolve(self, reference: str) -> str:
        """Return the digest. Raises :class:`StoreError` or :class:`UsageError`."""


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """One image with all places that name it in one namespace, and the strictest answer about it.

    ``image`` is as written; ``digest`` what it is, empty where that could not be found. ``detail`` says why
    an image is skipped or undecided without an answer.
    """

    image: str
    digest: str
    state: State
    uses: tuple[Use, ...]
    verdict: PolicyVerdict | None = None
    detail: str = ""

    @property
    def reason(self) -> str:
        """The reason code of the first requirement that is not met, else empty."""
        wrong = self.verdict.first_wrong if self.verdict else None
        return wrong.reason.value if wrong and wrong.reason else ""

    @property
    def explanation(self) -> str:
        """Why the state is what it is, in one sentence."""
        return self.verdict.summary if self.verdict else self.detail

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
        }


async def check_all(
    inventory: Inventory,
    policies: Sequence[OpenedPolicy],
    stores: Sequence[Store],
    tags: TagResolver,
    *,
    now: datetime,
    advance: Callable[[State], None] = lambda _: None,
) -> list[ImageCheck]:
    """Return a check for each image and namespace, in the order of the images' names.

    ``advance`` is called with the worst state of each image. Never raises for what an image or store holds.
    """
    by_image: dict[str, list[Use]] = {}
    for use in inventory.uses:
        by_image.setdefault(use.image, []).append(use)
    places = asyncio.Semaphore(AT_ONCE)
    resolved: dict[str, Image | ImageCheck] = {}

    async def resolve(text: str, uses: Sequence[Use]) -> None:
        async with places:
            resolved[text] = await _image(text, uses, policies, tags)

    await asyncio.gather(*(resolve(text, uses) for text, uses in by_image.items()))
    by_digest: dict[Image, list[tuple[str, Use]]] = {}
    found: list[ImageCheck] = []
    for text, uses in by_image.items():
        image = resolved[text]
        if isinstance(image, ImageCheck):
            found.append(image)
            advance(image.state)
        else:
            by_digest.setdefault(image, []).extend((text, use) for use in uses)

    async def judge(image: Image, uses: Sequence[tuple[str, Use]]) -> list[ImageCheck]:
        async with places:
            checks = await _judge(image, uses, policies, stores, inventory, now)
        advance(min((check.state for check in checks), key=_WORST.index))
        return checks

    for checks in await asyncio.gather(*(judge(image, uses) for image, uses in by_digest.items())):
        found += checks
    return sorted(found, key=lambda check: (check.image, check.uses[0].namespace))


_WORST = (State.FAIL, State.UNDECIDED, State.SKIP, State.PASS)


async def _image(
    text: str, uses: Sequence[Use], policies: Sequence[OpenedPolicy], tags: TagResolver
) -> Image | ImageCheck:
    """Return the image that a text names, by digest, or why it cannot be asked about."""
    if text.startswith("sha256:"):
        told = "the container runtime reports the digest of a configuration, which no registry can look up"
        return ImageCheck(text, "", State.SKIP, tuple(uses), detail=told)
    try:
        image = read_image(_with_registry(text))
    except UsageError as error:
        return ImageCheck(text, "", State.UNDECIDED, tuple(uses), detail=str(error))
    if image.digest:
        return image
    if not _may_match(image, policies):
        return ImageCheck(text, "", State.SKIP, tuple(uses), detail=_UNMATCHED)
    try:
        return replace(image, digest=await tags.resolve(_with_registry(text)))
    except (StoreError, UsageError) as error:
        told = f"the tag cannot be resolved: {error}"
        return ImageCheck(text, "", State.UNDECIDED, tuple(uses), detail=told)


def _may_match(image: Image, policies: Sequence[OpenedPolicy]) -> bool:
    """Whether a policy is for some digest of the image; no registry is asked about a tag of any other."""
    patterns = (pattern for opened in policies for pattern in opened.policy.images)
    return any(pattern.matches(replace(image, digest=pattern.digest)) for pattern in patterns)


def _with_registry(text: str) -> str:
    """Return an image as container runtimes read it: a name without registry is one of Docker Hub."""
    head, slash, _ = text.partition("/")
    is_registry = bool(slash) and (head == "localhost" or "." in head or ":" in head)
    return text if is_registry else f"docker.io/{text}"


async def _judge(
    image: Image,
    uses: Sequence[tuple[str, Use]],
    policies: Sequence[OpenedPolicy],
    stores: Sequence[Store],
    inventory: Inventory,
    now: datetime,
) -> list[ImageCheck]:
    names = list(dict.fromkeys(use.namespace for _, use in uses))
    namespaces: list[Namespace | None] = [inventory.namespaces.get(name) for name in names]
    found = await answers(policies, image, namespaces, stores=stores, now=now)
    checks = []
    for name, one in zip(names, found, strict=True):
        own = tuple(use for _, use in uses if use.namespace == name)
        text = next(text for text, use in uses if use.namespace == name)
        if one is None:
            check = ImageCheck(text, image.digest, State.SKIP, own, detail=_UNMATCHED)
        else:
            verdict = one.strictest
            check = ImageCheck(text, image.digest, _state(verdict), own, verdict)
        checks.append(check)
    return checks


def _state(verdict: PolicyVerdict) -> State:
    if verdict.exit_code == 0:
        return State.PASS
    return State.UNDECIDED if verdict.verdict is Verdict.INDETERMINATE else State.FAIL
