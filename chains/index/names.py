"""The name under which a subject or input is found: without transport, digest, tag and revision. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from chains.statements.repositories import SCHEMES, canonical

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
    """Return the name of a git repository, however its URI is written: ``SCHEME://HOST/PATH``.

    ``git@git.example:shop.git`` is ``ssh://git.example/shop``.
    """
    source = canonical(uri)
    if source is not None:
        return source.uri.removeprefix("git+")
    plain = uri.removeprefix("git+").partition("#")[0].partition("?")[0]
    scheme, separator, rest = plain.partition("://")
    if not separator:
        scheme, rest = "", plain
    host, slash, path = rest.partition("/")
    if separator:
        host = host.rpartition("@")[2]
    path = path.partition("@")[0].rstrip("/").removesuffix(".git")
    return f"{scheme}{separator}{host}{slash}{path}"


def spellings_of(repository: str) -> tuple[str, ...]:
    """Return the names that :func:`source_of` gives to one repository: by each scheme, and without one."""
    names = [source_of(repository)]
    if "://" not in repository:
        names.append(source_of(f"https://{repository}"))
    return _by_schemes(names)


def beginnings_of(repository: str) -> tuple[str, ...]:
    """Return how the names of repositories begin that begin so in any spelling, and the beginning itself."""
    plain = repository.removeprefix("git+")
    scheme, separator, rest = plain.partition("://")
    if not separator:
        scheme, rest = "", plain
        user, at, behind = plain.partition("@")
        if at and "/" not in user:  # git@host:path
            rest = behind.replace(":", "/", 1)
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2]
    host = host.lower() if slash or separator else host  # a word alone need not be a host
    if slash and separator:
        host = host.removesuffix(f":{SCHEMES.get(scheme.lower(), '')}")
    names = [f"{scheme.lower()}{separator}{host}{slash}{path}"] if host else []
    if path.endswith(".git"):
        names.append(names[0].removesuffix(".git"))
    return tuple(dict.fromkeys((repository, *_by_schemes(names))))


def _by_schemes(names: Iterable[str]) -> tuple[str, ...]:
    found = []
    for name in names:
        scheme, separator, place = name.partition("://")
        found.append(name)
        if separator and scheme not in SCHEMES:
            continue
        place = place if separator else name
        found += [place, *(f"{one}://{place}" for one in SCHEMES)]
    return tuple(dict.fromkeys(found))


def _repository(reference: str) -> str:
    """Return an image without its digest and tag."""
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0]
