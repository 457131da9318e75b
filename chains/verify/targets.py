"""The meaning of a word on the command line: an image with digest, a digest, a run file or a bundle file.

The form of the word decides, so that a file in the working folder cannot take the place of an image: see
:func:`parse_target`. A tag is refused unless it may be resolved. It is resolved once, and its digest is
verified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

import orjson

from chains.documents.load import read_bytes, read_standard_input
from chains.errors import InputError, UsageError
from chains.tekton.image_name import parse_image_digest, parse_repository
from signers.formats.bundle import MAX_BUNDLE_BYTES
from storage import lean_json
from storage.base import Store
from storage.errors import StoreError, StoreRejected
from storage.formats.reference import PREFIXES, Image, parse_image

STDIN = "-"
MOST_FILE = 48 * 1024 * 1024
"""Bytes of the largest file. It is held in several forms while it is verified."""
_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_DIGEST = re.compile(r"(?:((?i:sha\d+|md5)):)?([0-9A-Fa-f]*)", re.ASCII)
_BUNDLE_MEMBERS = ("verificationMaterial", "dsseEnvelope", "messageSignature")
_ENVELOPE_MEMBERS = ("payloadType", "signatures")
_RUN_MEMBERS = ("kind", "apiVersion", "metadata", "spec", "status", "items")
_BROKEN_BUNDLE = re.compile(rb'"(?:verificationMaterial|dsseEnvelope|application/vnd\.dev\.sigstore\.bundle)')
_BROKEN_ENVELOPE = re.compile(rb'"(?:payloadType|signatures)"\s*:')
_RUN = re.compile(rb'"(?:kind|apiVersion)"\s*:')
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_WITH_DIGEST = re.compile(r"@[A-Za-z0-9+._-]+:")
_FILE_PREFIXES = (".", "/")
_FILE_SUFFIXES = (".json", ".jsonl", ".yaml", ".yml", ".sigstore", ".bundle")
_LOOKED_AT = 1 << 20


@dataclass(frozen=True, slots=True)
class DigestTarget:
    """A subject's digest, ``algorithm:hex``, and its repository if the user named it."""

    ref: str
    digest: str
    reference: str = ""


@dataclass(frozen=True, slots=True)
class TagTarget:
    """An image by tag, to be resolved before anything is verified."""

    ref: str


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A file's bytes; ``kind`` is ``run``, ``bundle`` or ``dsse``; ``path`` is None for standard input."""

    ref: str
    kind: str
    data: bytes = field(repr=False)
    path: Path | None = None

    def is_in(self, folder: Path) -> bool:
        """Whether the file is in a folder or below it, after links are resolved."""
        return self.path is not None and self.path.resolve().is_relative_to(folder.resolve())


ParsedTarget = DigestTarget | TagTarget | FileTarget


class TagResolver(Protocol):
    """Looks up the current digest of a tag."""

    async def resolve(self, reference: str) -> str:
        """Return ``sha256:hex`` of ``registry/repository:tag``.

        Raises :class:`UsageError` when there is no such tag, and :class:`storage.errors.StoreError`.
        """


async def resolved_image(reference: str, resolver: TagResolver | None) -> Image:
    """Return an image with its digest, that of its tag if it names none.

    Raises :class:`UsageError` for what is no image, and for a tag that cannot be resolved.
    """
    try:
        image = parse_image(reference)
    except StoreRejected as error:
        raise UsageError(str(error)) from error
    if image.digest:
        return image
    if resolver is None:
        raise UsageError(f"{reference} names a tag and nothing here can resolve it: give the image's digest")
    try:
        return replace(image, digest=await resolver.resolve(reference))
    except StoreError as error:
        raise UsageError(f"{reference}: the tag cannot be resolved: {error}") from error


Answer = TypeVar("Answer", covariant=True)  # noqa: PLC0105 - read as the word that it stands for


