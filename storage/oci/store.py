"""The store in image registries: evidence beside the image, in the two forms of
:mod:`storage.formats.manifests`.

``oci:`` puts everything into each subject's own repository; :attr:`StoreOptions.repository` gathers the tags
``.att`` and ``.sig`` of all images in one repository, or in one for each namespace, while bundles stay beside
their image, as with Tekton Chains, unless :attr:`StoreOptions.bundles_in_repository`.
``oci://REGISTRY/REPOSITORY`` puts everything there, for subjects that are no images too; a bundle still needs
its image in that repository, since a referrer must have its subject's descriptor.

A subject that is no image is skipped with the reason and never fails the image next to it. Writing needs
the right to pull and push (``repository:NAME:pull,push``); finding needs pull.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

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
from storage.oci.tag_writer import TagWriter
from storage.oci.tokens import Keychain
from storage.oci.transport import RegistryRefused
from storage.record import BUNDLE_TYPE, Failure, Findings, Origin, Receipt, Record, Stored, Subject
from storage.redacted_url import shown

_SUBJECTS_REMEMBERED = 4096
_FORM_REFUSED = frozenset({400, 404, 405, 406, 415, 422})
_NOBODY = Origin("", "", "", "")


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the two forms for one subject digest go; None: not there, as the skipped entry beside it says."""

    digest: str
    tags: Repository | None
    bundles: Repository | None
    image: Repository | None = None
    """Where the image is, when its bundles go elsewhere."""

    @property
    def home(self) -> Repository | None:
        """Where the image is, or is to come."""
        return self.image or self.bundles


