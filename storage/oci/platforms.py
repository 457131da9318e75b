"""The images of an index: what a registry has for each platform under one digest."""

from __future__ import annotations

from functools import partial

import orjson

from storage import lean_json
from storage.errors import StoreRejected, SubjectAbsent
from storage.formats.digest import is_sha256
from storage.formats.reference import Repository
from storage.oci.registry import RegistryClient

MOST_PLATFORMS = 64
_UNKNOWN = "unknown"
"""The platform of what is beside the images, such as BuildKit's attestations."""


async def platforms_of(client: RegistryClient, repository: Repository, digest: str) -> tuple[str, ...]:
    """Return the digests of the images that the index ``digest`` lists, in its order.

    Nothing for an image of one platform. Raises :class:`SubjectAbsent` for what the registry does not have
    and :class:`StoreRejected` for an index that makes no sense, or lists more than :data:`MOST_PLATFORMS`.
    """
    manifest = await client.get_manifest(repository, digest)
    if manifest is None:
        raise SubjectAbsent(f"{repository} does not have {digest}, so its platforms are not known")
    try:
        found = await lean_json.aside(manifest.data, partial(_images_in, manifest.data))
        sound = all(isinstance(one, str) and is_sha256(one) for one in found)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        found, sound = [], False
    if not sound:
        raise StoreRejected(f"{repository}@{digest} is no image and no image index that makes sense")
    if len(found) > MOST_PLATFORMS:
        raise StoreRejected(
            f"{repository}@{digest} lists {len(found)} images and at most {MOST_PLATFORMS} are attached to: "
            "set storage.oci.attach-to-platforms to false"
        )
    return tuple(dict.fromkeys(found))


def _images_in(index: bytes) -> list[str]:
    listed = lean_json.loads(index).get("manifests") or []
    return [entry["digest"] for entry in listed if not _is_beside(entry)]


def _is_beside(entry: dict[str, object]) -> bool:
    platform = entry.get("platform")
    return isinstance(platform, dict) and platform.get("os") == _UNKNOWN
