"""What policies answered about images, remembered for a bounded time and in bounded memory.

One image is verified once, however many requests wait for the answer. A request that ends at its deadline
does not end the work: the next request finds the answer.

An image that the server's own credentials do not show is looked at with those of its pod. What they show is
told to nobody without them: such an answer is kept under their identity.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cachetools import LRUCache, TTLCache

from chains.admission.policies import PolicySet
from chains.admission.ruling import Ruling, ruling_of, undecided
from chains.admission.sharing.shared import SharedAnswers
from chains.assembly.pull_secrets import Pulled, PullSecrets
from chains.assembly.registry_secrets import sibling, takes_credentials
from chains.policy.answer import answer
from chains.policy.opened import OpenedPolicy
from chains.policy.reasons import PolicyReason
from chains.tekton.workloads import Puller
from chains.verify.verdict import Verdict
from storage.base import Store
from storage.formats.reference import Image, Repository
from storage.limits.single_flight import InFlight

MOST_KEPT = 20_000
"""Answers that are kept: at most 2 KB each."""
MOST_PULLED = 5_000
"""Answers that are kept besides, found with the credentials of pods: those cannot displace the others."""
PRIVATE_SECONDS, _MOST_PRIVATE = 300.0, 10_000
"""For how long it is known that credentials of pods show more of a repository: they are tried first."""
AT_ONCE = 32
"""Images that are verified at the same time."""
MOST_WAITING = 1024
"""Images that are verified or wait for it. Further ones are undecided at once."""
LONGEST = 30.0
"""Seconds for which one image may be verified, whoever still waits for it."""
NEGATIVE_SECONDS, UNDECIDED_SECONDS = 5.0, 1.0
"""For how long an answer is kept that is not VERIFIED, and one that no store gave."""
_Key = tuple[str, str, str, tuple[str, ...], str]
"""Digest of the policies, repository, digest of the image, policies that match, and whose credentials."""
_log = logging.getLogger("chains.admission")


class Answers:
    """Asks policies about images, with the evidence of the stores. Use from one event loop.

    ``secrets`` finds the credentials of pods; without it, those of the stores are used alone. ``shared`` has
    the answers of other processes. ``clock`` returns seconds of the machine, ``now`` the time of day.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        secrets: PullSecrets | None = None,
        *,
        shared: SharedAnswers | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stores, self._clock, self._now = stores, clock, now
        self._secrets = secrets if takes_credentials(stores) else None
        self._kept: LRUCache[_Key, tuple[float, Ruling]] = LRUCache(MOST_KEPT)
        self._pulled: LRUCache[_Key, tuple[float, Ruling]] = LRUCache(MOST_PULLED)
        self._private: TTLCache[Repository, bool] = TTLCache(_MOST_PRIVATE, PRIVATE_SECONDS, clock)
        self._shared = shared
        self._running: InFlight[_Key, Ruling] = InFlight()
        self._places = asyncio.Semaphore(AT_ONCE)
        self.hits = self.misses = 0

    @property
    def kept(self) -> int:
        """The number of answers that are kept."""
        return len(self._kept) + len(self._pulled)

    @property
    def found_by_others(self) -> int:
        """The number of answers that another process found."""
        return self._shared.found if self._shared is not None else 0

    @property
    def waiting(self) -> int:
        """The number of images that are verified or wait for it."""
        return len(self._running)

    async def ask(
        self,
        policies: PolicySet,
        matching: Sequence[OpenedPolicy],
        image: Image,
        puller: Puller | None = None,
    ) -> Ruling:
        """Return the ruling of the policies, at least one, that match an image by digest. Never raises.

        ``puller`` says whose credentials count where those of the stores are refused or show nothing.
        """
        if puller is None or self._secrets is None:
            return await self._look(policies, matching, image, None)
        is_private = image.repository in self._private
        own = None if is_private else await self._look(policies, matching, image, None)
        if own is not None and not _is_hidden(own):
            return own
        found = None
        pulled = await self._secrets.find(puller, image.repository)
        if pulled is not None:
            found = await self._look(policies, matching, image, pulled)
            if not _is_hidden(found) and found.verdict != Verdict.INDETERMINATE:
                self._private[image.repository] = True
                return found
        own = own or await self._look(policies, matching, image, None)
        # a credential that makes the registry fail must not turn a refusal into "away"
        return found if found is not None and _is_hidden(found) and _is_hidden(own) else own

    async def _look(
        self, policies: PolicySet, matching: Sequence[OpenedPolicy], image: Image, pulled: Pulled | None
    ) -> Ruling:
        names = tuple(one.policy.name for one in matching)
        whose = pulled.identity if pulled is not None else ""
        key = (policies.digest, str(image.repository), image.digest, names, whose)
        kept = (self._pulled if whose else self._kept).get(key)
        if kept is not None and self._clock() < kept[0]:
            self.hits += 1
            return kept[1]
        self.misses += 1
        if key not in self._running and self.waiting >= MOST_WAITING:
            told = f"{self.waiting} other images are being verified"
            return undecided(matching, image, told, self._now())
        return await self._running.run(key, lambda: self._find(key, policies, matching, image, pulled))

    async def _find(
        self,
        key: _Key,
        policies: PolicySet,
        matching: Sequence[OpenedPolicy],
        image: Image,
        pulled: Pulled | None,
    ) -> Ruling:
        if self._shared is None:
            return self._keep(key, *await self._found(policies, matching, image, pulled))
        theirs = await self._shared.ask(key, is_pulled=pulled is not None)
        if theirs is not None:
            return self._keep(key, *theirs)
        try:
            until, ruling = await self._found(policies, matching, image, pulled)
        except BaseException:
            self._shared.release(key)
            raise
        self._shared.put(key, until, ruling, is_pulled=pulled is not None)
        return self._keep(key, until, ruling)

    def _keep(self, key: _Key, until: float, ruling: Ruling) -> Ruling:
        if until > self._clock():
            (self._pulled if key[-1] else self._kept)[key] = (until, ruling)
        return ruling

    async def _found(
        self, policies: PolicySet, matching: Sequence[OpenedPolicy], image: Image, pulled: Pulled | None
    ) -> tuple[float, Ruling]:
        """Return the ruling on an image, and until when it counts."""
        stores = self._stores
        if pulled is not None:
            stores = [sibling(store, pulled.keychain) for store in stores]
        async with self._places:
            begin, now = self._clock(), self._now()
            ruling = await self._verified(stores, matching, image, now)
        seconds = _kept_for(ruling, matching)
        if (change := policies.next_change(now)) is not None:
            seconds = min(seconds, (change - now).total_seconds())
        return begin + seconds, ruling

    async def _verified(
        self, stores: Sequence[Store], matching: Sequence[OpenedPolicy], image: Image, now: datetime
    ) -> Ruling:
        try:
            async with asyncio.timeout(LONGEST):
                found = await answer(matching, image, stores=stores, now=now)
        except TimeoutError:
            return undecided(matching, image, f"the stores did not answer within {LONGEST:g} s", now)
        except Exception as error:  # noqa: BLE001 - one image, however odd, must not end the others
            _log.exception("an image cannot be verified", extra={"image": str(image.repository)[:300]})
            return undecided(matching, image, f"unexpected {type(error).__name__}; please report it", now)
        if found is None:
            raise AssertionError("no policy matches an image for which policies were chosen")
        return ruling_of(found.verdicts)


def _is_hidden(ruling: Ruling) -> bool:
    """Whether other credentials may show more: nothing is there, or the registry refuses."""
    if ruling.is_met:
        return False
    is_refused = ruling.reason == PolicyReason.STORE_REJECTED
    return ruling.verdict == Verdict.NOT_FOUND or (ruling.verdict == Verdict.INDETERMINATE and is_refused)


def _kept_for(ruling: Ruling, matching: Sequence[OpenedPolicy]) -> float:
    if ruling.is_met:
        return min(one.policy.cache_seconds for one in matching)
    return UNDECIDED_SECONDS if ruling.verdict == Verdict.INDETERMINATE else NEGATIVE_SECONDS
