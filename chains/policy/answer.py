"""What policies say about an image: its evidence is found once, every policy that matches decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chains.errors import UsageError
from chains.policy.decide import decide
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import ImageAnswer, PolicyVerdict, strictest_first
from chains.verify.search import Query, searched
from storage.base import Store
from storage.formats.reference import Image


def matching(
    policies: Sequence[OpenedPolicy], image: Image, namespace: Namespace | None = None
) -> list[OpenedPolicy]:
    """Return the policies for an image; see :meth:`chains.policy.document.policy.Policy.matches`."""
    return [opened for opened in policies if opened.policy.matches(image, namespace)]


async def answer(
    policies: Sequence[OpenedPolicy],
    image: Image,
    *,
    stores: Sequence[Store],
    now: datetime,
    namespace: Namespace | None = None,
) -> ImageAnswer | None:
    """Return what the matching policies say about an image with a digest, ``None`` where none matches.

    Never raises for what stores and evidence hold. Raises :class:`UsageError` for an image without a digest:
    a tag can be moved between this answer and its use.
    """
    (found,) = await answers(policies, image, [namespace], stores=stores, now=now)
    return found


async def answers(
    policies: Sequence[OpenedPolicy],
    image: Image,
    namespaces: Sequence[Namespace | None],
    *,
    stores: Sequence[Store],
    now: datetime,
) -> list[ImageAnswer | None]:
    """Return an answer for each namespace in which the image runs, in their order; as :func:`answer` else.

    The evidence is looked for once, and a policy decides once, however many namespaces it is for.
    """
    if not image.digest:
        raise UsageError(f"{image.repository} has no digest: add @sha256:HEX")
    own = [matching(policies, image, namespace) for namespace in namespaces]
    if not any(own):
        return [None] * len(own)
    urls = tuple(store.url for store in stores)
    decided: dict[int, PolicyVerdict] = {}
    async with searched(stores, [Query(image.digest, str(image.repository))]) as search:
        for opened in (opened for group in own for opened in group):
            if id(opened) not in decided:
                decided[id(opened)] = decide(opened, image, search, stores=urls, now=now)
    return [strictest_first(decided[id(opened)] for opened in group) if group else None for group in own]
