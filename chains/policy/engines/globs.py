"""Patterns of images for engines that search references with expressions or globs of their own."""

from __future__ import annotations

import re

from chains.policy.document.patterns import ImagePattern

_PLAIN_GLOB = re.compile(r"[A-Za-z0-9_:/*.@-]+")


def parts_of(pattern: ImagePattern) -> tuple[str, str]:
    """Return the pattern of the repository, its registry as references spell it in full, and the digest."""
    repository, _, digest = pattern.text.partition("@")
    head, slash, rest = repository.partition("/")
    registry = "index.docker.io" if head.lower() == "docker.io" else head.lower()
    return registry + slash + rest, digest


def policy_controller_glob(pattern: ImagePattern) -> str | None:
    """Return the glob of policy-controller for the same images, None where none can be written.

    Source: policy-controller 0.13.1, ``pkg/apis/glob``: ``*`` is any run of characters but ``/``, ``**`` any
    run. Compared is the whole reference, with its digest; without a registry it is of ``index.docker.io``.
    """
    repository, digest = parts_of(pattern)
    glob = f"{repository}@{digest or '*'}"
    return glob if _PLAIN_GLOB.fullmatch(glob) else None
