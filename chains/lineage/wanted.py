"""What is looked for: keys, identities, builders, step images, Tasks, commits and dependencies.

Several values of one kind mean any of them; several kinds mean all of them, on one statement.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from chains.errors import UsageError
from chains.lineage.signing import Match, Searched, Signed
from chains.lineage.statement_facts import Facts, Input, Role
from chains.text import excerpt
from storage.errors import StoreRejected
from storage.formats.reference import canonical, parse_image

_KEYID = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_DIGEST = re.compile(r"(?P<algorithm>[A-Za-z0-9_]{1,40}):(?P<hex>[0-9A-Fa-f]{2,256})")
_BARE = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}")
_LENGTHS = {"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
_COMMIT = re.compile(
    r"(?:(?P<repository>.+)@)?(?:(?:sha1|sha256|gitCommit):)?(?P<sha>[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})"
)
_COMMITS = ("sha1:", "gitCommit:", "sha256:")
_SCP = re.compile(r"(?:[^@/:]*@)?(?P<host>[^@/:\[\]]+|\[[^\]/]*\]):(?P<path>(?!\d+/)[^:]+)")
"""``user@host:path``, and no ``host:port/path``."""
_PORT = re.compile(r":\d*$")
_REVISION = re.compile(r"[?#].*", re.DOTALL)
"""What follows the revision in the URI of a git repository."""
_SHOWN = 100
_LONGEST = 2048
"""Characters that are kept of the URI of an input."""


class Kind(StrEnum):
    """A kind of criterion, named as its option."""

    KEY = "key"
    IDENTITY = "identity"
    BUILDER = "builder"
    STEP_IMAGE = "step-image"
    TASK = "task"
    COMMIT = "commit"
    DEPENDENCY = "dependency"


@dataclass(frozen=True, slots=True)
class InputWanted:
    """An input of a run: by ``digest``, or by what its URI, or the name of a Task, has to be.

    ``text`` is what the user wrote.
    """

    text: str
    digest: str = ""
    uri: Callable[[str], bool] = field(default=lambda _: False, compare=False, repr=False)

    def fits(self, one: Input) -> bool:
        """Whether an input is the wanted one."""
        if not self.digest:
            return self.uri(one.uri)
        return any(digest in one.digests for digest in names_of(self.digest))


@dataclass(frozen=True, slots=True)
class CommitWanted:
    """A commit of git, in one repository or in any."""

    sha: str
    repository: str = ""

    def fits(self, one: Input) -> bool:
        """Whether an input is the commit: a source, or the definition of a Task or Pipeline."""
        is_named = _REVISION.sub("", one.uri).lower().endswith(f"@{self.sha}")
        if not is_named and not any(f"{name}{self.sha}" in one.digests for name in _COMMITS):
            return False
        is_git = one.uri.startswith("git") or not any(digest.startswith("sha256:") for digest in one.digests)
        return is_git if not self.repository else _repository(one.uri) == _repository(self.repository)

    @property
    def text(self) -> str:
        """The commit as the user wrote it."""
        return f"{self.repository}@{self.sha}" if self.repository else self.sha


@dataclass(frozen=True, slots=True)
class Wanted:
    """The criteria of a question. Raises :class:`UsageError` if there is none."""

    signers: Searched = field(default_factory=Searched)
    builders: Sequence[str] = ()
    step_images: Sequence[InputWanted] = ()
    tasks: Sequence[InputWanted] = ()
    commits: Sequence[CommitWanted] = ()
    dependencies: Sequence[InputWanted] = ()

    def __post_init__(self) -> None:
        if not self.kinds:
            names = ", ".join(f"--{kind}" for kind in Kind)
            raise UsageError(f"nothing to look for: pass one of {names}")
        if "" in self.builders:
            raise UsageError("--builder is empty: pass the id of a builder")

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds that a statement must match, all of them."""
        signers = self.signers
        given: Mapping[Kind, Sequence[object]] = {
            Kind.KEY: (*signers.keys, *signers.keyids),
            Kind.IDENTITY: signers.identities,
            Kind.BUILDER: self.builders,
            Kind.STEP_IMAGE: self.step_images,
            Kind.TASK: self.tasks,
            Kind.COMMIT: self.commits,
            Kind.DEPENDENCY: self.dependencies,
        }
        return frozenset(kind for kind, values in given.items() if values)

    def to_json(self) -> dict[str, list[str]]:
        """Return the criteria as they are printed."""
        signers = self.signers
        told = {
            Kind.KEY: [*(key.keyid for key in signers.keys), *signers.keyids],
            Kind.IDENTITY: [str(one) for one in signers.identities],
            Kind.BUILDER: list(self.builders),
            Kind.STEP_IMAGE: [one.text for one in self.step_images],
            Kind.TASK: [one.text for one in self.tasks],
            Kind.COMMIT: [one.text for one in self.commits],
            Kind.DEPENDENCY: [one.text for one in self.dependencies],
        }
        return {kind.value: values for kind, values in told.items() if values}

    def match(self, facts: Facts) -> dict[Kind, Match]:
        """Return what a statement says that is looked for, by kind: the builder, the image and so on."""
        found = {Kind.BUILDER: Match(facts.builder)} if facts.builder in self.builders else {}
        of_task = {Role.TASK} if facts.are_roles_known else set(Role)
        asked: Iterable[tuple[Kind, Sequence[InputWanted | CommitWanted], set[Role]]] = (
            (Kind.STEP_IMAGE, self.step_images, {Role.STEP_IMAGE}),
            (Kind.TASK, self.tasks, of_task),
            (Kind.COMMIT, self.commits, set(Role)),
            (Kind.DEPENDENCY, self.dependencies, set(Role)),
        )
        for kind, values, roles in asked:
            first = next(_fitting(values, facts.inputs, roles), None)
            if first is not None:
                found[kind] = Match(_spelled(first))
        if Kind.TASK not in found and self.tasks:
            named = (task for one in self.tasks if not one.digest for task in facts.tasks if one.uri(task))
            name = min(named, default="")
            if name:
                found[Kind.TASK] = Match(excerpt(name, _LONGEST))
        return found

    def match_signer(self, signed: Signed) -> dict[Kind, Match]:
        """Return which of the signers that are looked for signed it, or are claimed to have."""
        told = {Kind.KEY: signed.key, Kind.IDENTITY: signed.identity}
        return {kind: value for kind, value in told.items() if value is not None}


