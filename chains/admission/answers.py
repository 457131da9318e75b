"""What policies answered about images, remembered for a bounded time and in bounded memory.

One image is verified once, however many requests wait for the answer. A request that ends at its deadline
does not end the work: the next request finds the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cachetools import LRUCache

from chains.admission.policies import PolicySet
from chains.admission.ruling import Ruling, ruling_of, undecided
from chains.policy.answer import answer
from chains.policy.opened import OpenedPolicy
from chains.verify.verdict import Verdict
from storage.base import Store
from storage.formats.reference import Image
from storage.limits.single_flight import InFlight

MOST_KEPT = 20_000
"""Answers that are kept: at most 2 KB each."""
AT_ONCE = 32
"""Images that are verified at the same time."""
MOST_WAITING = 1024
"""Images that are verified or wait for it. Further ones are undecided at once."""
LONGEST = 30.0
"""Seconds for which one image may be verified, whoever still waits for it."""
NEGATIVE_SECONDS, UNDECIDED_SECONDS = 5.0, 1.0
"""For how long an answer is kept that is not VERIFIED, and one that no store gave."""
_Key = tuple[str, str, str, tuple[str, ...]]
_log = logging.getLogger("chains.admission")


class Answers:
    """Asks policies about images, with the evidence of the stores. Use from one event loop.

    ``clock`` returns seconds, ``now`` the time of day.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stores, self._clock, self._now = stores, clock, now
        self._kept: LRUCache[_Key, tuple[float, Ruling]] = LRUCache(MOST_KEPT)
        self._running: InFlight[_Key, Ruling] = InFlight()
        self._places = asyncio.Semaphore(AT_ONCE)
        self.hits = self.misses = 0

    @property
    def kept(self) -> int:
        """The number of answers that are kept."""
        return len(self._kept)

    @property
    def waiting(self) -> int:
        """The number of images that are verified or wait for it."""
        return len(self._running)

    async def ask(self, policies: PolicySet, matching: Sequence[OpenedPolicy], image: Image) -> Ruling:
        """Return the ruling of the policies, at least one, that match an image by digest. Never raises."""
        names = tuple(one.policy.name for one in matching)
        key = (policies.digest, str(image.repository), image.digest, names)
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept[0]:
            self.hits += 1
            return kept[1]
        self.misses += 1
        if key not in self._running and self.waiting >= MOST_WAITING:
            told = f"{self.waiting} other images are being verified"
            return undecided(matching, image, told, self._now())
        return await self._running.run(key, lambda: self._find(key, policies, matching, image))

    async def _find(
        self, key: _Key, policies: PolicySet, matching: Sequence[OpenedPolicy], image: Image
    ) -> Ruling:
        async with self._places:
            begin, now = self._clock(), self._now()
            ruling = await self._verified(matching, image, now)
        seconds = _kept_for(ruling, matching)
        if (change := policies.next_change(now)) is not None:
            seconds = min(seconds, (change - now).total_seconds())
        if seconds > 0:
            self._kept[key] = (begin + seconds, ruling)
        return ruling

    async def _verified(self, matching: Sequence[OpenedPolicy], image: Image, now: datetime) -> Ruling:
        try:
            async with asyncio.timeout(LONGEST):
                found = await answer(matching, image, stores=self._stores, now=now)
        except TimeoutError:
            return undecided(matching, image, f"the stores did not answer within {LONGEST:g} s", now)
        except Exception as error:  # noqa: BLE001 - one image, however odd, must not end the others
            _log.exception("an image cannot be verified", extra={"image": str(image.repository)[:300]})
            return undecided(matching, image, f"unexpected {type(error).__name__}; please report it", now)
        if found is None:
            raise AssertionError("no policy matches an image for which policies were chosen")
        return ruling_of(found.verdicts)


def _kept_for(ruling: Ruling, matching: Sequence[OpenedPolicy]) -> float:
    if ruling.is_met:
        return min(one.policy.cache_seconds for one in matching)
    return UNDECIDED_SECONDS if ruling.verdict == Verdict.INDETERMINATE else NEGATIVE_SECONDS
