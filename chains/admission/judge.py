"""Rules on one image of a request: finds the policies that are for it, and asks them before the deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cachetools import TTLCache

from chains.admission.answers import PRIVATE_SECONDS, Answers
from chains.admission.policies import PolicySet
from chains.admission.ruling import Ruling, not_an_image, not_pinned, undecided, unmatched, unresolved
from chains.assembly.pull_secrets import Pulled, PullSecrets
from chains.errors import UsageError
from chains.policy.document.format import Mode
from chains.policy.document.patterns import read_image, with_registry
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import Decision
from chains.tekton.workloads import Puller
from chains.verify.targets import TagResolver
from storage.errors import StoreError, StoreUnavailable
from storage.formats.reference import Image, parse_image
from storage.limits.single_flight import InFlight
from storage.oci.tokens import Keychain

TAG_SECONDS = 5.0
"""For how long the digest of a tag is reused."""
_MOST_TAGS = 1000
_AT_ONCE, _MOST_WAITING = 32, 1024
"""Tags that registries are asked about at the same time, and with those that wait for it."""
_LONGEST = 1024
"""Characters of an image's name. Kubernetes has no limit; a repository has 255 characters at most."""
_IDS = ("sha256:", "sha384:", "sha512:")
_ALLOW = Ruling(Decision.ALLOW)


