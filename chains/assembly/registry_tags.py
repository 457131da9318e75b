"""Looks up tags in their registry, once, before anything is verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chains.errors import UsageError
from storage.base import StoreOptions
from storage.errors import StoreRejected
from storage.formats.digest import is_sha256
from storage.formats.reference import parse_image

if TYPE_CHECKING:
    from storage.oci.tokens import Keychain


class RegistryTags:
    """Resolves tags by asking their registry, with the same settings as the stores.

    ``keychain`` replaces the docker configuration.
    """

    def __init__(self, options: StoreOptions | None = None, keychain: Keychain | None = None) -> None:
        self._options, self._keychain = options or StoreOptions(), keychain

    def with_keychain(self, keychain: Keychain) -> RegistryTags:
        """Return the same with other credentials."""
        return RegistryTags(self._options, keychain)

    async def resolve(self, reference: str) -> str:
        """Return the digest of the manifest that the tag points to.

        It is a :class:`chains.verify.targets.TagResolver`.
        """
        from storage.oci.registry import RegistryClient  # noqa: PLC0415 - only tags need the network

        image = parse_image(reference)
        last = reference.rpartition("/")[2]
        tag = last.rpartition(":")[2] if ":" in last else "latest"
        async with RegistryClient(self._options, self._keychain) as client:
            found = await client.head_manifest(image.repository, tag)
        if found is None:
            raise UsageError(f"{image.repository} has no tag {tag!r}: give the image's digest")
        if not is_sha256(found.digest):
            raise StoreRejected(
                f"{image.repository}:{tag}: expected a sha256 digest, got {found.digest[:100]!r}"
            )
        return found.digest
