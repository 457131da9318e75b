"""What a statement must be about: a digest, a file, or nothing; ``run`` adds runs.

Subjects match by digest only (in-toto's validation model). Names are ignored, any subject may match, and
every algorithm that both sides have must agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from chains.statements.claims import run_uid
from chains.statements.statement import ResourceDescriptor, Statement
from chains.text import count
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Check

_NAMED = 4
"""Subjects that are listed on one line."""


@dataclass(frozen=True)
class Authentic:
    """A statement that somebody trusted signed; ``payload`` are the signed bytes."""

    statement: Statement
    payload: bytes

    @cached_property
    def run_uid(self) -> str:
        """The UID of the run that the statement names, empty for none."""
        return run_uid(self.statement)


class Wanted(Protocol):
    """What a statement must be about."""

    def match(self, found: Authentic) -> list[Check]:
        """Return the checks of step 6, at least one."""

    def is_image(self, sha256: str) -> bool:
        """Whether the image with this digest is the wanted one, for image signatures."""


@dataclass(frozen=True, slots=True)
class DigestWanted:
    """A subject with this digest set."""

    digest: Mapping[str, str]

    def match(self, found: Authentic) -> list[Check]:
        """Step 6: one subject shares an algorithm, and no shared value differs."""
        subjects = found.statement.subjects
        expected = spell(self.digest)
        if any(self.fits(subject.digest or {}) for subject in subjects):
            return [Check("subject", Result.PASS, expected, expected)]
        actual = _listed([spell(one.digest or {}) for one in subjects])
        return [Check("subject", Result.FAIL, expected, actual, Reason.SUBJECT_MISMATCH)]

    def is_image(self, sha256: str) -> bool:
        """Whether this is the wanted digest."""
        return self.fits({"sha256": sha256})

    def fits(self, digest: Mapping[str, str]) -> bool:
        """Whether a digest set is of the wanted artifact: a shared algorithm, and no shared value differs."""
        common = self.digest.keys() & digest.keys()
        return bool(common) and all(digest[name] == self.digest[name] for name in common)


@dataclass(frozen=True, slots=True)
class BlobWanted(DigestWanted):
    """A file: the subject of a statement, or the content of a message signature."""

    data: bytes = field(repr=False)

    @classmethod
    def of(cls, data: bytes) -> BlobWanted:
        """Return the wanted file with its digest in every algorithm that statements use."""
        names = ("sha256", "sha384", "sha512")
        return cls({name: hashlib.new(name, data).hexdigest() for name in names}, data)


class NothingWanted:
    """No artifact: a bundle file alone. A skipped check says what its statement is about."""

    def match(self, found: Authentic) -> list[Check]:
        """Step 6, skipped; the check says what the statement is about."""
        named = [_named(one) for one in found.statement.subjects]
        actual = f"subject: not compared; it speaks for {_listed(named)}"
        return [
            Check("subject", Result.SKIP, "an artifact's digest was not given", actual, Reason.NOT_COMPARED)
        ]

    def is_image(self, sha256: str) -> bool:
        """Return False: no image is wanted."""
        del sha256
        return False


def spell(digest: Mapping[str, str]) -> str:
    """Return a digest set as text."""
    return " ".join(f"{name}:{value}" for name, value in digest.items())


def _named(subject: ResourceDescriptor) -> str:
    return f"{subject.name or '(no name)'} {spell(subject.digest or {})}"


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{count(len(names), 'subject')}: {', '.join(names[:_NAMED])}{more}" if names else "no subject"
