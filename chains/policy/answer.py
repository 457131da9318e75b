"""What policies say about an image: its evidence is found once, every policy that matches decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime
from functools import cache, partial
from typing import TypeVar

from chains.errors import UsageError
from chains.policy.decide import decide
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import ImageAnswer, PolicyVerdict, strictest_first
from chains.verify.search import FEW_BYTES, Query, searched
from storage.base import Store
from storage.formats.reference import Image

ASIDE = 32 * 1024
"""Bytes of evidence from which policies decide in a thread. Less takes 20 milliseconds at most."""
T = TypeVar("T")


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
    asked = {id(opened): opened for group in own for opened in group}
    async with searched(stores, [Query(image.digest, str(image.repository))]) as search:

        def decide_all() -> dict[int, PolicyVerdict]:
            return {key: decide(opened, image, search, stores=urls, now=now) for key, opened in asked.items()}

        decided = await _aside(sum(len(one.data) for one in search.evidence), decide_all)
    return [strictest_first(decided[id(opened)] for opened in group) if group else None for group in own]


async def _aside(size: int, work: Callable[[], T]) -> T:
    """Return the result of work on so many bytes of evidence; in a thread unless they are few.

    The event loop goes on meanwhile: evidence that takes a second holds up no other answer.
    """
    if size < ASIDE:
        return work()
    inside = partial(copy_context().run, work)
    return await asyncio.get_running_loop().run_in_executor(_thread(size > FEW_BYTES), inside)


@cache
def _thread(is_large: bool) -> ThreadPoolExecutor:
    """Return the one thread for large evidence, or that for all other.

    Two large ones at a time would take twice the memory; and those that are not large do not wait for one.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="decide-large" if is_large else "decide")
