"""The images that an image index lists, one per platform."""

from __future__ import annotations

from functools import partial

import orjson

from storage import lean_json
from storage.errors import StoreRejected, SubjectAbsent
from storage.formats.digest import is_sha256
from storage.formats.reference import Repository
from storage.oci.registry import RegistryClient
from storage.record import Platform

MOST_PLATFORMS = 64
"""The most images of an index that are looked at, and to which evidence is attached."""
_NAMED = ("os", "architecture", "variant")
_LONGEST = 32
"""The most characters that are kept of each."""
_UNKNOWN = "unknown"
"""The platform of entries that are not images, such as BuildKit's attestations."""


async def platforms_of(client: RegistryClient, repository: Repository, digest: str) -> tuple[Platform, ...]:
    """Return the images that the index ``digest`` lists, each once, in its order.

    The result is empty for an image of one platform. Raises :class:`SubjectAbsent` if the registry does not
    have it, and :class:`StoreRejected` for an invalid index or one with more than :data:`MOST_PLATFORMS`.
    """
    manifest = await client.get_manifest(repository, digest)
    if manifest is None:
        raise SubjectAbsent(f"{repository} does not have {digest}, so its platforms are not known")
    try:
        listed = await lean_json.aside(manifest.data, partial(_images_in, manifest.data))
        sound = all(isinstance(entry.digest, str) and is_sha256(entry.digest) for entry in listed)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        listed, sound = [], False
    # The digests become subjects of evidence, so an index with any invalid entry is refused as a whole.
    if not sound:
        raise StoreRejected(f"{repository}@{digest} is neither an image nor a valid image index")
    if len(listed) > MOST_PLATFORMS:
        raise StoreRejected(
            f"{repository}@{digest} lists {len(listed)} images; preflight and "
            f"storage.oci.attach-to-platforms take at most {MOST_PLATFORMS}"
        )
    first: dict[str, Platform] = {}
    for entry in listed:
        first.setdefault(entry.digest, entry)
    return tuple(first.values())


def _images_in(index: bytes) -> list[Platform]:
    """Return the images in an index. Fails in many ways for an invalid one."""
    listed = lean_json.loads(index).get("manifests") or []
    return [Platform(entry["digest"], _name(entry)) for entry in listed if not _is_beside(entry)]


def _name(entry: dict[str, object]) -> str:
    """Return the platform of an entry; empty if it has none."""
    platform = entry.get("platform")
    parts = [platform.get(key) for key in _NAMED] if isinstance(platform, dict) else []
    return "/".join(part[:_LONGEST] for part in parts if isinstance(part, str) and part)


def _is_beside(entry: dict[str, object]) -> bool:
    """Whether an entry is not an image but, for example, an attestation by BuildKit."""
    platform = entry.get("platform")
    return isinstance(platform, dict) and platform.get("os") == _UNKNOWN
