"""Source repositories in one canonical spelling, so that equal sources compare equal and others never do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from chains.policy.document.patterns import path_matches
from chains.statements import slsa_names
from chains.statements.claims import build_type
from chains.statements.statement import SLSA_V02, Statement
from chains.tekton.raw import objects_at, text_at

_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9.-]+):(?P<path>[^/:][^:]*)")
_SCHEMES = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_PLACE = re.compile(r"(?:[A-Za-z0-9._~:%+-]*@)?(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~+-]+)+")
_GIT = re.compile(r"git[+:@]|ssh(?:\+git)?:|[a-z0-9._-]+@(?!sha\d+:)[a-z0-9.-]+:")
_GIT_END = re.compile(r"\.git/*(?:[@?#].*)?$", re.DOTALL)
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Source:
    """A repository as ``git+SCHEME://HOST/PATH`` without ``.git``, and the ref that its URI names, if any."""

    uri: str
    ref: str = ""

    def __str__(self) -> str:
        return f"{self.uri}@{self.ref}" if self.ref else self.uri


def canonical(text: str) -> Source | None:
    """Return the canonical spelling of a repository's URI, ``None`` for what is none.

    The host is put in lower case; user names, the scheme's own port, ``.git`` and a slash at the end are left
    out; ``git@host:path`` is ``git+ssh``. ``@REF`` after the path is the ref. A path with ``..``, escapes, a
    query or a fragment has more than one reading and is refused.
    """
    head, separator, rest = _spelled_out(text).partition("://")
    # a ref may hold slashes; a user name stands before the first one
    place, slash, path = rest.partition("/")
    path, _, ref = path.partition("@")
    # urlsplit() leaves out blanks before the scheme, and line ends and tabs everywhere
    if not separator or _PLACE.fullmatch(place) is None or any(char <= " " for char in head + path):
        return None
    try:
        parts = urlsplit(f"{head}{separator}{place}{slash}{path}")
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    name = parts.path.rstrip("/").removesuffix(".git").rstrip("/")
    is_plain = not parts.query and not parts.fragment and not {".", ".."} & set(name.split("/"))
    if scheme not in _SCHEMES or not host or not is_plain or _PATH.fullmatch(name) is None:
        return None
    own = "" if port in {None, _SCHEMES[scheme]} else f":{port}"
    host = f"[{host}]" if ":" in host else host
    return Source(f"git+{scheme}://{host}{own}{name}", ref)


def _spelled_out(text: str) -> str:
    """Return a URI without ``git+``, and ``user@host:path`` as a URI; empty for what is too long."""
    bare = text.removeprefix("git+") if len(text) <= _LONGEST else ""
    match = _SCP.fullmatch(bare) if "://" not in bare else None
    return f"ssh://{match['host']}/{match['path']}" if match else bare


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
