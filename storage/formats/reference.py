"""Image references: which registry and repository a name means, and whether plain HTTP may be tried there.

Names are read as go-containerregistry (cosign, Tekton Chains) reads them, with two differences that keep a
subject which is no image away from somebody's registry: the registry must be spelled out, and repository
names follow the grammar of the OCI distribution specification
(https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from storage.errors import StoreRejected
from storage.formats.digest import is_sha256
from storage.formats.package_url import SCHEME, image_reference
from storage.limits.bounded import remembered

DOCKER_HUB = "index.docker.io"
PREFIXES = ("oci://", "docker://")

_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::(?P<port>\d{1,5}))?"
)
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST_NAME = 255
_LONGEST_REGISTRY = 253 + len(":65535")
"""A host name has 253 characters at most (RFC 1035, section 2.3.4)."""
_HIGHEST_PORT = 65535
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of one registry; ``docker.io`` is spelled ``index.docker.io``."""

    registry: str
    name: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"


@dataclass(frozen=True, slots=True)
class Image:
    """A repository with the digest the reference named, ``""`` when it named none."""

    repository: Repository
    digest: str = ""


@remembered(4096, longest=512)
def parse_image(text: str) -> Image:
    """Read ``[oci://]registry/repository[:tag][@sha256:hex]``; the tag is dropped.

    A package URL of an image (``pkg:oci/…``, ``pkg:docker/…``) is read too. Raises :class:`StoreRejected`
    when ``text`` is no image reference or names no registry.
    """
    if text.startswith(SCHEME):
        return parse_image(image_reference(text))
    bare = text
    for prefix in PREFIXES:
        bare = bare.removeprefix(prefix)
    explicit = bare != text
    if "://" in bare:
        raise StoreRejected(
            f"{text[:_SHOWN]!r} is not an image reference: only oci:// and docker:// may stand before one"
        )
    bare, at, digest = bare.partition("@")
    if at and not is_sha256(digest):
        raise StoreRejected(
            f"{text[:_SHOWN]!r} is not an image reference: expected @sha256: and 64 hex digits"
        )
    head, colon, tag = bare.rpartition(":")
    if colon and "/" not in tag and "/" in head:
        if not _TAG.fullmatch(tag):
            raise StoreRejected(f"{text[:_SHOWN]!r} is not an image reference: {tag!r} is no tag")
        bare = head
    return Image(_parse_repository(bare, text, explicit=explicit), digest)


def parse_repository(text: str) -> Repository:
    """Read ``registry/repository``. Raises :class:`StoreRejected` for anything else, a tag or digest too."""
    image = parse_image(text)
    bare = text.removeprefix("oci://").removeprefix("docker://")
    if image.digest or ":" in bare.rpartition("/")[2]:
        raise StoreRejected(f"{text[:_SHOWN]!r} must name a repository, without tag or digest")
    return image.repository


def _parse_repository(bare: str, text: str, *, explicit: bool) -> Repository:
    registry, slash, name = bare.partition("/")
    named = bool(slash) and (registry == "localhost" or "." in registry or ":" in registry)
    if not named:
        if not explicit:
            raise StoreRejected(
                f"{text[:_SHOWN]!r} names no registry: an image is written registry/repository, "
                f"as in docker.io/{bare[:_SHOWN]}"
            )
        registry, name = DOCKER_HUB, bare
    host = _HOST.fullmatch(registry) if len(registry) <= _LONGEST_REGISTRY else None
    if host is None or int(host["port"] or 0) > _HIGHEST_PORT:
        raise StoreRejected(
            f"{text[:_SHOWN]!r} is not an image reference: {registry[:80]!r} is no host[:port]"
        )
    if registry == "docker.io":
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in name:
        name = f"library/{name}"
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise StoreRejected(
            f"{text[:_SHOWN]!r} is not an image reference: {name[:80]!r} is no repository name"
        )
    return Repository(registry, name)


def registry_host(registry: str) -> str:
    """Return the host of ``host[:port]`` without port and brackets, in lower case."""
    host = registry.lower()
    if host.startswith("["):
        return host[1 : host.index("]")]
    return host.partition(":")[0]
