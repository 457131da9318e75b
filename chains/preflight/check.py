"""Every image of an inventory, asked of the policies: each digest once, several at the same time.

The digest that is named is what counts, for an index as for an image of one platform: it is what ``verify``
and an admission webhook see. A node runs one of the images that an index lists, and the digest of the index
fixes theirs. So a container that runs a platform's image of the index that its pod names belongs to the
index. The platforms are asked about by their own digests, too, since a container runtime may report those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, TypeVar

from chains.assembly.registry_secrets import takes_credentials
from chains.errors import UsageError
from chains.policy.answer import answers
from chains.policy.document.patterns import read_image, with_registry
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import ImageAnswer, PolicyVerdict
from chains.preflight.answer import WORST, ImageCheck, PlatformCheck, State, reason_of, state_of
from chains.preflight.inventory import Inventory
from chains.preflight.pulls import MOST_PULLERS, Pulls, is_hidden, with_credentials
from chains.tekton.workloads import Puller, Use, UseKind, Workload
from chains.verify.verdict import Verdict
from storage.base import Store
from storage.errors import StoreError, StoreUnavailable
from storage.formats.reference import Image, Repository, canonical
from storage.record import Platform

_UNMATCHED = "no policy is for this image"
_CONFIGURATION = "the container runtime reports the digest of a configuration, which no registry can look up"
_ON_NODE = "sha256:"
AT_ONCE = 16
"""Images in work at the same time."""
T = TypeVar("T")


class TagResolver(Protocol):
    """Resolves a tag to a digest; :class:`chains.assembly.registry_tags.RegistryTags` does."""

    async def resolve(self, reference: str) -> str:
        """Return the digest. Raises :class:`StoreError` or :class:`UsageError`."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where preflight asks. ``indexes`` are the stores that may know which images an index lists."""

    policies: Sequence[OpenedPolicy]
    stores: Sequence[Store]
    tags: TagResolver
    indexes: Sequence[Store] = ()
    turn: Callable[[], Awaitable[None]] | None = None
    """Waits before each image that is asked about, to ask no faster than somebody wants."""
    pulls: Pulls | None = None
    """The credentials of pods, None if those of the stores are used alone."""


async def check_all(
    inventory: Inventory,
    places: Places,
    *,
    now: datetime,
    advance: Callable[[State], None] = lambda _: None,
    keep_evidence: bool = True,
) -> list[ImageCheck]:
    """Return a check for each image and namespace, in the order of the images' names.

    ``advance`` is called for each image as it is written, with its worst state. Without ``keep_evidence`` the
    answers have no statements, which are most of their memory. Never raises for what an image or store holds.
    """
    asking = _Asking(inventory, places, now, keep_evidence)
    by_text: dict[str, list[Use]] = {}
    for use in inventory.uses:
        by_text.setdefault(use.image, []).append(use)

    async def resolve(text: str) -> None:
        if isinstance(found := await asking.resolve(text, by_text[text]), ImageCheck):
            advance(found.state)

    await _each(by_text, resolve)
    await _each(asking.images(), asking.list_platforms)
    groups = asking.grouped(inventory.uses)
    waiting = set(by_text)

    async def judge(wanted: tuple[Image, Sequence[str]]) -> None:
        image, namespaces = wanted
        await asking.judge(image, namespaces)
        uses = groups.get(image, ())
        if uses:
            worst = min((asking.state(image, use.namespace) for use in uses), key=WORST.index)
            for _ in waiting & {use.image for use in uses}:
                advance(worst)
            waiting.difference_update(use.image for use in uses)

    await _each(asking.wanted(groups), judge)
    found = asking.unasked + [check for image, uses in groups.items() for check in asking.checks(image, uses)]
    return sorted(found, key=lambda check: (check.image, check.uses[0].namespace))


