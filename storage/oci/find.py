"""Finds evidence about an image in registries: referrers, their fallback index, ``.att`` and ``.sig``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from storage import lean_json
from storage.errors import BadContent
from storage.formats.digest import is_sha256
from storage.formats.manifest_evidence import BUNDLE_PREFIX, MOST_LAYERS, Contents, Wanted, read_manifest
from storage.formats.manifests import OCI_EMPTY, OCI_MANIFEST, Manifest, ReferrerIndex, tag_of
from storage.formats.reference import Repository
from storage.limits import allowance
from storage.limits.together import together
from storage.oci.lists import Listed
from storage.oci.login import FORBIDDEN
from storage.oci.registry import RegistryClient
from storage.oci.requests import RegistryRefused
from storage.record import Findings, Skipped

MOST_REFERRERS = 200
"""The most referrers of an image that one search reads."""
_AT_ONCE = 8
"""The most manifests and blobs that one search fetches at the same time."""
_LONGEST = 100
"""The most characters that are kept of an invalid digest."""
_MOST_IN_ONE = 8
"""The most layers of a referrer that are read. A bundle has one."""
_NOT_TELLING = frozenset({"", OCI_EMPTY, OCI_MANIFEST, "application/vnd.oci.image.config.v1+json"})


async def find_evidence(
    client: RegistryClient, digest: str, tags: Repository, bundles: Repository | None
) -> Findings:
    """Return all evidence about ``digest``: tags from one repository, referrers from the other if given.

    Raises :class:`StoreUnavailable` if anything could not be read for a transient reason, and
    :class:`StoreRejected` if the registry refuses the listing or a tag.
    """
    finder = _Finder(client, digest)
    # The three searches run at the same time and share one allowance.
    jobs = [finder.tagged(tags, ".att", "oci-att"), finder.tagged(tags, ".sig", "oci-sig")]
    if bundles is not None:
        jobs.append(finder.referring(bundles))
    return joined(await together(jobs))


def joined(parts: Iterable[Findings]) -> Findings:
    """Return the findings of all ``parts``, in their order."""
    parts = tuple(parts)
    return Findings(
        tuple(item for findings in parts for item in findings.evidence),
        tuple(item for findings in parts for item in findings.skipped),
    )


class _LeftOut(Exception):  # noqa: N818 - control flow, not an error
    """The allowance of the search is used up; the text says which limit."""


class _Finder:
    """One search, with the allowance that it has left."""

    def __init__(self, client: RegistryClient, digest: str) -> None:
        self._client = client
        self._digest = digest
        self._allowance = allowance.current()
        self._places = asyncio.Semaphore(min(_AT_ONCE, self._allowance.at_once))

    async def tagged(self, repository: Repository, suffix: str, source: str) -> Findings:
        """Read form A from one tag."""
        tag = tag_of(self._digest, suffix)
        location = f"{repository}:{tag}"
        try:
            manifest = await self._tag(repository, tag)
        except BadContent as exc:
            return Findings(skipped=(Skipped(location, "", str(exc)),))
        if manifest is None:
            return Findings()
        contents = await _read(manifest, source, location, "", MOST_LAYERS)
        del manifest  # release its memory: a task that waits for memory must not hold any
        return await self._fetch(repository, contents)

    async def _tag(self, repository: Repository, tag: str) -> Manifest | None:
        """Return the content of a tag.

        Some registries answer 403 for an absent tag. It counts as absent if the registry's list of tags lacks
        it.
        """
        try:
            return await self._client.get_manifest(repository, tag)
        except RegistryRefused as exc:
            if exc.status != FORBIDDEN or await self._client.lists_tag(repository, tag) is not False:
                raise
            return None

    async def referring(self, repository: Repository) -> Findings:
        """Read form B: what the referrers API and the fallback index list, bundles first."""
        listed, skipped = await self._listed(repository)
        listed.sort(key=_unlikeliness)
        jobs = [self._referrer(repository, entry.digest) for entry in listed[:MOST_REFERRERS]]
        for entry in listed[MOST_REFERRERS:]:
            reason = f"not read: {self._digest} has more than {MOST_REFERRERS} referrers"
            skipped.append(Skipped(f"{repository}@{entry.digest}", entry.digest, reason))
        return joined([*await together(jobs), Findings(skipped=tuple(skipped))])

    async def _listed(self, repository: Repository) -> tuple[list[Listed], list[Skipped]]:
        """Return what the API and the index list. Both are requested at the same time."""
        ended = await asyncio.gather(
            self._by_api(repository), self._by_index(repository), return_exceptions=True
        )
        listed: dict[str, Listed] = {}
        skipped: list[Skipped] = []
        for result in ended:
            if isinstance(result, BaseException):
                raise result
            for entry in result[0]:
                # The API and the index may list the same manifest.
                listed.setdefault(entry.digest, entry)
            skipped += result[1]
        return list(listed.values()), skipped

    async def _by_api(self, repository: Repository) -> tuple[list[Listed], list[Skipped]]:
        """Return what the referrers API lists."""
        place = f"the referrers of {repository}@{self._digest}"
        try:
            page = await self._client.referrers(repository, self._digest, MOST_REFERRERS)
        except BadContent as exc:
            return [], [Skipped(place, "", str(exc))]
        if page is None:
            return [], []
        cut = [Skipped(place, "", f"{page.cut}: the rest was not listed")] if page.cut else []
        return list(page.descriptors), cut

    async def _by_index(self, repository: Repository) -> tuple[list[Listed], list[Skipped]]:
        """Return what the index under the fallback tag lists."""
        location = f"{repository}:{tag_of(self._digest)}"
        try:
            index = await self._tag(repository, tag_of(self._digest))
            if index is not None and index.digest == self._digest:
                index = None  # some registries resolve the tag sha256-<hex> to the image itself
            entries = (await ReferrerIndex().read_aside(index)).entries
        except BadContent as exc:
            return [], [Skipped(location, "", str(exc))]
        return [Listed(entry.digest[:_LONGEST], entry.artifact_type) for entry in entries], []

    async def _referrer(self, repository: Repository, digest: str) -> Findings:
        """Read one referrer."""
        location = f"{repository}@{digest}"
        # The digest becomes a part of a path, so anything else is refused.
        if not is_sha256(digest):
            return Findings(skipped=(Skipped(location, digest, "its digest is not sha256"),))
        try:
            async with self._places:
                manifest = await self._client.get_manifest(repository, digest)
        except BadContent as exc:
            return Findings(skipped=(Skipped(location, digest, str(exc)),))
        if manifest is None:
            return Findings(
                skipped=(Skipped(location, digest, "it is listed, but the registry does not have it"),)
            )
        contents = await _read(manifest, "oci-referrer", location, self._digest, _MOST_IN_ONE)
        del manifest
        return await self._fetch(repository, contents)

    async def _fetch(self, repository: Repository, contents: Contents) -> Findings:
        """Read the wanted blobs."""
        jobs = [self._blob(repository, wanted) for wanted in contents.wanted]
        return joined([*await together(jobs), Findings(skipped=contents.skipped)])

    async def _blob(self, repository: Repository, wanted: Wanted) -> Findings:
        """Read one blob as evidence. Several layers with the same blob share one request."""
        place = (repository, wanted.digest, wanted.size)
        try:
            data = await self._allowance.once(place, lambda: self._read_blob(repository, wanted))
        except (BadContent, _LeftOut) as exc:
            return Findings(skipped=(wanted.skipped(str(exc)),))
        if data is None:
            return Findings(skipped=(wanted.skipped("the registry does not have this blob"),))
        return Findings(evidence=(wanted.evidence(data),))

    async def _read_blob(self, repository: Repository, wanted: Wanted) -> bytes | None:
        """Download a blob within the allowance. What it does not use is given back."""
        data: bytes | None = b""
        async with self._places:
            if reason := self._allowance.take(wanted.size):
                raise _LeftOut(reason)
            try:
                data = await self._client.get_blob(repository, wanted.digest, wanted.size)
            finally:
                # The reservation was for the size in the manifest; give back what was not read.
                self._allowance.give_back(wanted.size - len(data or b""))
        return None if data is None else self._allowance.kept(wanted.digest, data)


async def _read(manifest: Manifest, source: str, location: str, subject: str, most: int) -> Contents:
    return await lean_json.aside(
        manifest.data,
        lambda: read_manifest(manifest.data, source, location, manifest.digest, subject, most),
    )


def _unlikeliness(entry: Listed) -> tuple[int, str]:
    """Sort key: bundles first, then unknown types.

    Equal ones sort by digest, because some registries list in a different order each time.
    """
    if entry.artifact_type.startswith(BUNDLE_PREFIX):
        return 0, entry.digest
    return (1 if entry.artifact_type in _NOT_TELLING else 2), entry.digest
