"""The store ``oci``: evidence next to the image in a registry.

The two forms are defined in
:mod:`storage.formats.manifests`.

- ``oci:`` stores everything in each subject's own repository.
- With :attr:`StoreOptions.repository`, the tags ``.att`` and ``.sig`` of all images go to one repository, or
  to one per namespace. Bundles stay next to their image, as Tekton Chains does it, unless
  :attr:`StoreOptions.bundles_in_repository` is set.
- ``oci://REGISTRY/REPOSITORY`` stores everything there, also for subjects that are not images. A bundle still
  needs its image in that repository, because a referrer contains its subject's descriptor.

A subject that is not an image is skipped with the reason; the images next to it are still stored. Writing
needs the right to pull and push (``repository:NAME:pull,push``), finding needs pull.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

from cachetools import FIFOCache

from storage.base import FORM_A, FORM_B, Probe, Store, StoreOptions, checked_format
from storage.errors import StoreError, StoreRejected, StoreUnavailable, SubjectAbsent
from storage.formats.digest import is_sha256, sha256_aside
from storage.formats.manifests import (
    EMPTY,
    EMPTY_DIGEST,
    Descriptor,
    Manifest,
    ReferrerIndex,
    SignedLayers,
    artifact_manifest,
    layer_of,
    referrer_annotations,
    referrer_entry,
    tag_of,
)
from storage.formats.reference import Repository, parse_image, parse_repository
from storage.formats.repository_template import parse_gathered
from storage.limits.single_flight import InFlight
from storage.limits.together import together
from storage.oci.find import find_evidence, joined
from storage.oci.listings import Listings
from storage.oci.login import FORBIDDEN
from storage.oci.platforms import platforms_of
from storage.oci.probe import probe_repository
from storage.oci.registry import RegistryClient
from storage.oci.requests import RegistryRefused
from storage.oci.scan import UNSEEN, scan_repository
from storage.oci.tag_writer import TagWriter
from storage.oci.tokens import Keychain
from storage.parts import Part
from storage.record import (
    BUNDLE_TYPE,
    Failure,
    Findings,
    Origin,
    Platform,
    Receipt,
    Record,
    Stored,
    Subject,
)
from storage.redacted_url import shown

_SUBJECTS_REMEMBERED = 4096
"""The most image descriptors that are remembered."""
_FORM_REFUSED = frozenset({400, 404, 405, 406, 415, 422})
_NOBODY = Origin("", "", "", "")


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the two forms for one subject go. None means nowhere; a skipped entry has the reason."""

    digest: str
    tags: Repository | None
    bundles: Repository | None
    image: Repository | None = None
    """The repository of the image if its bundles go elsewhere."""

    @property
    def home(self) -> Repository | None:
        """The repository that has the image, or will have it."""
        return self.image or self.bundles