def _fitting(
    values: Sequence[InputWanted | CommitWanted], inputs: Sequence[Input], roles: set[Role]
) -> Iterator[Input]:
    return (one for wanted in values for one in inputs if one.role in roles and wanted.fits(one))


def _spelled(one: Input) -> str:
    digest, uri = one.digests[0] if one.digests else "", excerpt(one.uri, _LONGEST)
    return f"{uri}@{digest}" if uri and digest else uri or digest


def is_keyid(text: str) -> str:
    """Return the key id that a word is (``SHA256:…``, or ``keyid:…`` for other tools'), or an empty text."""
    if text.startswith("keyid:"):
        return text.removeprefix("keyid:")
    return text if _KEYID.fullmatch(text) else ""


def step_image_wanted(text: str) -> InputWanted:
    """Read ``sha256:HEX``, ``IMAGE@sha256:HEX`` or ``REGISTRY/REPOSITORY``. Raises :class:`UsageError`."""
    digest = _digest(text, "--step-image")
    if digest:
        return InputWanted(text, digest)
    return InputWanted(text, uri=_of_repository(text, "--step-image"))


def task_wanted(text: str) -> InputWanted:
    """Read a digest, a name, a path in a repository, or the reference of a bundle.

    Raises :class:`UsageError`.
    """
    digest = _digest(text, "--task")
    if digest:
        return InputWanted(text, digest)
    if not text:
        raise UsageError("--task is empty: pass a digest, a name or the reference of a bundle")
    try:
        is_bundle = _of_repository(text, "--task")
    except UsageError:
        return InputWanted(text, uri=lambda word: word == text)
    return InputWanted(text, uri=lambda word: word == text or is_bundle(word))