class ImagePolicy(Protocol[Answer]):
    """Decides about images, with an answer of its own; :class:`chains.policy.loaded.Policy` does."""

    async def decide(
        self,
        image: Image,
        *,
        stores: Sequence[Store],
        now: datetime,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer about an image with a digest, which runs in a namespace with these labels."""


def parse_target(word: str, *, resolve: bool = False) -> ParsedTarget:
    """Return what ``word`` means; a file or ``-`` (standard input) is read.

    In this order: ``-``; a digest; a file if the word begins with ``/`` or ``.``; an image if it begins with
    ``oci://`` or ``docker://`` or has a digest; with ``resolve``, an image if it has the form of one; a file
    if it has a known suffix or exists. Raises :class:`UsageError` for a file whose name has the form of an
    image with a tag, for a tag without ``resolve``, and for anything else.
    """
    if not word:
        raise UsageError("an empty word is no target: name an image with digest, a digest or a file")
    if word == STDIN:
        try:
            return _file("standard input", read_standard_input(MOST_FILE))
        except InputError as error:
            raise UsageError(str(error)) from error
    digest = _DIGEST.fullmatch(word)
    if digest is not None and (digest[1] or len(digest[2]) == _LENGTHS["sha256"]):
        return DigestTarget(word, parse_digest(word))
    if word.startswith(_FILE_PREFIXES):
        return _read(word)
    if word.startswith(PREFIXES) or _WITH_DIGEST.search(word):
        return _image(word, resolve=resolve)
    return _image_or_file(word, resolve=resolve)


def _image_or_file(word: str, *, resolve: bool) -> ParsedTarget:
    is_image, has_suffix = _is_image_form(word), word.endswith(_FILE_SUFFIXES)
    is_there = _exists(Path(word))
    if is_image and not resolve and not has_suffix and is_there:
        raise UsageError(
            f"{word} is a file here and has the form of an image: write ./{word} for the file, or give the "
            f"image's digest ({word}@sha256:…), or pass --resolve to look it up"
        )
    if (has_suffix or is_there) and not (is_image and resolve):
        return _read(word)
    return _image(word, resolve=resolve)


def _is_image_form(word: str) -> bool:
    """Whether a word has the form ``registry/repository[:tag]``, or ``repository:tag`` of Docker Hub."""
    try:
        parse_image(word)
    except StoreRejected:
        name, colon, tag = word.rpartition(":")
        return bool(colon) and _TAG.fullmatch(tag) is not None and parse_repository(name) is not None
    return True


def _read(word: str) -> FileTarget:
    path = Path(word)
    if not _exists(path):
        raise UsageError(f"{word}: no such file")
    if path.is_dir():
        raise UsageError(f"{word} is a folder: name the files in it")
    try:
        return _file(word, read_bytes(path, MOST_FILE), path)
    except InputError as error:
        raise UsageError(str(error)) from error


def parse_digest(text: str) -> str:
    """Return ``algorithm:hex`` for a digest given by a user; bare hex is SHA-256.

    Raises :class:`UsageError` for any other algorithm, length or case.
    """
    match = _DIGEST.fullmatch(text)
    algorithm, value = (match[1] or "sha256", match[2]) if match else ("", "")
    if _LENGTHS.get(algorithm) != len(value):
        raise UsageError(f"{text!r} is no digest: expected sha256: and 64 hex digits, or sha384: or sha512:")
    if value != value.lower():
        raise UsageError(f"{text!r} is no digest: write the hex digits in lower case")
    return f"{algorithm}:{value}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # the name is too long or has a null character
        return False


def _image(word: str, *, resolve: bool) -> DigestTarget | TagTarget:
    bare = word.removeprefix("oci://").removeprefix("docker://")
    if "@" in bare:
        image = parse_image_digest(bare)
        if image is None:
            raise UsageError(
                f"{word!r} is no image with digest: expected registry/repository@sha256: and 64 hex digits"
            )
        return DigestTarget(word, f"sha256:{image.hex}", image.repository)
    try:
        parse_image(word)
    except StoreRejected as error:
        raise UsageError(
            f"{word!r} is no target: it is no image with digest, no digest (sha256: and 64 hex digits), no "
            f"image with a registry, and no file is there or meant (write ./NAME for one): {error}"
        ) from error
    if not resolve:
        raise UsageError(
            f"{word} names a tag, which can point elsewhere the next moment: give {bare}@sha256:…, or pass "
            "--resolve to look the digest up once and verify that"
        )
    return TagTarget(bare)


def _file(ref: str, data: bytes, path: Path | None = None) -> FileTarget:
    kind = _kind(data)
    if kind == "both":
        raise UsageError(f"{ref} is a run and evidence in one object: verify each in a file of its own")
    return FileTarget(ref, kind, data, path)


def _kind(data: bytes) -> str:
    """Return whether a file is evidence or a run, by its members, or by its text if it is broken JSON."""
    text = data[:_LOOKED_AT].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text.startswith(b"{"):
        return "run"
    if len(data) <= MAX_BUNDLE_BYTES:
        try:
            members = lean_json.loads(data.lstrip(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError:
            pass
        else:
            kinds = [
                kind
                for kind, names in (
                    ("bundle", _BUNDLE_MEMBERS),
                    ("dsse", _ENVELOPE_MEMBERS),
                    ("run", _RUN_MEMBERS),
                )
                if any(name in members for name in names)
            ]
            if "run" in kinds and len(kinds) > 1:
                return "both"
            return kinds[0] if kinds else "run"
    if _RUN.search(text):
        return "run"
    if _BROKEN_BUNDLE.search(text):
        return "bundle"
    return "dsse" if _BROKEN_ENVELOPE.search(text) else "run"
