"""The images that an image index lists, one per platform."""

from __future__ import annotations

from functools import partial

import orjson

from storage import lean_json
from storage.errors import StoreRejected, SubjectAbsent
from storage.formats.digest import is_sha256
from storage.formats.reference import Repository
from storage.oci.registry import RegistryClient

MOST_PLATFORMS = 64
"""The most images of an index to which evidence is attached."""
_UNKNOWN = "unknown"
"""The platform of entries that are not images, such as BuildKit's attestations."""


async def platforms_of(client: RegistryClient, repository: Repository, digest: str) -> tuple[str, ...]:
    """Return the digests of the images that the index ``digest`` lists, in its order.

    The result is empty for an image of one platform. Raises :class:`SubjectAbsent` if the registry does not
    have it, and :class:`StoreRejected` for an invalid index or one with more than :data:`MOST_PLATFORMS`.
    """
    manifest = await client.get_manifest(repository, digest)
    if manifest is None:
        raise SubjectAbsent(f"{repository} does not have {digest}, so its platforms are not known")
    try:
        digests = await lean_json.aside(manifest.data, partial(_images_in, manifest.data))
        sound = all(isinstance(entry, str) and is_sha256(entry) for entry in digests)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        digests, sound = [], False
    # The digests become subjects of evidence, so an index with any invalid entry is refused as a whole.
    if not sound:
        raise StoreRejected(f"{repository}@{digest} is neither an image nor a valid image index")
    if len(digests) > MOST_PLATFORMS:
        raise StoreRejected(
            f"{repository}@{digest} lists {len(digests)} images, at most {MOST_PLATFORMS} are supported: "
            "set storage.oci.attach-to-platforms to false"
        )
    return tuple(dict.fromkeys(digests))


def _images_in(index: bytes) -> list[str]:
    """Return the digests of the images in an index. Fails in many ways for an invalid one."""
    listed = lean_json.loads(index).get("manifests") or []
    return [entry["digest"] for entry in listed if not _is_beside(entry)]


def _is_beside(entry: dict[str, object]) -> bool:
    """Whether an entry is not an image but, for example, an attestation by BuildKit."""
    platform = entry.get("platform")
    return isinstance(platform, dict) and platform.get("os") == _UNKNOWN
