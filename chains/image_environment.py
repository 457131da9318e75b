"""What images set in the environment by themselves, read from their registries by digest and remembered.

A pod does not show it, and one variable in it is enough to keep the network. Manifests and configurations are
checked against their digests, so what is read is what ran.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

import orjson

from chains.beside import Beside, ImageEnvironment, Json, mapping_at, objects_at, text_at, texts_at
from chains.hermetic_entrypoint import images_that_decide
from chains.image_name import ImageDigest, parse_image_digest
from chains.snapshot import RunSnapshot
from storage.base import StoreError
from storage.inflight import InFlight
from storage.manifests import Manifest
from storage.reference import Repository, parse_repository

MOST_PLATFORMS = 32
"""Images that one index may have; nothing is told of one with more."""
_CONFIG_LIMIT = 4 << 20


class Registry(Protocol):
    """What images are read from: :class:`storage.registry.RegistryClient`."""

    async def get_manifest(self, repository: Repository, reference: str) -> Manifest | None:
        """Return the manifest with a digest."""

    async def get_blob(self, repository: Repository, digest: str, limit: int) -> bytes | None:
        """Return the blob with a digest."""

    async def close(self) -> None:
        """Close every connection."""


class ImageReader:
    """Reads the environments of images; calls may run concurrently."""

    def __init__(self, client: Registry) -> None:
        self._client = client
        self._known: dict[str, ImageEnvironment] = {}
        self._reading: InFlight[str, ImageEnvironment] = InFlight()

    async def close(self) -> None:
        """Close the connections to registries."""
        await self._client.close()

    async def add_images(self, run: RunSnapshot, beside: Mapping[str, Beside]) -> dict[str, Beside]:
        """Return what stands beside the runs with the environments of the images on which an answer hangs.

        Never raises for a registry: an image that cannot be read has its reason instead.
        """
        found = dict(beside)
        for task in (run, *run.children):
            known = beside.get(task.label)
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
        if not answer.problem:  # it may be readable the next time
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
        manifest = await self._object(repository, digest)
        if "manifests" in manifest and {"config", "layers"} & set(manifest):
            raise ValueError(f"{digest} is an index and a manifest at once, so what ran is not known")
        platforms = objects_at(manifest, "manifests")
        if len(platforms) > MOST_PLATFORMS:
            raise ValueError(f"it has {len(platforms)} platforms, more than {MOST_PLATFORMS}")
        children = [await self._object(repository, text_at(each, "digest")) for each in _images(platforms)]
        found = []
        for each in children if "manifests" in manifest else [manifest]:
            config = text_at(each, "config", "digest")
            data = await self._client.get_blob(repository, config, _CONFIG_LIMIT) if config else None
            if data is None:
                raise ValueError(f"{digest} has no configuration")
            found.append(dict(_variables(texts_at(orjson.loads(data), "config", "Env"))))
        return tuple(found)

    async def _object(self, repository: Repository, digest: str) -> Mapping[str, Json]:
        manifest = await self._client.get_manifest(repository, digest)
        if manifest is None:
            raise ValueError(f"the registry does not have {digest}")
        return mapping_at(orjson.loads(manifest.data))


def _images(platforms: Iterable[Mapping[str, Json]]) -> Iterator[Mapping[str, Json]]:
    """Return the entries of an index that nodes run; BuildKit puts attestations beside them."""
    return (each for each in platforms if text_at(each, "platform", "os") != "unknown")


def _variables(entries: Iterable[str]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        name, _, value = entry.partition("=")
        yield name, value


def _shown(image: ImageDigest) -> str:
    return f"{image.repository}@sha256:{image.hex[:12]}…"
