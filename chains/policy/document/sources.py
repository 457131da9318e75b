"""Source repositories that policies allow, and those that provenance names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chains.policy.document.patterns import path_matches
from chains.statements import slsa_names
from chains.statements.claims import build_type
from chains.statements.repositories import Source, canonical
from chains.statements.statement import SLSA_V02, Statement
from chains.tekton.raw import objects_at, text_at

_GIT = re.compile(r"git[+:@]|ssh(?:\+git)?:|[a-z0-9._-]+@(?!sha\d+:)[a-z0-9.-]+:")
_GIT_END = re.compile(r"\.git/*(?:[@?#].*)?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SourceAllowed:
    """A repository that a policy lists, and patterns of the refs that may be built; none is any."""

    uri: str
    refs: tuple[str, ...] = ()

    def allows(self, source: Source) -> bool:
        """Whether a build from this source is allowed."""
        if source.uri != self.uri:
            return False
        return not self.refs or any(path_matches(ref, source.ref) for ref in self.refs)

    def __str__(self) -> str:
        return self.uri + (f" at {' or '.join(self.refs)}" if self.refs else "")


def git_sources(statement: Statement) -> Sequence[tuple[str, Source | None]]:
    """Return the git repositories that provenance names as inputs, as written and in canonical spelling.

    Of Tekton's provenance these are the inputs that the task itself named; of other builders' all resolved
    dependencies, and of the old format all materials. What is no git repository, such as an image, is left
    out. An input of Tekton's or a material without a digest has no spelling: it does not say what was built.
    """
    return statement.once(_git_sources)


def _git_sources(statement: Statement) -> Sequence[tuple[str, Source | None]]:
    is_tekton = True
    if statement.predicate_type == SLSA_V02:
        found = objects_at(statement.predicate, "materials")
    else:
        found = objects_at(statement.predicate, "buildDefinition", "resolvedDependencies")
        is_tekton = build_type(statement) in slsa_names.BUILD_TYPES
        if is_tekton:
            found = [item for item in found if item.get("name") == slsa_names.INPUT]
    return [
        (uri, canonical(uri) if _has_digest(item) or not is_tekton else None)
        for item in found
        if _is_git(uri := text_at(item, "uri"))
    ]


def _has_digest(item: Mapping[str, Any]) -> bool:
    digest = item.get("digest")
    return isinstance(digest, Mapping) and bool(digest)


def _is_git(uri: str) -> bool:
    """Whether a URI names a git repository, however it is spelled."""
    text = uri.strip().lower()
    return _GIT.match(text) is not None or _GIT_END.search(text) is not None
