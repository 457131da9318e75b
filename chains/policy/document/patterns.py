"""Patterns of images and references: anchored at both ends, compared part by part, in bounded time.

``*`` stands for any characters within one part of a path, ``**`` as a whole part for one or more parts. No
pattern here becomes a regular expression, so that no hostile name can make a comparison slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from chains.errors import UsageError
from storage.errors import StoreRejected
from storage.formats.digest import is_sha256
from storage.formats.reference import Image, parse_image, spellings

MOST_PARTS = 64
"""Parts of a pattern; names with more never match."""
_LONGEST = 1024


def wildcard_matches(pattern: str, text: str) -> bool:
    """Whether ``text`` is ``pattern``, in which each ``*`` stands for any characters, none among them.

    Takes at most ``len(pattern) * len(text)`` steps: on a mismatch only the last ``*`` is tried again.
    """
    at = place = 0
    star = after = -1
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, after = at, place
            at += 1
        elif at < len(pattern) and pattern[at] == text[place]:
            at += 1
            place += 1
        elif star >= 0:
            after += 1
            at, place = star + 1, after
        else:
            return False
    return all(char == "*" for char in pattern[at:])


def path_matches(pattern: str, path: str) -> bool:
    """Whether a path with ``/`` between its parts fits a pattern as a whole."""
    wanted, parts = pattern.split("/"), path.split("/")
    if len(wanted) > MOST_PARTS or len(parts) > MOST_PARTS:
        return False
    # reachable[n]: the pattern's parts so far can stand for the first n parts of the path
    reachable = [True] + [False] * len(parts)
    for part in wanted:
        if part == "**":
            first = reachable.index(True) if True in reachable else len(parts)
            reachable = [at > first for at in range(len(parts) + 1)]
        else:
            fits = (reachable[at] and wildcard_matches(part, name) for at, name in enumerate(parts))
            reachable = [False, *fits]
    return reachable[-1]


@dataclass(frozen=True)
class ImagePattern:
    """Images of a policy: a pattern of repositories, or exactly one digest in them."""

    text: str

    @classmethod
    def parse(cls, text: str) -> ImagePattern:
        """Read ``REGISTRY/PATH`` with ``*`` and ``**``, optionally with ``@sha256:HEX``.

        Raises :class:`UsageError` for what can match no image, and for a tag: it can be moved.
        """
        repository, at, digest = text.partition("@")
        if at and not is_sha256(digest):
            raise UsageError("after @ comes sha256: and 64 hex digits")
        if len(text) > _LONGEST or repository.count("/") >= MOST_PARTS:
            raise UsageError(f"longer than {_LONGEST} characters or {MOST_PARTS} parts")
        head, slash, rest = repository.partition("/")
        if not slash and repository != "**":
            raise UsageError("names no registry: write REGISTRY/PATH, and ** for what may follow")
        if ":" in rest:
            raise UsageError("names a tag, which can be moved: name repositories, or a digest after @")
        if not all(repository.split("/")):
            raise UsageError("has an empty part")
        if any("**" in part and part != "**" for part in repository.split("/")):
            raise UsageError("** stands for whole parts: write it between slashes")
        if rest != rest.lower():
            raise UsageError("repository names are in lower case: this matches nothing")
        if head in {"docker.io", "index.docker.io"} and "/" not in rest and rest not in {"*", "**"}:
            raise UsageError(f"official images are below library/: write {head}/library/{rest}")
        return cls(text)

    @cached_property
    def _parts(self) -> tuple[str, str]:
        repository, _, digest = self.text.partition("@")
        head, slash, rest = repository.partition("/")
        registry = "index.docker.io" if head.lower() == "docker.io" else head.lower()
        return registry + slash + rest, digest

    @property
    def digest(self) -> str:
        """The only digest that matches, or empty."""
        return self._parts[1]

    def matches(self, image: Image) -> bool:
        """Whether an image is one of these; an image without a digest is none of a pattern with one."""
        repository, digest = self._parts
        if digest not in {"", image.digest}:
            return False
        names = spellings(image.repository)
        if "*" not in repository:
            return repository in names
        return any(path_matches(repository, name) for name in names)


def read_image(text: str) -> Image:
    """Read an image reference. Raises :class:`UsageError`."""
    try:
        return parse_image(text)
    except StoreRejected as error:
        raise UsageError(str(error)) from error


def with_registry(text: str) -> str:
    """Return an image as container runtimes read it: a name without registry is one of Docker Hub."""
    head, slash, _ = text.partition("/")
    is_registry = bool(slash) and (head == "localhost" or "." in head or ":" in head)
    return text if is_registry else f"docker.io/{text}"