class Tags:
    """Resolves tags: each once, however many requests ask, and again after some seconds.

    An object may name ten thousand tags: only some are asked about at the same time. ``secrets`` finds the
    credentials of pods, and ``pulling`` returns the resolver that uses them. What a tag is by the credentials
    of a pod is told to nobody without them.
    """

    def __init__(
        self,
        resolver: TagResolver,
        secrets: PullSecrets | None = None,
        pulling: Callable[[Keychain], TagResolver] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver, self._secrets, self._pulling = resolver, secrets, pulling
        self._kept: TTLCache[tuple[str, str], str] = TTLCache(_MOST_TAGS, TAG_SECONDS, clock)
        self._private: TTLCache[str, bool] = TTLCache(_MOST_TAGS, PRIVATE_SECONDS, clock)
        self._running: InFlight[tuple[str, str], str] = InFlight()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def resolve(self, reference: str, puller: Puller | None = None) -> str:
        """Return the digest of a tag. Raises :class:`StoreError` or :class:`UsageError`.

        ``puller`` says whose credentials count where the server's own are refused or show no such tag.
        """
        if puller is None or self._secrets is None or self._pulling is None:
            return await self._look(reference, None)
        refused: StoreError | UsageError | None = None
        if reference not in self._private:
            try:
                return await self._look(reference, None)
            except StoreUnavailable:
                raise
            except (StoreError, UsageError) as error:
                refused = error
        pulled = await self._secrets.find(puller, parse_image(reference).repository)
        if pulled is not None:
            try:
                found = await self._look(reference, pulled)
            except (StoreError, UsageError) as error:
                # a credential that makes the registry fail must not turn a refusal into "away"
                refused = refused if isinstance(error, StoreUnavailable) else error
            else:
                self._private[reference] = True
                return found
        if refused is not None:
            raise refused
        return await self._look(reference, None)

    async def _look(self, reference: str, pulled: Pulled | None) -> str:
        key = (reference, pulled.identity if pulled is not None else "")
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        if key not in self._running and len(self._running) >= _MOST_WAITING:
            raise StoreUnavailable(f"{len(self._running)} other tags are being resolved")
        return await self._running.run(key, lambda: self._find(key, pulled))

    async def _find(self, key: tuple[str, str], pulled: Pulled | None) -> str:
        resolver = self._resolver
        if pulled is not None and self._pulling is not None:
            resolver = self._pulling(pulled.keychain)
        async with self._places:
            found = await resolver.resolve(key[0])
        self._kept[key] = found
        return found


@dataclass(frozen=True, slots=True)
class Judged:
    """One image of a request. ``is_tag`` if it names no digest; ``digest`` is what it is then, if known."""

    image: str
    where: str
    ruling: Ruling
    is_tag: bool = False
    digest: str = ""


class Judge:
    """Rules on images. ``allowed`` is the strictest decision about an image that no policy is for."""

    def __init__(self, answers: Answers, tags: Tags, allowed: Decision = Decision.DENY) -> None:
        self._answers, self._tags, self._allowed = answers, tags, allowed

    async def rule(
        self,
        policies: PolicySet,
        image: str,
        where: str,
        namespace: Namespace | None,
        *,
        is_pod: bool,
        deadline: float,
        puller: Puller | None = None,
    ) -> Judged:
        """Rule on an image as it is written. ``deadline`` is a time of the event loop. Never raises.

        ``puller`` says whose Secrets the image is pulled with. A tag of a pod is denied if a policy enforces;
        another tag is judged by what it is now.
        """
        fitting = policies.fitting(namespace)
        if not fitting:
            return Judged(image, where, _ALLOW)
        try:
            read = read_as_runtime(image)
        except UsageError as error:
            return Judged(image, where, not_an_image(fitting, str(error)))
        if not read.digest:
            return await self._rule_tag(
                policies, fitting, image, where, read, is_pod=is_pod, deadline=deadline, puller=puller
            )
        ruling = await self._ask(policies, fitting, read, deadline, puller)
        return Judged(image, where, ruling, digest=read.digest)

    async def _rule_tag(
        self,
        policies: PolicySet,
        fitting: list[OpenedPolicy],
        image: str,
        where: str,
        read: Image,
        *,
        is_pod: bool,
        deadline: float,
        puller: Puller | None,
    ) -> Judged:
        possible = [one for one in fitting if one.policy.may_match(read)]
        if not possible:
            return Judged(image, where, unmatched(fitting, self._allowed), is_tag=True)
        if is_pod and any(one.policy.mode is Mode.ENFORCE for one in possible):
            return Judged(image, where, not_pinned(possible), is_tag=True)
        try:
            async with asyncio.timeout_at(deadline):
                digest = await self._tags.resolve(with_registry(image), puller)
        except TimeoutError:
            late = unresolved(possible, "the registry did not answer in time")
            return Judged(image, where, late, is_tag=True)
        except (StoreError, UsageError) as error:
            is_away = isinstance(error, StoreUnavailable)
            return Judged(image, where, unresolved(possible, str(error), is_away=is_away), is_tag=True)
        ruling = await self._ask(policies, fitting, replace(read, digest=digest), deadline, puller)
        return Judged(image, where, ruling, is_tag=True, digest=digest)

    async def _ask(
        self,
        policies: PolicySet,
        fitting: list[OpenedPolicy],
        image: Image,
        deadline: float,
        puller: Puller | None,
    ) -> Ruling:
        matching = [one for one in fitting if one.policy.matches(image)]
        if not matching:
            return unmatched(fitting, self._allowed)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._answers.ask(policies, matching, image, puller)
        except TimeoutError:
            return undecided(matching, image, "the evidence was not found in time", datetime.now(UTC))


def read_as_runtime(text: str) -> Image:
    """Read an image as a container runtime does. Raises :class:`UsageError`.

    Package URLs and ``oci://`` are for other programs: no runtime takes them, so they are not read here.
    Neither is an id of an image, which runtimes look up among what the node has, whoever it is of
    (containerd, ``internal/cri/server/images``, ``LocalResolve``; a part of the id will do).
    """
    if len(text) > _LONGEST:
        raise UsageError(f"the name has {len(text)} characters, expected at most {_LONGEST}")
    if "://" in text or text.startswith("pkg:"):
        raise UsageError(f"{text[:100]!r} is no name that a container runtime reads")
    if text.startswith(_IDS):
        raise UsageError("it is the id of an image that a node has, which no registry can look up")
    return read_image(with_registry(text))
