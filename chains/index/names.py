"""The name under which a subject or input is found: without transport, digest, tag and revision. Pure."""

from __future__ import annotations

from functools import lru_cache

_REMEMBERED = 10_000
_TRANSPORTS = ("docker-pullable://", "docker://", "oci://")
_GIT = ("git+", "git://", "git@")


@lru_cache(maxsize=_REMEMBERED)
def name_of(uri: str) -> str:
    """Return the name of an image, a repository or another thing. What is no such reference stays as it is.

    ``oci://registry.example/shop:1@sha256:…`` is ``registry.example/shop``, and
    ``git+https://git.example/shop.git@refs/heads/main`` is ``https://git.example/shop``.
    """
    for transport in _TRANSPORTS:
        if uri.startswith(transport):
            return _repository(uri.removeprefix(transport))
    if uri.startswith(_GIT) or uri.partition("#")[0].partition("?")[0].endswith(".git"):
        return source_of(uri)
    if "://" in uri or uri.startswith("pkg:"):
        return uri
    return _repository(uri)


@lru_cache(maxsize=_REMEMBERED)
def source_of(uri: str) -> str:
    """Return the name of a git repository, however its URI is written."""
    plain = uri.removeprefix("git+").partition("#")[0].partition("?")[0]
    scheme, separator, rest = plain.partition("://")
    if not separator:
        scheme, rest = "", plain
    host, slash, path = rest.partition("/")
    path = path.partition("@")[0].rstrip("/").removesuffix(".git")
    return f"{scheme}{separator}{host}{slash}{path}"


def _repository(reference: str) -> str:
    """Return an image without its digest and tag."""
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0]
