"""Image names with digests, parsed as go-containerregistry does, because Chains names subjects with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DEFAULT_REGISTRY = "index.docker.io"
_HEX = re.compile(r"[a-f0-9]{64}", re.ASCII)
_REPOSITORY = re.compile(r"[a-z0-9_\-./]{2,255}", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_\-.]{1,128}", re.ASCII)
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::\d*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImageDigest:
    """An image by digest: ``repository`` with its registry (``index.docker.io/library/x``) and SHA-256."""

    repository: str
    hex: str

    def __str__(self) -> str:
        return f"{self.repository}@sha256:{self.hex}"


def parse_image_digest(text: str) -> ImageDigest | None:
    """Parse ``[registry/]repository[:tag]@sha256:hex``. A tag is dropped. Returns None for any other text."""
    name, at, digest = text.partition("@")
    algorithm, _, value = digest.partition(":")
    if not at or algorithm != "sha256" or not _HEX.fullmatch(value):
        return None
    repository = parse_repository(_without_tag(name))
    return None if repository is None else ImageDigest(repository, value)


def _without_tag(name: str) -> str:
    base, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name
    return base if _TAG.fullmatch(tag) and parse_repository(base) is not None else name


def parse_repository(name: str) -> str | None:
    """Return a repository's full name with its registry; None if the text is not a repository."""
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        registry, repository = first, rest
    else:
        registry, repository = "", name
    if not _REPOSITORY.fullmatch(repository) or not _AUTHORITY.fullmatch(registry):
        return None
    if registry in {"", "docker.io"}:
        registry = _DEFAULT_REGISTRY
    if registry == _DEFAULT_REGISTRY and "/" not in repository:
        repository = "library/" + repository
    return f"{registry}/{repository}"