@dataclass(slots=True)
class _Asking:
    """What is known so far about each image that was resolved to a digest."""

    inventory: Inventory
    places: Places
    now: datetime
    keep_evidence: bool
    unasked: list[ImageCheck] = field(default_factory=list)
    _by_text: dict[str, Image] = field(default_factory=dict)
    _platforms: dict[Image, tuple[Platform, ...]] = field(default_factory=dict)
    _unlisted: dict[Image, str] = field(default_factory=dict)
    _verdicts: dict[tuple[Image, str], PolicyVerdict | None] = field(default_factory=dict)
    _unjudged: dict[Image, str] = field(default_factory=dict)
    _pullers: dict[Repository, dict[str, dict[Puller, None]]] = field(default_factory=dict)
    """By repository and namespace: whose Secrets its images are pulled with."""

    async def resolve(self, text: str, uses: Sequence[Use]) -> Image | ImageCheck:
        """Find the image that a text names, by digest, or why it cannot be asked about."""
        found = await self._image(text, uses)
        if text.startswith(_ON_NODE) and any(use.kind is UseKind.DESIRED for use in uses):
            found = State.UNDECIDED, "it names an image that a node has, which no registry can look up"
        if isinstance(found, Image):
            self._by_text[text] = found
            for use in uses if self.places.pulls is not None else ():
                known = self._pullers.setdefault(found.repository, {}).setdefault(use.namespace, {})
                if use.puller is not None and len(known) < MOST_PULLERS:
                    known[use.puller] = None
            return found
        state, detail = found
        for own in _by_namespace(uses).values():
            self.unasked.append(ImageCheck(text, "", state, own, detail=detail))
        return self.unasked[-1]

    def images(self) -> list[Image]:
        """Return every image that a policy may be for, once."""
        return [one for one in dict.fromkeys(self._by_text.values()) if _may_match(one, self.places.policies)]

    async def _image(self, text: str, uses: Sequence[Use]) -> Image | tuple[State, str]:
        """Return the image that a text names, by digest, or the state and why it cannot be asked about."""
        if text.startswith(_ON_NODE):
            return State.SKIP, _CONFIGURATION
        try:
            image = read_image(with_registry(text))
        except UsageError as error:
            return State.UNDECIDED, str(error)
        if image.digest:
            return image
        if not _may_match(image, self.places.policies):
            return State.SKIP, _UNMATCHED
        return await self._pinned(image, with_registry(text), uses)

    async def _pinned(self, image: Image, reference: str, uses: Sequence[Use]) -> Image | tuple[State, str]:
        """Return the image that a tag points to, by digest, or why nobody knows."""
        digest, pulls = "", self.places.pulls
        try:
            digest = await self.places.tags.resolve(reference)
        except (StoreError, UsageError) as error:
            if pulls is not None and not isinstance(error, StoreUnavailable):
                pullers = dict.fromkeys(use.puller for use in uses if use.puller is not None)
                digest = await pulls.digest(reference, image.repository, pullers)
            if not digest:
                return State.UNDECIDED, f"the tag cannot be resolved: {error}"
        return replace(image, digest=digest)

    async def list_platforms(self, image: Image) -> None:
        """Find the images that an index lists, from the first store that knows."""
        indexes, pulls = self.places.indexes, self.places.pulls
        problem = await self._list_from(indexes, image)
        if problem and pulls is not None:
            spaces = self._pullers.get(image.repository, {}).values()
            async for pulled in pulls.each(image.repository, (one for known in spaces for one in known)):
                if not await self._list_from(with_credentials(indexes, pulled), image):
                    return
        if problem:
            self._unlisted[image] = problem

    async def _list_from(self, stores: Sequence[Store], image: Image) -> str:
        """Find the images that an index lists, and return why nobody knows, empty if somebody does."""
        problem = ""
        for store in stores:
            try:
                found = await store.platforms(image.digest, str(image.repository))
            except StoreError as error:
                problem = str(error)
                continue
            except Exception as error:  # noqa: BLE001 - one store, however broken, must not end the whole look
                problem = f"unexpected {type(error).__name__}: {error}; please report it"
                continue
            if found is not None:
                self._platforms[image] = found
                return ""
        return problem

    def grouped(self, uses: Iterable[Use]) -> dict[Image, list[Use]]:
        """Return the uses of each image. One that runs belongs to the index that its pod names, if listed."""
        desired: dict[tuple[Workload, str], Image] = {}
        running: list[tuple[Use, Image]] = []
        groups: dict[Image, list[Use]] = {}
        for use in uses:
            image = self._by_text.get(use.image)
            if image is None:
                continue
            if use.kind is UseKind.RUNNING:
                running.append((use, image))
                continue
            groups.setdefault(image, []).append(use)
            if use.workload.kind == "Pod":
                desired[use.workload, use.container] = image
        for use, image in running:
            index = desired.get((use.workload, use.container), image)
            listed = {platform.digest for platform in self._platforms.get(index, ())}
            is_of_index = (
                canonical(index.repository) == canonical(image.repository) and image.digest in listed
            )
            groups.setdefault(index if is_of_index else image, []).append(use)
        return groups

    def wanted(self, groups: Mapping[Image, Sequence[Use]]) -> list[tuple[Image, Sequence[str]]]:
        """Return each image and platform's image once, with the namespaces for which it is asked about."""
        namespaces: dict[Image, dict[str, None]] = {}
        for image, uses in groups.items():
            names = dict.fromkeys(use.namespace for use in uses)
            for one in (image, *(platform for platform, _ in self._own(image))):
                namespaces.setdefault(one, {}).update(names)
        return [(image, tuple(names)) for image, names in namespaces.items()]

    async def judge(self, image: Image, names: Sequence[str]) -> None:
        """Ask the policies about one image, for all of its namespaces at once."""
        if self.places.turn is not None:
            await self.places.turn()
        try:
            found = await self._answers(image, names, self.places.stores)
            verdicts = await self._with_pulls(image, names, found)
        except Exception as error:  # noqa: BLE001 - one image, however odd, must not end the whole look
            self._unjudged[image] = f"unexpected {type(error).__name__}: {error}; please report it"
            self._verdicts.update(((image, name), None) for name in names)
            return
        for name, verdict in zip(names, verdicts, strict=True):
            if verdict and not self.keep_evidence:
                verdict = replace(verdict, attestations=(), skipped=())  # noqa: PLW2901 - the same, smaller
            self._verdicts[image, name] = verdict

    async def _answers(
        self, image: Image, names: Sequence[str], stores: Sequence[Store]
    ) -> list[ImageAnswer | None]:
        namespaces = [self._namespace(name) for name in names]
        return await answers(self.places.policies, image, namespaces, stores=stores, now=self.now)

    async def _with_pulls(
        self, image: Image, names: Sequence[str], found: Sequence[ImageAnswer | None]
    ) -> list[PolicyVerdict | None]:
        """Return the verdicts, those of pods' credentials in the place of what the stores' own do not show.

        One pod's credentials count for all of its namespace that run the image.
        """
        verdicts, pulls = [one.strictest if one else None for one in found], self.places.pulls
        can_show_more = takes_credentials(self.places.stores)
        spaces = self._pullers.get(image.repository, {})
        known: dict[str, list[ImageAnswer | None]] = {}
        for at, (name, verdict) in enumerate(zip(names, verdicts, strict=True)):
            if pulls is None or verdict is None or not (can_show_more and is_hidden(verdict)):
                continue
            async for pulled in pulls.each(image.repository, spaces.get(name, ())):
                if pulled.identity not in known:
                    stores = with_credentials(self.places.stores, pulled)
                    known[pulled.identity] = await self._answers(image, names, stores)
                theirs = known[pulled.identity][at]
                # a credential that makes a registry fail is no reason to know less
                if theirs is not None and theirs.strictest.verdict is not Verdict.INDETERMINATE:
                    verdicts[at] = theirs.strictest
                    if not is_hidden(theirs.strictest):
                        break
        return verdicts

    def _namespace(self, name: str) -> Namespace | None:
        """Return a namespace, without labels where they are not known; None for an object without one."""
        return self.inventory.namespaces.get(name) or (Namespace(name, None) if name else None)

    def state(self, image: Image, namespace: str) -> State:
        """Return the state of an image in a namespace."""
        if image in self._unjudged:
            return State.UNDECIDED
        verdict = self._verdicts[image, namespace]
        return state_of(verdict) if verdict else State.SKIP

    def checks(self, image: Image, uses: Sequence[Use]) -> Iterator[ImageCheck]:
        """Give a check for each namespace that has uses of an image."""
        for namespace, own in _by_namespace(uses).items():
            verdict = self._verdicts[image, namespace]
            yield ImageCheck(
                own[0].image,
                image.digest,
                self.state(image, namespace),
                own,
                verdict,
                "" if verdict else self._unjudged.get(image, _UNMATCHED),
                tuple(
                    PlatformCheck(
                        listed.digest,
                        listed.name,
                        self.state(one, namespace),
                        reason_of(self._verdicts[one, namespace]),
                    )
                    for one, listed in self._own(image)
                ),
                self._unlisted.get(image, ""),
            )

    def _own(self, image: Image) -> list[tuple[Image, Platform]]:
        listed = self._platforms.get(image, ())
        return [(replace(image, digest=platform.digest), platform) for platform in listed]


def _by_namespace(uses: Sequence[Use]) -> dict[str, tuple[Use, ...]]:
    found: dict[str, list[Use]] = {}
    for use in uses:
        found.setdefault(use.namespace, []).append(use)
    return {name: tuple(own) for name, own in found.items()}


async def _each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for each item, :data:`AT_ONCE` at the same time; what waits takes no task."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def _may_match(image: Image, policies: Sequence[OpenedPolicy]) -> bool:
    """Whether a policy is for some digest of the image; no registry is asked about any other."""
    return any(opened.policy.may_match(image) for opened in policies)
