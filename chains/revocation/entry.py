"""One entry of a revocation list: what is revoked, since when, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from chains.documents.regexps import regexp_problem
from chains.documents.whole_match import whole_match
from chains.text import plain, rfc3339
from signers.errors import FormatError

LONGEST_NAME = 2048
"""Characters of the longest id, identity, issuer or reason."""
_KEYID = re.compile(r"SHA256:[A-Za-z0-9+/]{43}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_LENGTHS = {"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}


class Kind(StrEnum):
    """What an entry is about, by its name in the document."""

    KEY = "key"
    IDENTITY = "identity"
    IMAGE = "image"
    BUILDER = "builder"
    VERIFIER = "verifier"
    TASK = "task"


@lru_cache(maxsize=16_384)
def _matches(pattern: str, name: str) -> bool:
    """Whether a name fits an expression as a whole; :func:`check_name` refuses what cannot be compared."""
    expression = whole_match(pattern)
    return expression is None or expression.matches(name)


@dataclass(frozen=True, slots=True)
class Name:
    """An identity or an issuer: exactly ``value``, or matched by that regular expression as a whole."""

    value: str
    is_regexp: bool = False

    def matches(self, name: str) -> bool:
        """Whether ``name`` is this one. An empty name is never; one too long to be compared counts as it."""
        if not name or not self.is_regexp:
            return name == self.value != ""
        return len(name) > LONGEST_NAME or _matches(self.value, name)

    def __str__(self) -> str:
        return f"matching {self.value}" if self.is_regexp else self.value


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of certificates together with its issuer. Both must match."""

    san: Name
    issuer: Name

    @property
    def is_exact(self) -> bool:
        """Whether both are names, and no expressions."""
        return not (self.san.is_regexp or self.issuer.is_regexp)

    def to_json(self) -> dict[str, str]:
        """Return it as the document has it."""
        return {
            "sanRegexp" if self.san.is_regexp else "san": self.san.value,
            "issuerRegexp" if self.issuer.is_regexp else "issuer": self.issuer.value,
        }

    def __str__(self) -> str:
        return f"{self.san} (issuer {self.issuer})"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is revoked.

    ``value`` is a key id, ``algorithm:hex`` of an image or a Task, or the id of a builder or verifier;
    ``identity`` is set in its place for a certificate identity.
    """

    kind: Kind
    value: str
    reason: str
    since: datetime | None = None
    until: datetime | None = None
    """Only for identities: when the identity was in good hands again."""
    identity: Identity | None = None

    @property
    def name(self) -> str:
        """What is revoked, for people."""
        return str(self.identity) if self.identity else self.value

    @property
    def subject(self) -> tuple[str, str]:
        """What no second entry may be about, and the order of entries in a document."""
        if self.identity is None:
            return self.kind.value, self.value
        window = f"{self.since or ''}/{self.until or ''}"
        return self.kind.value, f"{self.identity}\n{window}"

    @property
    def is_limited(self) -> bool:
        """Whether evidence of some times may count. Of an image none does: ``since`` is a note there."""
        return self.kind is not Kind.IMAGE and not (self.since is None and self.until is None)

    def strikes(self, times: Sequence[datetime]) -> bool:
        """Whether evidence with these verified times does not count.

        It counts only if it has a verified time and each of them is outside of ``since`` and ``until``: a
        key set's windows are compared with every verified time, too.
        """
        return not times or any(
            (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)
            for moment in times
        )

    def covers(self, other: Entry) -> bool:
        """Whether this entry revokes at least what an entry about the same thing does."""
        begins = self.since is None or (other.since is not None and self.since <= other.since)
        ends = self.until is None or (other.until is not None and self.until >= other.until)
        return (self.kind, self.value, self.identity) == (other.kind, other.value, other.identity) and (
            begins and ends
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entry as the document has it."""
        written: dict[str, Any] = {self.kind.value: self.identity.to_json() if self.identity else self.value}
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None:
                written[name] = exact_time(moment)
        return written | {"reason": self.reason}

    def __str__(self) -> str:
        begin = f" since {rfc3339(self.since)}" if self.since else ""
        end = f" until {rfc3339(self.until)}" if self.until else ""
        return f"{self.kind.value} {self.name} is revoked{begin}{end}: {self.reason}"


def exact_time(moment: datetime) -> str:
    """Return a time in UTC as documents have it, with its fraction of a second if there is one."""
    return moment.isoformat().replace("+00:00", "Z")


def check_value(kind: Kind, value: str) -> str:
    """Return the value of an entry as it is compared. Raises :class:`FormatError` for another form."""
    if not value or len(value) > LONGEST_NAME:
        raise FormatError(f"{kind.value}: expected 1 to {LONGEST_NAME} characters, got {len(value)}")
    if kind is Kind.KEY and not _KEYID.fullmatch(value):
        raise FormatError(f"key: expected SHA256: and 43 characters of base64, got {value[:80]!r}")
    if kind in {Kind.BUILDER, Kind.VERIFIER} and (" " in value or plain(value) != value):
        raise FormatError(f"{kind.value}: expected an id without spaces, got {value[:80]!r}")
    if kind in {Kind.IMAGE, Kind.TASK}:
        _check_digest(kind, value)
    return value


def _check_digest(kind: Kind, value: str) -> None:
    algorithm, _, text = value.partition(":")
    known = [name for name in _LENGTHS if kind is Kind.TASK or name != "sha1"]
    if algorithm not in known or len(text) != _LENGTHS[algorithm] or not _HEX.fullmatch(text):
        raise FormatError(
            f"{kind.value}: expected {' or '.join(known)}, a colon and lower-case hex, got {value[:80]!r}"
        )


def check_name(name: Name, what: str) -> Name:
    """Return an identity or issuer. Raises :class:`FormatError` for an expression that cannot be used."""
    if not name.value or len(name.value) > LONGEST_NAME:
        raise FormatError(f"{what}: expected 1 to {LONGEST_NAME} characters, got {len(name.value)}")
    problem = regexp_problem(name.value) if name.is_regexp else ""
    if problem:
        raise FormatError(f"{what}: {problem}")
    return name


def in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return entries in the order of a document: by kind, then by what is revoked."""
    kinds = list(Kind)
    return tuple(sorted(entries, key=lambda one: (kinds.index(one.kind), one.subject)))
