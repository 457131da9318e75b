"""Criteria for the run, in addition to signer and artifact.

A Task itself says, through its results, which artifacts it made and from which source. So evidence about an
image may be of anybody's run. What the signer observed shows whose run it was: the namespace in the execution
report, and the source from which Tekton resolved the task or pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chains.errors import UsageError
from chains.statements.type_hints import spdx_git

_DIGEST = re.compile(r"(sha1|sha256|sha384|sha512):([0-9a-f]+)")
_LENGTHS = {"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_REFERENCE = re.compile(r"(?P<resolver>[A-Za-z0-9][A-Za-z0-9._-]*)@(?P<digest>[^#]*)(?:#(?P<path>.+))?")


def _digest(text: str, option: str) -> tuple[str, str]:
    match = _DIGEST.fullmatch(text)
    if match is None or len(match[2]) != _LENGTHS[match[1]]:
        raise UsageError(
            f"{option}: {text[:80]!r} is no digest: expected sha1:HEX, sha256:HEX, sha384:HEX or sha512:HEX"
        )
    return match[1], match[2]


@dataclass(frozen=True, slots=True)
class ReferenceWanted:
    """The source of a task or pipeline: this resolver, and this digest.

    ``path`` is the entry point in it, such as a file of a git repository; empty is any.
    """

    resolver: str
    algorithm: str
    hex: str
    path: str = ""

    @classmethod
    def from_option(cls, text: str, option: str) -> ReferenceWanted:
        """Read ``RESOLVER@ALGORITHM:HEX[#PATH]``. Raises :class:`UsageError`."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise UsageError(f"{option}: expected RESOLVER@ALGORITHM:HEX[#PATH], got {text[:80]!r}")
        return cls(match["resolver"], *_digest(match["digest"], option), match["path"] or "")

    def __str__(self) -> str:
        return f"{self.resolver}@{self.algorithm}:{self.hex}" + (f"#{self.path}" if self.path else "")


@dataclass(frozen=True, slots=True)
class SourceWanted:
    """A source that must be among the inputs; without a digest any of its commits."""

    uri: str
    algorithm: str = ""
    hex: str = ""

    @classmethod
    def from_option(cls, text: str, option: str) -> SourceWanted:
        """Read ``URI[@ALGORITHM:HEX]``. Raises :class:`UsageError`."""
        uri, at, digest = text.rpartition("@")
        if not at or ":" not in digest or "/" in digest:
            uri, digest = text, ""
        if not uri:
            raise UsageError(f"{option}: expected URI[@ALGORITHM:HEX], got {text[:80]!r}")
        return cls(uri, *_digest(digest, option)) if digest else cls(uri)

    def fits(self, uri: str, digest: Mapping[str, Any]) -> bool:
        """Whether a dependency is this source, in the user's spelling or in that of Tekton Chains."""
        is_uri = uri in {self.uri, spdx_git(self.uri)}
        return is_uri and (not self.algorithm or digest.get(self.algorithm) == self.hex)

    def __str__(self) -> str:
        return self.uri + (f"@{self.algorithm}:{self.hex}" if self.algorithm else "")


def namespace_wanted(text: str, option: str) -> str:
    """Return ``text`` if it is a namespace, else raise :class:`UsageError`."""
    if _NAMESPACE.fullmatch(text) is None:
        raise UsageError(f"{option}: {text[:80]!r} is no name of a namespace")
    return text
