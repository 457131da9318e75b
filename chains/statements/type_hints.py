"""Chains' type hints: params and results become subjects and dependencies, in order of first appearance.

The rules are those of Tekton Chains: ``docs/slsa-provenance.md`` there, and its source where the two differ.
A value that looks like a type hint but is not used becomes a rejection with a reason. The compatible
statements leave it out, as Chains does. The execution report and a warning name it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chains.statements.statement import ResourceDescriptor
from chains.tekton.image_name import ImageDigest, parse_image_digest

Result = tuple[str, Any]
"""Name and value: a string, a list of strings or a mapping of strings."""

_DIGEST_LENGTHS = {"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[a-f0-9]+", re.ASCII)
_SPLIT_IMAGES = re.compile(r"[,\n]")
_OCI_SCHEME = "oci://"
_SHOWN = 256
"""A rejection shows this many characters of a value."""
COMMIT_HINT = "CHAINS-GIT_COMMIT"
URL_HINT = "CHAINS-GIT_URL"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A result or image id that looks like an artifact but is not used, and why."""

    name: str
    reason: str


@dataclass(slots=True)
class Subjects:
    """Subjects merged as in Chains: the same name and one equal digest make one subject."""

    found: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    _by_digest: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def add(self, name: str, digest: Mapping[str, str]) -> None:
        """Add a subject, or add its digests to the first subject of its name with an equal digest."""
        keys = [(name, algorithm, value) for algorithm, value in digest.items()]
        places = [self._by_digest[key] for key in keys if key in self._by_digest]
        if places:
            place = min(places)
            self.found[place][1].update(digest)
        else:
            place = len(self.found)
            self.found.append((name, dict(digest)))
        for key in keys:
            self._by_digest.setdefault(key, place)

    def extend(self, others: Iterable[ResourceDescriptor]) -> None:
        """Add each of ``others``."""
        for other in others:
            self.add(other.name or other.uri, other.digest or {})

    def as_subjects(self) -> list[ResourceDescriptor]:
        """Return them as descriptors with names."""
        return [ResourceDescriptor(name=name, digest=digest) for name, digest in self.found]

    def as_dependencies(self, name: str = "") -> list[ResourceDescriptor]:
        """Return them as descriptors with URIs and this ``name``."""
        return [ResourceDescriptor(name=name, uri=uri, digest=digest) for uri, digest in self.found]


def parse_digest(text: str) -> tuple[str, str] | None:
    """Return (algorithm, hex) of ``algorithm:hex``; None for an unknown algorithm or a wrong length.

    White space and the algorithm's case are ignored, as in Chains, and normalised, unlike in Chains: a digest
    with white space would make verifiers refuse the whole statement.
    """
    algorithm, colon, value = text.partition(":")
    algorithm, value = algorithm.strip().lower(), value.strip()
    if not colon or len(value) != _DIGEST_LENGTHS.get(algorithm) or not _HEX.fullmatch(value):
        return None
    return algorithm, value


def _pairs(results: Sequence[Result], uri_suffix: str, digest_suffix: str) -> list[tuple[str, str, str]]:
    """Return (marker, URI, digest text) of the pairs that share a marker; one side may be empty."""
    partial: dict[str, list[str]] = {}
    for name, value in results:
        for side, suffix in enumerate((uri_suffix, digest_suffix)):
            if name.endswith(suffix) and isinstance(value, str) and value.strip():
                partial.setdefault(name[: -len(suffix)], ["", ""])[side] = value.strip()
    return [(marker, uri, digest) for marker, (uri, digest) in partial.items()]


def _structured(results: Sequence[Result], suffix: str) -> list[tuple[str, str, tuple[str, str], bool]]:
    """Return (result name, URI, digest, is a build artifact) of the valid object results with this suffix."""
    found = []
    for name, value in results:
        if name.endswith(suffix) and isinstance(value, dict) and value.get("uri"):
            digest = parse_digest(value.get("digest", ""))
            if digest is not None:
                found.append((name, value["uri"], digest, value.get("isBuildArtifact") == "true"))
    return found


def images(results: Sequence[Result]) -> list[ImageDigest]:
    """Return the OCI images of ``*IMAGE_URL``/``*IMAGE_DIGEST``, ``IMAGES`` and ``*ARTIFACT_OUTPUTS``."""
    candidates = [
        f"{uri}@{digest}" for _, uri, digest in _pairs(results, "IMAGE_URL", "IMAGE_DIGEST") if uri and digest
    ]
    for name, value in results:
        if name == "IMAGES" and isinstance(value, str):
            candidates += [item.strip() for item in _SPLIT_IMAGES.split(value) if item.strip()]
    candidates += [
        f"{uri}@{algorithm}:{value}"
        for _, uri, (algorithm, value), built in _structured(results, "ARTIFACT_OUTPUTS")
        if built
    ]
    parsed = (parse_image_digest(candidate) for candidate in candidates)
    return list(dict.fromkeys(image for image in parsed if image is not None))


def built_subjects(results: Sequence[Result]) -> list[ResourceDescriptor]:
    """Return the subjects as ``slsa/v2alpha4`` has them: build artifacts first, then images."""
    subjects = Subjects()
    for _, uri, (algorithm, value), built in _structured(results, "ARTIFACT_OUTPUTS"):
        if built:
            subjects.add(uri, {algorithm: value})
    for image in images(results):
        subjects.add(image.repository, {"sha256": image.hex})
    return subjects.as_subjects()


