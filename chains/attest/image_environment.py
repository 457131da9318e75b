"""The environment that images set, read from their registries by digest and cached.

A pod does not show it, and one variable in it can keep the network on. Only that variable is kept. Manifests
and configurations are checked against their digests, so what is read is what ran.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import orjson
from cachetools import LRUCache

from chains.isolation.entrypoint import DEFEATING_VARIABLE, images_that_decide
from chains.tekton.image_name import ImageDigest, parse_image_digest
from chains.tekton.raw import Json, mapping_at, objects_at, text_at, texts_at
from chains.tekton.snapshot import RunSnapshot
from chains.tekton.surroundings import ImageEnvironment, Surroundings
from storage import lean_json
from storage.errors import StoreError
from storage.formats.manifests import Manifest
from storage.formats.reference import Repository, parse_repository
from storage.limits.single_flight import InFlight

MOST_PLATFORMS = 32
"""Images of one index that are read. An index with more is a problem."""
MOST_IMAGES = 4096
"""Images in the cache."""
_CONFIG_LIMIT = 4 << 20
_LONGEST_VALUE = 256


class Registry(Protocol):
    """The client that reads images: :class:`storage.oci.registry.RegistryClient`."""

    async def get_manifest(self, repository: Repository, reference: str) -> Manifest | None:
        """Return the manifest with a digest."""

    async def get_blob(self, repository: Repository, digest: str, limit: int) -> bytes | None:
        """Return the blob with a digest."""

    async def close(self) -> None:
        """Close every connection."""


@dataclass(frozen=True, slots=True)
class _Described:
    """The fields of a manifest or an index that are used."""

    is_index: bool
    is_both: bool
    config: str
    count: int
    """The number of entries of an index, including those that no node runs."""
    platforms: tuple[str, ...]


class ImageReader:
    """Reads the environments of images; calls may run concurrently."""

    def __init__(self, client: Registry) -> None:
        self._client = client
        self._known: LRUCache[str, ImageEnvironment] = LRUCache(MOST_IMAGES)
        self._reading: InFlight[str, ImageEnvironment] = InFlight()

    async def close(self) -> None:
        """Close the connections to registries."""
        await self._client.close()

    async def add_images(
        self, run: RunSnapshot, surroundings: Mapping[str, Surroundings]
    ) -> dict[str, Surroundings]:
        """Return the surroundings with the environments of the images that decide about isolation.

        Never raises because of a registry: an image that cannot be read has its reason instead.
        """
        found = dict(surroundings)
        for task in (run, *run.children):
            known = surroundings.get(task.label)
            images = images_that_decide(task, known) if known is not None else []
            if known is not None and images:
                read = await asyncio.gather(*map(self._read_once, images))
                found[task.label] = replace(known, images=dict(zip(images, read, strict=True)))
        return found

    async def _read_once(self, image_id: str) -> ImageEnvironment:
        known = self._known.get(image_id)
        if known is not None:
            return known
        answer = await self._reading.run(image_id, lambda: self._read(image_id))
        if not answer.problem:  # an image that could not be read may be readable next time
            self._known[image_id] = answer
        return answer

    async def _read(self, image_id: str) -> ImageEnvironment:
        image = parse_image_digest(image_id.partition("://")[2] or image_id)
        if image is None:
            return ImageEnvironment(problem=f"image id {image_id[:100]!r} is no name with a digest")
        try:
            repository = parse_repository(image.repository)
            found = await self._environments(repository, f"sha256:{image.hex}")
        except (StoreError, orjson.JSONDecodeError, ValueError) as error:
            return ImageEnvironment(problem=f"{_shown(image)} cannot be read: {error}")
        return ImageEnvironment(found)

    async def _environments(self, repository: Repository, digest: str) -> tuple[Mapping[str, str], ...]:
        """Return the environment of each platform of an image."""
        image = await self._described(repository, digest)
        if image.is_both:
            raise ValueError(f"{digest} is an index and a manifest at once, so what ran is not known")
        if image.count > MOST_PLATFORMS:
            raise ValueError(f"it has {image.count} platforms, more than {MOST_PLATFORMS}")
        each = [await self._described(repository, one) for one in image.platforms]
        found = []
        for one in each if image.is_index else [image]:
            limit = _CONFIG_LIMIT
            data = await self._client.get_blob(repository, one.config, limit) if one.config else None
            if data is None:
                raise ValueError(f"{digest} has no configuration")
            found.append(await lean_json.aside(data, partial(_variables, data)))
        return tuple(found)

    async def _described(self, repository: Repository, digest: str) -> _Described:
        manifest = await self._client.get_manifest(repository, digest)
        if manifest is None:
            raise ValueError(f"the registry does not have {digest}")
        return await lean_json.aside(manifest.data, partial(_describe, manifest.data))


def _describe(data: bytes) -> _Described:
    manifest = mapping_at(lean_json.loads(data))
    is_index = "manifests" in manifest
    platforms = objects_at(manifest, "manifests")
    return _Described(
        is_index,
        is_index and bool({"config", "layers"} & set(manifest)),
        text_at(manifest, "config", "digest"),
        len(platforms),
        tuple(text_at(each, "digest") for each in _images(platforms[:MOST_PLATFORMS])),
    )


def _images(platforms: Iterable[Mapping[str, Json]]) -> Iterator[Mapping[str, Json]]:
    """Return the entries of an index that nodes run, without the attestations that BuildKit adds."""
    return (each for each in platforms if text_at(each, "platform", "os") != "unknown")


def _variables(config: bytes) -> dict[str, str]:
    """Return the variable that decides, if the configuration sets it. The last of several counts."""
    found = {}
    for entry in texts_at(lean_json.loads(config), "config", "Env"):
        name, _, value = entry.partition("=")
        if name == DEFEATING_VARIABLE:
            found[name] = value[:_LONGEST_VALUE]
    return found


def _shown(image: ImageDigest) -> str:
    return f"{image.repository}@sha256:{image.hex[:12]}…"
