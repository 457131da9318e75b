"""In-toto statements: resource descriptors and digest sets, written to bytes and read from bytes.

The bytes that this module writes are signed and stored. They are never written a second time.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from chains.errors import EvidenceError
from storage.record import SLSA_V02_PREDICATE, SLSA_V1_PREDICATE

T = TypeVar("T")
STATEMENT_V1 = "https://in-toto.io/Statement/v1"
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
SLSA_V1, SLSA_V02 = SLSA_V1_PREDICATE, SLSA_V02_PREDICATE
SCAI = "https://in-toto.io/attestation/scai/v0.3"
"""The predicate type of the execution report."""
LEDGER_DAY = "https://provenance.chains/ledger-day/v1"
"""The predicate type of the statement of a ledger's day, which is about no run."""
PERIOD_REPORT = "https://provenance.chains/period-report/v1"
"""The predicate type of the statement about the files of a report, which is about no run."""
PERIOD_REPORT_KIND = "report"
"""The kind of its origin in stores, where runs have ``taskrun``."""
DISPOSITION = "https://provenance.chains/disposition/v1"
"""The predicate type of a record of evidence that was deleted."""
DISPOSITION_KIND = "disposition"
"""The kind of its origin in stores."""
MAX_SUBJECTS = 1024
"""The most subjects that Sigstore's verifiers accept."""

_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ResourceDescriptor:
    """A resource descriptor. Empty fields are left out when it is written. ``content`` is not encoded."""

    name: str = ""
    uri: str = ""
    digest: Mapping[str, str] | None = None
    content: bytes = b""
    media_type: str = ""

    def fields(self) -> dict[str, Any]:
        """Return the descriptor as JSON fields."""
        written: dict[str, Any] = {}
        if self.name:
            written["name"] = self.name
        if self.uri:
            written["uri"] = self.uri
        if self.digest:
            written["digest"] = dict(self.digest)
        if self.content:
            written["content"] = b64encode(self.content).decode("ascii")
        if self.media_type:
            written["mediaType"] = self.media_type
        return written


@dataclass(frozen=True, slots=True)
class Statement:
    """An unsigned in-toto statement."""

    type: str
    subjects: tuple[ResourceDescriptor, ...]
    predicate_type: str
    predicate: Mapping[str, Any]
    source: bytes = field(default=b"", repr=False, compare=False)
    """The bytes that it was read from, empty where it was not."""
    _known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, question: Callable[[Statement], T]) -> T:
        """Return the answer of a pure function of this statement, which is asked once."""
        if question not in self._known:
            self._known[question] = question(self)
        answer: T = self._known[question]
        return answer

    def to_bytes(self) -> bytes:
        """Return the statement as compact JSON in a fixed order of keys."""
        written: dict[str, Any] = {"_type": self.type}
        if self.subjects:
            written["subject"] = [subject.fields() for subject in self.subjects]
        written["predicateType"] = self.predicate_type
        written["predicate"] = self.predicate
        return orjson.dumps(written)


def is_hex_digest(value: object) -> bool:
    """Return whether a digest value is lowercase hex of even length, as every verifier requires."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def parse_statement(payload: bytes) -> Statement:
    """Parse a statement from signed bytes.

    Raises :class:`EvidenceError` for anything that is not a statement with well-formed subjects. Unknown
    fields are ignored, as the specification requires of consumers.
    """
    try:
        raw = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise EvidenceError(f"payload is no JSON: {error}") from error
    if not isinstance(raw, dict) or raw.get("_type") not in {STATEMENT_V1, STATEMENT_V01}:
        kind = raw.get("_type") if isinstance(raw, dict) else type(raw).__name__
        raise EvidenceError(f"payload is no in-toto statement: expected _type {STATEMENT_V1}, got {kind!r}")
    predicate_type, predicate = raw.get("predicateType"), raw.get("predicate", {})
    if not isinstance(predicate_type, str) or not predicate_type or not isinstance(predicate, dict):
        raise EvidenceError("statement has no predicateType, or a predicate that is no mapping")
    subjects = raw.get("subject", [])
    if not isinstance(subjects, list):
        raise EvidenceError("statement's subject is no list")
    return Statement(raw["_type"], tuple(_subjects(subjects)), predicate_type, predicate, payload)


def _subjects(raw: list[Any]) -> Iterable[ResourceDescriptor]:
    if len(raw) > MAX_SUBJECTS:
        raise EvidenceError(f"statement has {len(raw)} subjects, more than {MAX_SUBJECTS}")
    for item in raw:
        digest = item.get("digest") if isinstance(item, dict) else None
        if not isinstance(digest, dict) or not digest or not all(map(is_hex_digest, digest.values())):
            raise EvidenceError("statement has a subject without a digest of lowercase hex")
        name = item.get("name", "")
        if not isinstance(name, str):
            raise EvidenceError("statement has a subject whose name is no string")
        yield ResourceDescriptor(name=name, digest=digest)
