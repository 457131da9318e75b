"""Reads all evidence in one repository: about each image that a tag names or leads to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial

from storage.errors import StoreRejected, SubjectAbsent
from storage.formats.reference import Repository
from storage.limits.together import together
from storage.oci.find import find_evidence
from storage.oci.platforms import platforms_of
from storage.oci.registry import RegistryClient
from storage.parts import Part, read_each
from storage.record import Findings, Skipped

UNSEEN = (
    "a registry lists only tags, so bundles about an image are not seen if neither the image nor other "
    "evidence about it has a tag"
)
_AT_ONCE = 16
OF_IMAGE = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})(?:\.[a-z]{1,20})?")
"""The tags of evidence and of the index of referrers: their names have the digest of the image."""


async def scan_repository(client: RegistryClient, repository: Repository) -> AsyncIterator[Part]:
    """Yield the evidence about each image that the repository's tags lead to. Raises :class:`StoreError`."""
    tags, cut = await client.tags(repository)
    digests: dict[str, None] = {}
    skipped = [Skipped(f"the tags of {repository}", "", f"{cut}: the rest was not read")] if cut else []
    others = []
    for tag in tags:
        named = OF_IMAGE.fullmatch(tag)
        if named:
            digests[f"sha256:{named['hex']}"] = None
        else:
            others.append(tag)
    for start in range(0, len(others), _AT_ONCE):
        batch = [images_of(client, repository, tag) for tag in others[start : start + _AT_ONCE]]
        for images in await together(batch):
            if isinstance(images, Skipped):
                skipped.append(images)
            else:
                digests.update(dict.fromkeys(images))
    read = partial(_find, client, repository)
    if skipped:
        yield Part(Findings(skipped=tuple(skipped)), len(digests) + 1)
    async for part in read_each(list(digests), read):
        yield part


async def _find(client: RegistryClient, repository: Repository, digest: str) -> Findings:
    return await find_evidence(client, digest, repository, repository)


async def images_of(client: RegistryClient, repository: Repository, tag: str) -> list[str] | Skipped:
    """Return the image of a tag and those that it lists if it is an index; none if the tag is gone."""
    try:
        found = await client.head_manifest(repository, tag)
        if found is None:
            return []
        listed = await platforms_of(client, repository, found.digest)
        return [found.digest, *(platform.digest for platform in listed)]
    except SubjectAbsent:
        return []  # the tag was deleted since
    except StoreRejected as error:
        return Skipped(f"{repository}:{tag}", "", str(error))