class RegistryStore(Store):
    """Stores records in registries; ``keychain`` replaces the docker configuration."""

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
        self._subjects: dict[tuple[Repository, str], Descriptor] = {}
        self._siblings: WeakSet[RegistryStore] = WeakSet()

    def sibling(self, keychain: Keychain) -> RegistryStore:
        """Return this store with other credentials, on the same connections; closing this one closes it."""
        found = RegistryStore(self.url, self._options, keychain, self)
        self._siblings.add(found)
        return found

    def within(self, origin: Origin) -> RegistryStore:
        """Return this store, on the same connections, looking where evidence of ``origin`` goes."""
        if self._gathered is None or not self._gathered.fields:
            return self
        found = copy.copy(self)
        found._within = origin
        return found

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
        for (target, _), one in zip(jobs, ended, strict=True):
            if isinstance(one, Failure):
                # where the image is there, a refusal is about permission and nothing else
                is_there = target.home is not None and (target.home, target.digest) in self._subjects
                failed += (replace(one, absence="") if is_there else one,)
        return Stored(tuple(one for one in ended if isinstance(one, Receipt)), failed, skipped)

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return what the registry has about ``digest``.

        ``reference`` (``registry/repository``) is needed unless the URL names a repository.
        """
        if not is_sha256(digest):
            raise StoreRejected(
                f"cannot look for {digest[:100]!r} in a registry: expected sha256: and 64 hex digits"
            )
        bundles = self._fixed
        if bundles is None and reference:
            bundles = parse_image(reference).repository
        gathered = self._gathered if self._fixed is None else None
        if gathered is not None:
            aside = self._options.bundles_in_repository
            first, *more = gathered.places(self._within)
            jobs = [find_evidence(self._client, digest, first, first if aside else bundles)]
            jobs += [find_evidence(self._client, digest, place, place if aside else None) for place in more]
            return joined(await together(jobs))
        if bundles is None:
            raise StoreRejected(
                f"cannot look for {digest} in {self.url}: say which registry/repository it is in"
            )
        return await find_evidence(self._client, digest, bundles, bundles)

    async def platforms(self, digest: str, reference: str) -> tuple[str, ...]:
        """Return the images of an index; see :func:`storage.oci.platforms.platforms_of`."""
        return await platforms_of(self._client, parse_image(reference).repository, digest)

    async def lacks(self, digest: str, reference: str) -> bool:
        """Whether bundles about an image have to wait for it; see :meth:`Store.lacks`."""
        if not self._form_b:
            return False
        try:
            home = self._fixed or _image_repository(Subject(reference, {"sha256": digest[7:]}), digest)
            return await self._subject(home, digest) is None
        except StoreError:
            return False

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Try each repository of ``places`` and of the configuration; see :func:`probe_repository`."""
        found: list[Probe] = []
        images: dict[Repository, str] = {}
        for place in places:
            try:
                image = parse_image(place)
            except StoreRejected as exc:
                found.append(Probe("repository", "failed", str(exc), "write REGISTRY/REPOSITORY"))
            else:
                images[image.repository] = image.digest
        shared = None
        if self._gathered is not None and not self._gathered.fields:
            shared = self._gathered.expand(_NOBODY)
        for known in (self._fixed, shared):
            if known is not None:
                images.setdefault(known, "")
        for repository, digest in images.items():
            bundles = self._form_b and (self._options.bundles_in_repository or repository != shared)
            found += await probe_repository(
                self._options, self._keychain, repository, digest, bundles=bundles
            )
        return found or [
            Probe(
                "registry",
                "skipped",
                "evidence goes beside each image, and no repository was named to try",
                "pass --image REGISTRY/REPOSITORY",
            )
        ]

    async def close(self) -> None:
        """Close every connection, those of siblings too."""
        for sibling in list(self._siblings):
            await sibling.close()
        await self._tags.close()
        await self._client.close()

    def _targets(self, record: Record) -> tuple[list[_Target], tuple[Failure, ...], tuple[Failure, ...]]:
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
                if form != "referrer" or self._form_b:
                    skipped.append(Failure(self.url, form, known, str(exc)))
                if form:
                    targets[_Target(digest, self._fixed, None)] = None
                continue
            bundles = self._fixed or aside or own
            targets[_Target(digest, self._fixed or gathered or own, bundles, own if aside else None)] = None
        return list(targets), tuple(skipped), ()

    async def _ended(self, form: str, digest: str, work: Coroutine[Any, Any, Receipt]) -> Receipt | Failure:
        try:
            return await work
        except StoreError as exc:
            transient = isinstance(exc, StoreUnavailable)
            return Failure(self.url, form, digest, str(exc), transient, exc.absence, exc.host)

    async def _put_tag(
        self, record: Record, repository: Repository, target: _Target, blob_digest: str
    ) -> Receipt:
        """Form A."""
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
                exc.absence = ""  # the repository that is refused is not the image's
            raise
        return Receipt(self.url, form, digest, location, written.digest, written.changed)

    async def _put_referrer(
        self, record: Record, repository: Repository, target: _Target, bundle_digest: str
    ) -> Receipt:
        """Form B."""
        digest = target.digest
        image = target.image or repository
        subject = await self._subject(image, digest)
        if subject is None:
            raise SubjectAbsent(
                f"{image} does not have {digest}, and a bundle can only refer to an image beside it"
            )
        if not bundle_digest:
            raise StoreRejected("the record has no bundle")
        annotations = referrer_annotations(record)
        content = Descriptor(BUNDLE_TYPE, bundle_digest, len(record.bundle))
        manifest = artifact_manifest(content, annotations, subject)
        location = f"{repository}@{manifest.digest}"
        if location in record.received:
            return Receipt(self.url, "referrer", digest, location, manifest.digest, changed=False)
        there = await self._has(repository, manifest.digest)
        told = False
        if not there:
            try:
                told = await self._write_referrer(record.bundle, bundle_digest, repository, manifest)
            except RegistryRefused as exc:
                raise _explained(exc, away=image != repository) from exc
        if not await self._listings.shows(repository, digest, manifest.digest, told=told, written=not there):
            entry = referrer_entry(manifest, annotations)
            written = await self._tags.add(repository, tag_of(digest), ReferrerIndex(), entry)
            there = there and not written.changed
        return Receipt(self.url, "referrer", digest, location, manifest.digest, changed=not there)

    async def _write_referrer(
        self, bundle: bytes, bundle_digest: str, repository: Repository, manifest: Manifest
    ) -> bool:
        """Write blob and manifest; whether the answer says that the manifest's subject was understood."""
        await self._write_blobs(bundle, bundle_digest, repository)
        try:
            answer = await self._client.put_manifest(repository, manifest.digest, manifest)
        except RegistryRefused as exc:
            if not exc.misses_blob:
                raise
            # the registry collected garbage since the empty blob was uploaded
            self._client.forget_blobs(repository)
            await self._write_blobs(bundle, bundle_digest, repository)
            answer = await self._client.put_manifest(repository, manifest.digest, manifest)
        # what a registry says it took is asked for before anybody gets a receipt
        # one after the other: a request left behind by a failed one would outlive the store
        kept: Descriptor | Manifest | None = await self._client.head_manifest(
            repository, manifest.digest, push=True
        )
        if kept is None:
            kept = await self._client.get_manifest(repository, manifest.digest, push=True)
        if kept is None or not await self._client.has_blob(repository, bundle_digest, sure=True):
            what = f"manifest {manifest.digest}" if not kept else f"blob {bundle_digest}"
            raise StoreUnavailable(f"{repository} took {what} and does not have it")
        return "OCI-Subject" in answer.headers

    async def _has(self, repository: Repository, digest: str) -> bool:
        """Whether a manifest is there; some registries refuse a look at what is absent: a write decides."""
        try:
            return await self._client.head_manifest(repository, digest, push=True) is not None
        except RegistryRefused as exc:
            if exc.status != FORBIDDEN:
                raise
            return False

    async def _write_blobs(self, bundle: bytes, bundle_digest: str, repository: Repository) -> None:
        await self._client.put_blob(repository, EMPTY, EMPTY_DIGEST, remember=True)
        await self._client.put_blob(repository, bundle, bundle_digest)

    async def _subject(self, repository: Repository, digest: str) -> Descriptor | None:
        """Return the image's descriptor: asked once for all records of a run, remembered when it is there."""
        key = (repository, digest)
        known = self._subjects.get(key)
        if known is None:
            known = await self._looking.run(
                key, lambda: self._client.head_manifest(repository, digest, push=True)
            )
            if known is not None:
                self._subjects[key] = known
                if len(self._subjects) > _SUBJECTS_REMEMBERED:
                    del self._subjects[next(iter(self._subjects))]
        return known


def _explained(refusal: RegistryRefused, *, away: bool) -> StoreRejected:
    """Return ``refusal`` of a bundle with the next step, where it is the form that the registry refuses."""
    if refusal.status not in _FORM_REFUSED:
        return refusal
    if away:
        step = (
            "this registry may want the image beside its bundle: "
            "set storage.oci.bundles-in-repository to false"
        )
    else:
        step = "if this registry takes no OCI artifacts, set storage.oci.encoding-format to dsse"
    return RegistryRefused(f"{refusal}; {step}", refusal.codes, refusal.status)


def _image_repository(subject: Subject, digest: str) -> Repository:
    """Return the repository that the subject's name means; raises :class:`StoreRejected` when none."""
    if not is_sha256(digest):
        kinds = ", ".join(sorted(subject.digest)) or "none"
        raise StoreRejected(f"{subject.name!r} has no sha256 digest (has {kinds})")
    image = parse_image(subject.name)
    if image.digest and image.digest != digest:
        raise StoreRejected(f"the name {subject.name!r} says another digest than {digest}")
    return image.repository