class RegistryStore(Store):
    """Stores records in registries. ``keychain`` replaces the docker configuration."""

    unseen = UNSEEN

    def __init__(
        self,
        url: str,
        options: StoreOptions,
        keychain: Keychain | None = None,
        shared_with: RegistryStore | None = None,
    ) -> None:
        self.url = url
        self._options = options
        rest = url.removeprefix("oci:")
        # "oci:" alone means each subject's own repository.
        if rest and not rest.startswith("//"):
            raise StoreRejected(f"unknown store {shown(url)!r}: expected oci: or oci://REGISTRY/REPOSITORY")
        checked_format(options)
        self._fixed = parse_repository(rest[2:].rstrip("/")) if rest else None
        self._gathered = parse_gathered(options.repository) if options.repository else None
        if options.bundles_in_repository and self._gathered is None:
            raise StoreRejected("storage.oci.bundles-in-repository needs storage.oci.repository")
        self._within: Origin | None = None
        self._form_a = options.encoding_format != FORM_B
        self._form_b = options.encoding_format != FORM_A
        self._client: RegistryClient = RegistryClient(
            options, keychain, shared_with._client if shared_with else None
        )
        self._keychain = keychain
        self._tags = TagWriter(self._client)
        self._listings: Listings = Listings(self._client, shared_with._listings if shared_with else None)
        self._looking: InFlight[tuple[Repository, str], Descriptor | None] = InFlight()
        self._subjects: FIFOCache[tuple[Repository, str], Descriptor] = FIFOCache(_SUBJECTS_REMEMBERED)
        self._siblings: WeakSet[RegistryStore] = WeakSet()

    def sibling(self, keychain: Keychain) -> RegistryStore:
        """Return this store with other credentials, on the same connections. Closing this one closes it."""
        store = RegistryStore(self.url, self._options, keychain, self)
        self._siblings.add(store)
        return store

    def within(self, origin: Origin) -> RegistryStore:
        """Return this store, on the same connections, for searches for evidence from ``origin``."""
        if self._gathered is None or not self._gathered.fields:
            return self
        store = copy.copy(self)
        # A shallow copy: connections and memories are shared.
        store._within = origin
        return store

    def wants(self, form: str) -> bool:
        """Whether the form is configured."""
        return self._form_a if form == FORM_A else self._form_b

    async def put(self, record: Record) -> Stored:
        """Store ``record`` for each of its images; see :meth:`Store.put`."""
        targets, skipped, failed = self._targets(record)
        blob = record.payload if record.is_image_signature else record.envelope
        blob_digest = await sha256_aside(blob) if self._form_a and blob else ""
        bundle_digest = await sha256_aside(record.bundle) if self._form_b and record.bundle else ""
        jobs: list[tuple[_Target, Coroutine[Any, Any, Receipt | Failure]]] = []
        form = "sig" if record.is_image_signature else "att"
        for target in targets:
            if self._form_a and target.tags is not None:
                work = self._put_tag(record, target.tags, target, blob_digest)
                jobs.append((target, self._ended(form, target.digest, work)))
            if self._form_b and target.bundles is not None:
                work = self._put_referrer(record, target.bundles, target, bundle_digest)
                jobs.append((target, self._ended("referrer", target.digest, work)))
        ended = await asyncio.gather(*(job for _, job in jobs))
        for (target, _), result in zip(jobs, ended, strict=True):
            if isinstance(result, Failure):
                # The image exists, so a refusal cannot mean that the subject is absent.
                is_there = target.home is not None and (target.home, target.digest) in self._subjects
                failed += (replace(result, absence="") if is_there else result,)
        return Stored(tuple(result for result in ended if isinstance(result, Receipt)), failed, skipped)

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the evidence in the registry about ``digest``.

        ``reference`` (``registry/repository``) is needed unless the URL names a repository. Raises as
        :func:`find_evidence` does.
        """
        if not is_sha256(digest):
            raise StoreRejected(
                f"cannot search for {digest[:100]!r} in a registry: expected sha256: and 64 hex digits"
            )
        bundles = self._fixed
        if bundles is None and reference:
            bundles = parse_image(reference).repository
        gathered = self._gathered if self._fixed is None else None
        if gathered is not None:
            # Tags are in the configured repository; bundles are there or next to the image.
            aside = self._options.bundles_in_repository
            first, *more = gathered.places(self._within)
            jobs = [find_evidence(self._client, digest, first, first if aside else bundles)]
            jobs += [find_evidence(self._client, digest, place, place if aside else None) for place in more]
            return joined(await together(jobs))
        if bundles is None:
            raise StoreRejected(f"cannot search for {digest} in {self.url}: name its registry/repository")
        return await find_evidence(self._client, digest, bundles, bundles)

    async def scan(self) -> AsyncIterator[Part]:
        """Yield the evidence in the repository of the URL, or in that of the configuration."""
        repository = self._fixed
        if repository is None and self._gathered is not None and not self._gathered.fields:
            repository = self._gathered.expand(_NOBODY)
        if repository is None:
            raise StoreRejected(f"{self.url} cannot list its repositories: name oci://REGISTRY/REPOSITORY")
        async for part in scan_repository(self._client, repository):
            yield part

    async def platforms(self, digest: str, reference: str) -> tuple[Platform, ...]:
        """Return the images of an index; see :func:`storage.oci.platforms.platforms_of`."""
        return await platforms_of(self._client, parse_image(reference).repository, digest)

    async def lacks(self, digest: str, reference: str) -> bool:
        """Whether bundles about an image must wait until it exists; see :meth:`Store.lacks`."""
        if not self._form_b:
            return False
        try:
            home = self._fixed or _image_repository(Subject(reference, {"sha256": digest[7:]}), digest)
            return await self._subject(home, digest) is None
        except StoreError:
            return False

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Try every repository of ``places`` and of the configuration; see :func:`probe_repository`."""
        probes: list[Probe] = []
        images: dict[Repository, str] = {}
        for place in places:
            try:
                image = parse_image(place)
            except StoreRejected as exc:
                probes.append(Probe("repository", "failed", str(exc), "write REGISTRY/REPOSITORY"))
            else:
                images[image.repository] = image.digest
        shared = None
        if self._gathered is not None and not self._gathered.fields:
            shared = self._gathered.expand(_NOBODY)
        # Without placeholders the configured repository is known and can be tried too.
        for known in (self._fixed, shared):
            if known is not None:
                images.setdefault(known, "")
        for repository, digest in images.items():
            bundles = self._form_b and (self._options.bundles_in_repository or repository != shared)
            probes += await probe_repository(
                self._options, self._keychain, repository, digest, bundles=bundles
            )
        return probes or [
            Probe(
                "registry",
                "skipped",
                "evidence is stored next to each image, and no repository was named to try",
                "pass --image REGISTRY/REPOSITORY",
            )
        ]

    async def close(self) -> None:
        """Close every connection, also those of siblings."""
        for sibling in list(self._siblings):
            await sibling.close()
        await self._tags.close()
        await self._client.close()

    def _targets(self, record: Record) -> tuple[list[_Target], tuple[Failure, ...], tuple[Failure, ...]]:
        """Return the targets of a record, what is skipped, and what fails."""
        targets: dict[_Target, None] = {}
        skipped: list[Failure] = []
        gathered: Repository | None = None
        if self._gathered is not None and self._fixed is None:
            try:
                gathered = self._gathered.expand(record.origin)
            except StoreRejected as exc:
                return [], (), (Failure(self.url, "", "", str(exc)),)
        aside = gathered if self._options.bundles_in_repository else None
        for subject in record.subjects:
            digest = f"sha256:{subject.digest.get('sha256', '')}"
            known = digest if is_sha256(digest) else ""
            try:
                own = _image_repository(subject, digest)
            except StoreRejected as exc:
                form = "referrer" if known and self._fixed else ""
                # A subject that is not an image can still have form A in a fixed repository, but no bundle.
                if form != "referrer" or self._form_b:
                    skipped.append(Failure(self.url, form, known, str(exc)))
                if form:
                    targets[_Target(digest, self._fixed, None)] = None
                continue
            bundles = self._fixed or aside or own
            targets[_Target(digest, self._fixed or gathered or own, bundles, own if aside else None)] = None
        return list(targets), tuple(skipped), ()

    async def _ended(self, form: str, digest: str, work: Coroutine[Any, Any, Receipt]) -> Receipt | Failure:
        """Await ``work`` and return its receipt, or its error as a failure."""
        try:
            return await work
        except StoreError as exc:
            transient = isinstance(exc, StoreUnavailable)
            return Failure(self.url, form, digest, str(exc), transient, exc.absence, exc.host)

    async def _put_tag(
        self, record: Record, repository: Repository, target: _Target, blob_digest: str
    ) -> Receipt:
        """Store form A under the tag of one subject."""
        digest = target.digest
        form = "sig" if record.is_image_signature else "att"
        if not blob_digest or (form == "sig" and not record.signature):
            raise StoreRejected(f"the record has no {'signature' if form == 'sig' else 'envelope'}")
        tag = tag_of(digest, f".{form}")
        location = f"{repository}:{tag}"
        if location in record.received:
            return Receipt(self.url, form, digest, location, "", changed=False)
        layer = layer_of(record, blob_digest)
        try:
            written = await self._tags.add(repository, tag, SignedLayers(), layer)
        except StoreRejected as exc:
            if repository != target.home:
                exc.absence = ""  # the refused repository is not the image's, so the image is not absent
            raise
        return Receipt(self.url, form, digest, location, written.digest, written.changed)

    async def _put_referrer(
        self, record: Record, repository: Repository, target: _Target, bundle_digest: str
    ) -> Receipt:
        """Store form B for one subject.

        1. The image must exist; its descriptor is the subject.
        2. The blob and the manifest are written and read back.
        3. If the referrers API does not list the manifest, it is added to the index under the fallback tag.
        """
        digest = target.digest
        image = target.image or repository
        subject = await self._subject(image, digest)
        if subject is None:
            raise SubjectAbsent(
                f"{image} does not have {digest}, and a bundle can only refer to an existing image"
            )
        if not bundle_digest:
            raise StoreRejected("the record has no bundle")
        annotations = referrer_annotations(record)
        content = Descriptor(BUNDLE_TYPE, bundle_digest, len(record.bundle))
        manifest = artifact_manifest(content, annotations, subject)
        location = f"{repository}@{manifest.digest}"
        if location in record.received:
            return Receipt(self.url, "referrer", digest, location, manifest.digest, changed=False)
        # The manifest's digest depends on everything in it, so an existing one is exactly this bundle.
        there = await self._has(repository, manifest.digest)
        told = False
        if not there:
            try:
                told = await self._write_referrer(record.bundle, bundle_digest, repository, manifest)
            except RegistryRefused as exc:
                raise _explained(exc, away=image != repository) from exc
        # The receipt must mean that readers find the bundle.
        if not await self._listings.shows(repository, digest, manifest.digest, told=told, written=not there):
            entry = referrer_entry(manifest, annotations)
            written = await self._tags.add(repository, tag_of(digest), ReferrerIndex(), entry)
            there = there and not written.changed
        return Receipt(self.url, "referrer", digest, location, manifest.digest, changed=not there)

    async def _write_referrer(
        self, bundle: bytes, bundle_digest: str, repository: Repository, manifest: Manifest
    ) -> bool:
        """Write blob and manifest; return whether the answer had ``OCI-Subject``."""
        await self._write_blobs(bundle, bundle_digest, repository)
        try:
            answer = await self._client.put_manifest(repository, manifest.digest, manifest)
        except RegistryRefused as exc:
            if not exc.misses_blob:
                raise
            # The registry's garbage collection removed the empty blob since it was uploaded.
            self._client.forget_blobs(repository)
            await self._write_blobs(bundle, bundle_digest, repository)
            answer = await self._client.put_manifest(repository, manifest.digest, manifest)
        # Read back before a receipt is returned: some registries accept what they do not store.
        # One after the other: if one of two parallel requests failed, the other would outlive the store.
        kept: Descriptor | Manifest | None = await self._client.head_manifest(
            repository, manifest.digest, push=True
        )
        if kept is None:
            kept = await self._client.get_manifest(repository, manifest.digest, push=True)
        if kept is None or not await self._client.has_blob(repository, bundle_digest, sure=True):
            what = f"manifest {manifest.digest}" if not kept else f"blob {bundle_digest}"
            raise StoreUnavailable(f"{repository} accepted {what} and does not have it")
        return "OCI-Subject" in answer.headers

    async def _has(self, repository: Repository, digest: str) -> bool:
        """Whether a manifest exists. Some registries answer 403 if it is absent; then the write decides."""
        try:
            return await self._client.head_manifest(repository, digest, push=True) is not None
        except RegistryRefused as exc:
            if exc.status != FORBIDDEN:
                raise
            return False

    async def _write_blobs(self, bundle: bytes, bundle_digest: str, repository: Repository) -> None:
        """Upload the bundle and the empty configuration blob."""
        await self._client.put_blob(repository, EMPTY, EMPTY_DIGEST, remember=True)
        await self._client.put_blob(repository, bundle, bundle_digest)

    async def _subject(self, repository: Repository, digest: str) -> Descriptor | None:
        """Return the image's descriptor; one request for all records of a run. A result is remembered."""
        key = (repository, digest)
        known = self._subjects.get(key)
        if known is None:
            known = await self._looking.run(
                key, lambda: self._client.head_manifest(repository, digest, push=True)
            )
            if known is not None:
                self._subjects[key] = known
                # The oldest entry goes first; dicts keep the order of insertion.
        return known


def _explained(refusal: RegistryRefused, *, away: bool) -> StoreRejected:
    """Return a refusal of a bundle with the next step if the registry refuses the form itself."""
    if refusal.status not in _FORM_REFUSED:
        return refusal
    if away:
        step = (
            "this registry may need the image in the same repository as its bundle: "
            "set storage.oci.bundles-in-repository to false"
        )
    else:
        step = "if this registry does not support OCI artifacts, set storage.oci.encoding-format to dsse"
    return RegistryRefused(f"{refusal}; {step}", refusal.codes, refusal.status)


def _image_repository(subject: Subject, digest: str) -> Repository:
    """Return the repository in the subject's name. Raises :class:`StoreRejected` if it has none."""
    if not is_sha256(digest):
        kinds = ", ".join(sorted(subject.digest)) or "none"
        raise StoreRejected(f"{subject.name!r} has no sha256 digest (has {kinds})")
    image = parse_image(subject.name)
    if image.digest and image.digest != digest:
        raise StoreRejected(f"the name {subject.name!r} has another digest than {digest}")
    return image.repository