def all_subjects(results: Sequence[Result]) -> list[ResourceDescriptor]:
    """Return the subjects as the older formats have them: images, then artifacts, then object results."""
    subjects = Subjects()
    for image in images(results):
        subjects.add(image.repository, {"sha256": image.hex})
    for _, uri, text in _pairs(results, "ARTIFACT_URI", "ARTIFACT_DIGEST"):
        digest = parse_digest(text)
        if uri and digest is not None:
            subjects.add(uri, {digest[0]: digest[1]})
    for _, uri, (algorithm, value), _ in _structured(results, "ARTIFACT_OUTPUTS"):
        subjects.add(uri, {algorithm: value})
    return subjects.as_subjects()


def input_artifacts(results: Sequence[Result]) -> list[ResourceDescriptor]:
    """Return the ``*ARTIFACT_INPUTS`` object results."""
    subjects = Subjects()
    for _, uri, (algorithm, value), _ in _structured(results, "ARTIFACT_INPUTS"):
        subjects.add(uri, {algorithm: value})
    return subjects.as_dependencies()


def is_image_hint(name: str) -> bool:
    """Return whether a result of this name describes an image. Such a result is no byproduct."""
    return name.endswith(("IMAGE_URL", "IMAGE_DIGEST")) or name == "IMAGES"


def is_byproduct(result: Result) -> bool:
    """Return whether ``slsa/v2alpha4`` lists the result as a byproduct: no image hint, no build artifact.

    Chains also leaves out a malformed ``*ARTIFACT_OUTPUTS`` result. Here it is a rejection.
    """
    name, value = result
    if name.endswith("ARTIFACT_OUTPUTS"):
        return isinstance(value, dict) and value.get("isBuildArtifact") != "true"
    return not is_image_hint(name)


def spdx_git(url: str) -> str:
    """Return a repository's URL in the form of SPDX: with ``git+`` in front and ``.git`` at the end."""
    url = url if url.startswith("git+") else "git+" + url
    return url if url.endswith(".git") else url + ".git"


def git_hint(*sources: Iterable[Result]) -> tuple[str, str]:
    """Return (commit, URL) of the git type hints. Later sources, and later entries in one, win."""
    commit = url = ""
    for source in sources:
        for name, value in source:
            if name == COMMIT_HINT:
                commit = value if isinstance(value, str) else ""
            elif name == URL_HINT:
                url = value if isinstance(value, str) else ""
    return commit, url


def image_dependency(image_id: str) -> ResourceDescriptor | None:
    """Return a container's ``imageID`` as a dependency, None if it has no digest.

    Chains fails its whole payload for such an id, which CRI-O reports at times. Here the rest is attested.
    """
    name, at, digest = image_id.partition("@")
    algorithm, colon, value = digest.partition(":")
    if not at or not colon or "@" in digest or ":" in value:
        return None
    return ResourceDescriptor(
        uri=_OCI_SCHEME + name.removeprefix("docker-pullable://"), digest={algorithm: value}
    )


def rejections(results: Sequence[Result]) -> Iterator[Rejection]:
    """Yield the results that look like type hints but that no format uses, with the reason."""
    yield from _rejected_pairs(results, "IMAGE_URL", "IMAGE_DIGEST")
    yield from _rejected_pairs(results, "ARTIFACT_URI", "ARTIFACT_DIGEST")
    yield from _rejected_lists(results)
    yield from _rejected_objects(results)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _rejected_pairs(results: Sequence[Result], uri_suffix: str, digest_suffix: str) -> Iterable[Rejection]:
    for name, value in results:
        if name.endswith((uri_suffix, digest_suffix)) and not (isinstance(value, str) and value.strip()):
            yield Rejection(name, "expected a string that is not empty")
    for marker, uri, digest in _pairs(results, uri_suffix, digest_suffix):
        if not uri:
            yield Rejection(marker + digest_suffix, f"no result {marker}{uri_suffix} to go with it")
        elif not digest:
            yield Rejection(marker + uri_suffix, f"no result {marker}{digest_suffix} to go with it")
        elif uri_suffix == "IMAGE_URL" and parse_image_digest(f"{uri}@{digest}") is None:
            yield Rejection(
                marker + uri_suffix, f"{_cut(f'{uri}@{digest}')} is no image with a sha256 digest"
            )
        elif parse_digest(digest) is None:
            yield Rejection(marker + digest_suffix, f"{_cut(digest)!r} is no digest: expected algorithm:hex")


def _rejected_lists(results: Sequence[Result]) -> Iterable[Rejection]:
    for name, value in results:
        if name == "IMAGES":
            if not isinstance(value, str):
                yield Rejection(name, "expected a string of images, got a list or an object")
                continue
            for item in filter(None, map(str.strip, _SPLIT_IMAGES.split(value))):
                if parse_image_digest(item) is None:
                    yield Rejection(name, f"{_cut(item)!r} is no image with a sha256 digest")


def _rejected_objects(results: Sequence[Result]) -> Iterable[Rejection]:
    for name, value in results:
        if not name.endswith(("ARTIFACT_OUTPUTS", "ARTIFACT_INPUTS")):
            continue
        if not isinstance(value, dict):
            yield Rejection(name, "expected an object with uri and digest")
        elif not value.get("uri"):
            yield Rejection(name, "the object has no uri")
        elif parse_digest(value.get("digest", "")) is None:
            yield Rejection(name, f"{_cut(value.get('digest', ''))!r} is no digest: expected algorithm:hex")
