"""Patterns of images for engines that search references with expressions or globs of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chains.policy.document.patterns import ImagePattern, wildcard_matches
from chains.policy.engines.re2 import quoted

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


def repository_expression(pattern: ImagePattern) -> str:
    """Return an expression for RE2 that finds REGISTRY/REPOSITORY as a whole, the registry in lower case."""
    repository, _ = parts_of(pattern)
    parts = [
        ".+" if part == "**" else "[^/]*".join(map(quoted, part.split("*"))) for part in repository.split("/")
    ]
    return rf"(?s)\A{'/'.join(parts)}\z"


@dataclass(frozen=True, slots=True)
class References:
    """Images as Kyverno's older engine names them: each entry has references, and those among them to skip.

    ``is_exact`` is False where the entries name more images than the pattern.
    """

    entries: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    is_exact: bool = True


def kyverno_references(pattern: ImagePattern) -> References | None:
    """Return the references for the same images, None where none can be written.

    Source: Kyverno 1.19.1, ``ext/wildcard`` and ``pkg/utils/image``: ``*`` stands for ``/`` too, so deeper
    repositories are skipped. An image is REGISTRY/PATH@DIGEST, or else REGISTRY/PATH:TAG. Images of Docker
    Hub are below ``docker.io``, official ones without ``library/``.
    """
    repository, digest = parts_of(pattern)
    if not _PLAIN_GLOB.fullmatch(repository):
        return None
    entries, is_exact = [], True
    for name in _spellings(repository):
        parts = name.split("/")
        is_deep, is_wild = "**" in parts, any("*" in part and part != "**" for part in parts)
        is_exact &= not (is_deep and is_wild)
        written = "/".join("*" if part == "**" else part for part in parts)
        deeper = [] if is_deep else [_deeper(written, at) for at, char in enumerate(written) if char == "*"]
        skipped = [one for each in deeper for one in _with_end(each, digest)]
        entries.append((tuple(_with_end(written, digest)), tuple(skipped)))
    head, _, rest = repository.partition("/")
    # what Kyverno calls docker.io/NAME is library/NAME
    is_exact &= not (_is_hub(head) and rest and "/" not in rest and rest != "**")
    return References(tuple(entries), is_exact)


def _deeper(name: str, at: int) -> str:
    return f"{name[:at]}*/*{name[at + 1 :]}"


def _with_end(name: str, digest: str) -> list[str]:
    if digest:
        return [f"{name}@{digest}"]
    return [name] if name.endswith("*") else [f"{name}:*", f"{name}@*"]


def _is_hub(head: str) -> bool:
    return head == "**" or wildcard_matches(head, "index.docker.io")


def _spellings(repository: str) -> list[str]:
    """Return the repository as Kyverno may see it: with every name of Docker Hub, official images bare."""
    head, _, rest = repository.partition("/")
    found = [repository]
    if rest and _is_hub(head):
        first, _, last = rest.partition("/")
        rests = [rest]
        if last and "/" not in last and (first == "**" or wildcard_matches(first, "library")):
            rests.append("*" if last == "**" else last)
        found += [f"{registry}/{one}" for one in rests for registry in ("docker.io", "index.docker.io")]
    return list(dict.fromkeys(found))