def commit_wanted(text: str) -> CommitWanted:
    """Read ``SHA`` or ``REPOSITORY@SHA``. Raises :class:`UsageError`: a shortened one names no commit."""
    match = _COMMIT.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--commit: {text[:_SHOWN]!r}: expected SHA or REPOSITORY@SHA, with all 40 or 64 hex digits"
        )
    return CommitWanted(match["sha"].lower(), match["repository"] or "")


def dependency_wanted(text: str) -> InputWanted:
    """Read ``algorithm:HEX``, ``URI@algorithm:HEX``, or a URI in which ``*`` stands for any characters.

    Raises :class:`UsageError`.
    """
    digest = _digest(text, "--dependency")
    if digest:
        return InputWanted(text, digest)
    if not text.strip("*"):
        raise UsageError("--dependency: pass a digest or a URI; this one fits everything")
    # brackets stand for themselves, as in the address of a host
    pattern = re.compile(fnmatch.translate(text.replace("[", "[[]")))
    return InputWanted(
        text, uri=lambda uri: any(map(pattern.match, {uri, uri.removeprefix("oci://")} - {""}))
    )


def _digest(text: str, option: str) -> str:
    """Return the digest that a word is or ends with, empty if it has none. Raises :class:`UsageError`.

    The hex digits of a commit or of a SHA-256 alone are a digest, too: no name looks like that.
    """
    last = text.rpartition("@")[2]
    if _BARE.fullmatch(last):
        last = f"{'sha1' if len(last) == _LENGTHS['sha1'] else 'sha256'}:{last}"
    match = _DIGEST.fullmatch(last)
    if match is None:
        return ""
    name = match["algorithm"]
    expected = _LENGTHS.get(name)
    if expected is None and name != "gitCommit":
        return ""  # host:port, and the like
    if expected not in {None, len(match["hex"])}:
        told = f"{name} has {expected} hex digits, got {len(match['hex'])}"
        raise UsageError(f"{option}: {text[:_SHOWN]!r}: {told}")
    return f"{name}:{match['hex'].lower()}"


def names_of(digest: str) -> tuple[str, ...]:
    """Return a digest by every name that in-toto has for it: that of a commit may be ``gitCommit``."""
    name, _, value = digest.partition(":")
    algorithm = next((one for one in ("sha1", "sha256") if _LENGTHS[one] == len(value)), name)
    if name not in {"gitCommit", algorithm}:
        return (digest,)
    return tuple(dict.fromkeys((digest, f"{algorithm}:{value}", f"gitCommit:{value}")))


def _of_repository(text: str, option: str) -> Callable[[str], bool]:
    """Return whether a URI is an image of the same repository, whatever its tag, digest and spelling."""
    try:
        wanted = canonical(parse_image(text).repository)
    except StoreRejected as error:
        raise UsageError(f"{option}: {error}: expected a digest or REGISTRY/REPOSITORY") from error

    def fits(uri: str) -> bool:
        try:
            return canonical(parse_image(uri).repository) == wanted
        except StoreRejected:
            return False

    return fits


def _repository(uri: str) -> str:
    """Return where a git repository lies, in one spelling: host and path.

    One repository is reached by several schemes and ports, and ``git@host:path`` is ssh. A commit is the same
    by each of them. User, revision, ``.git`` and a trailing slash are no part of it.
    """
    text = uri.removeprefix("git+").partition("#")[0].partition("?")[0]
    scheme, separator, rest = text.partition("://")
    match = None if separator else _SCP.fullmatch(text)
    if match is not None:
        host, path = match["host"], match["path"]
    else:
        authority, _, path = (rest if separator else scheme).partition("/")
        host = _PORT.sub("", authority.rpartition("@")[2])
    path = path.partition("@")[0].strip("/").removesuffix(".git").rstrip("/")
    return f"{host.lower()}/{path}"
