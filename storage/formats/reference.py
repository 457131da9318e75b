"""Parses image references into registry, repository and digest.

Names are parsed as by go-containerregistry (cosign, Tekton Chains), with two differences. The registry must
be spelled out, and repository names must follow the grammar of the OCI distribution specification
(https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests). Otherwise a
subject that is not an image could name a repository in a foreign registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from storage.errors import StoreRejected
from storage.formats.digest import is_sha256
from storage.formats.package_url import SCHEME, image_reference
from storage.limits.bounded import remembered

DOCKER_HUB = "index.docker.io"
_HUB_HOSTS = (DOCKER_HUB, "docker.io", "registry-1.docker.io")
"""The hosts of Docker Hub's registry: the name in references, its short form, and the one that answers."""
PREFIXES = ("oci://", "docker://")

_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::(?P<port>\d{1,5}))?"
)
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST_NAME = 255
"""The most characters of a repository name. Many clients and registries have this limit."""
_LONGEST_REGISTRY = 253 + len(":65535")
"""A host name has at most 253 characters (RFC 1035, section 2.3.4)."""
_HIGHEST_PORT = 65535
_DEFAULT_PORT = 443
"""The port of a registry without one in its name."""
_SHOWN = 300
"""The most characters of a reference in an error."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of a registry. ``docker.io`` is spelled ``index.docker.io``."""

    registry: str
    name: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"


@dataclass(frozen=True, slots=True)
class Image:
    """A repository, and the digest of the reference; ``""`` if it has none."""

    repository: Repository
    digest: str = ""


@remembered(4096, longest=512)
def parse_image(text: str) -> Image:
    """Parse ``[oci://]registry/repository[:tag][@sha256:hex]``; the tag is dropped.

    Also parses the package URL of an image (``pkg:oci/…``, ``pkg:docker/…``). Raises :class:`StoreRejected`
    if ``text`` is not an image reference or names no registry.
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
    # A colon before the last slash belongs to the port of the registry and not to a tag.
    if colon and "/" not in tag and "/" in head:
        if not _TAG.fullmatch(tag):
            raise StoreRejected(f"{text[:_SHOWN]!r} is not an image reference: {tag!r} is not a tag")
        bare = head
    return Image(_parse_repository(bare, text, explicit=explicit), digest)


def parse_repository(text: str) -> Repository:
    """Parse ``registry/repository``. Raises :class:`StoreRejected`, also for a tag or digest."""
    image = parse_image(text)
    bare = text.removeprefix("oci://").removeprefix("docker://")
    if image.digest or ":" in bare.rpartition("/")[2]:
        raise StoreRejected(f"{text[:_SHOWN]!r} must name a repository, without tag or digest")
    return image.repository


def _parse_repository(bare: str, text: str, *, explicit: bool) -> Repository:
    """Parse the reference without prefix, tag and digest.

    ``explicit`` means that it had a prefix such as ``oci://``; then a name without registry is one of Docker
    Hub.
    """
    registry, slash, name = bare.partition("/")
    # The rule of Docker and go-containerregistry for whether the first component is a registry.
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
            f"{text[:_SHOWN]!r} is not an image reference: {registry[:80]!r} is not host[:port]"
        )
    if registry == "docker.io":
        registry = DOCKER_HUB
    # Docker Hub's official images are in the namespace "library".
    if registry == DOCKER_HUB and "/" not in name:
        name = f"library/{name}"
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise StoreRejected(
            f"{text[:_SHOWN]!r} is not an image reference: {name[:80]!r} is not a repository name"
        )
    return Repository(registry, name)


def canonical(repository: Repository) -> Repository:
    """Return the spelling of a repository by which two are compared; it may not be the one to ask.

    The host is in lower case, the default port is left out, and Docker Hub has one name.
    """
    host, port = repository.registry.lower(), ""
    head, colon, tail = host.rpartition(":")
    if colon and tail.isdigit():
        host, port = head, "" if int(tail) == _DEFAULT_PORT else f":{int(tail)}"
    name = repository.name
    if host in _HUB_HOSTS and not port:
        host, name = DOCKER_HUB, name if "/" in name else f"library/{name}"
    return Repository(f"{host}{port}", name)


def spellings(repository: Repository) -> tuple[str, ...]:
    """Return how a repository can be written, the canonical spelling first and without repetitions.

    A comparison that leaves one of these out can be got around: all of them name the same content.
    """
    one = canonical(repository)
    hosts = _HUB_HOSTS if one.registry == DOCKER_HUB else (one.registry,)
    has_port = one.registry.rpartition("]")[2].count(":") > 0
    ports = ("",) if has_port else ("", f":{_DEFAULT_PORT}")
    found = [f"{host}{port}/{one.name}" for port in ports for host in hosts]
    return tuple(dict.fromkeys((*found, str(repository))))


def registry_host(registry: str) -> str:
    """Return the host of ``host[:port]`` in lower case, without port and brackets."""
    host = registry.lower()
    if host.startswith("["):
        return host[1 : host.index("]")]
    return host.partition(":")[0]
