"""What policies say about an image: its evidence is found once, every policy that matches decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chains.errors import UsageError
from chains.policy.decide import decide
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import ImageAnswer, strictest_first
from chains.verify.search import Query, searched
from storage.base import Store
from storage.formats.reference import Image


def matching(
    policies: Sequence[OpenedPolicy], image: Image, namespace: Namespace | None = None
) -> list[OpenedPolicy]:
    """Return the policies that are for an image; see :meth:`chains.policy.document.policy.Policy.matches`."""
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
    if not image.digest:
        raise UsageError(f"{image.repository} has no digest: add @sha256:HEX")
    own = matching(policies, image, namespace)
    if not own:
        return None
    urls = tuple(store.url for store in stores)
    query = Query(image.digest, str(image.repository))
    async with searched(stores, [query]) as search:
        return strictest_first(decide(opened, image, search, stores=urls, now=now) for opened in own)
