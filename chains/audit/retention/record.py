"""The disposition record: what was deleted, why it might be, and who approved it, as an in-toto statement.

Its subjects are the digests of the evidence that goes, and of each run the SHA-256 of its UID: so a store
finds the record by either. It has the one form that :meth:`DispositionRecord.to_bytes` writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from chains.audit.ledger.entries import moment, parse_moment
from chains.errors import EvidenceError, InputError
from chains.statements.statement import (
    DISPOSITION,
    DISPOSITION_KIND,
    STATEMENT_V1,
    ResourceDescriptor,
    Statement,
    parse_statement,
)
from chains.text import plain
from storage.record import IN_TOTO_PAYLOAD_TYPE, Origin, Record, Subject

MOST_PIECES = 500
"""Pieces of one record: a statement has at most 1024 subjects."""
_SHA256 = "sha256:"


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of evidence that goes. ``digest`` is ``sha256:HEX``; times are in UTC.

    ``rule`` is the class that kept it longest, and ``since`` the time from which its term counted, which
    ``start`` names.
    """

    digest: str
    location: str
    predicate_type: str
    run: Origin
    rule: str
    start: str
    since: datetime
    kept_until: datetime
    about: tuple[str, ...] = ()
    """``algorithm:hex`` of what the evidence was about."""
    signed_uid: str = ""
    """The UID of the run that somebody trusted signed; ``run`` is what the store said."""


@dataclass(frozen=True, slots=True)
class DispositionRecord:
    """What is deleted from one store, and why. ``rules`` is the digest of the retention file."""

    store: str
    decided: datetime
    approved_by: str
    reason: str
    rules: str
    pieces: tuple[Piece, ...]

    @property
    def uid(self) -> str:
        """The UID under which stores keep the record; it depends on the content alone."""
        return str(UUID(bytes=hashlib.sha256(self.to_bytes()).digest()[:16]))

    def names(self, digest: str, location: str) -> bool:
        """Whether evidence with this digest, or at this location, goes."""
        return any(one.digest == digest or one.location == location for one in self.pieces)

    @property
    def too_early(self) -> bool:
        """Whether it says itself that something had to be kept longer: such a record counts for nothing."""
        return any(self.decided < one.kept_until for one in self.pieces)

    def to_bytes(self) -> bytes:
        """Return the statement as it is signed. Raises :class:`InputError` for what JSON cannot hold."""
        runs = dict.fromkeys(one.signed_uid for one in self.pieces if one.signed_uid)
        subjects = (
            *(
                ResourceDescriptor(one.location, digest={"sha256": one.digest.removeprefix(_SHA256)})
                for one in self.pieces
            ),
            *(
                ResourceDescriptor(f"run {uid}", digest={"sha256": uid_digest(uid)[len(_SHA256) :]})
                for uid in runs
            ),
        )
        predicate: dict[str, Any] = {
            "store": self.store,
            "decided": moment(self.decided),
            "approvedBy": self.approved_by,
            "reason": self.reason,
            "rules": {"sha256": self.rules.removeprefix(_SHA256)},
            "pieces": [_write(one) for one in self.pieces],
        }
        try:
            return Statement(STATEMENT_V1, subjects, DISPOSITION, predicate).to_bytes()
        except TypeError as error:
            raise InputError(f"a disposition record cannot be written: {error}") from error

    @classmethod
    def from_bytes(cls, payload: bytes) -> DispositionRecord:
        """Read a statement. Raises :class:`EvidenceError` for what :meth:`to_bytes` did not write."""
        statement = parse_statement(payload)
        if statement.predicate_type != DISPOSITION:
            raise EvidenceError(f"expected a {DISPOSITION}, got {plain(statement.predicate_type[:96])!r}")
        found = statement.predicate
        try:
            made = cls(
                _text(found, "store"),
                parse_moment(_text(found, "decided")),
                _text(found, "approvedBy"),
                _text(found, "reason"),
                _SHA256 + _text(found["rules"], "sha256"),
                tuple(map(_read, found["pieces"])),
            )
            is_same = bool(made.pieces) and made.to_bytes() == payload
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            raise EvidenceError(f"not a disposition record: {plain(str(error)[:200])}") from error
        if not is_same:
            raise EvidenceError("a disposition record is not in the one form that is written")
        return made

    def as_record(self, payload: bytes, envelope: bytes, bundle: bytes) -> Record:
        """Return the signed record as stores take it."""
        statement = parse_statement(payload)
        return Record(
            Origin(DISPOSITION_KIND, "retention", moment(self.decided), self.uid),
            tuple(Subject(one.name, one.digest or {}) for one in statement.subjects),
            payload,
            IN_TOTO_PAYLOAD_TYPE,
            DISPOSITION,
            bundle,
            envelope,
            created=self.decided.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )


def uid_digest(uid: str) -> str:
    """Return the subject by which the record of a run is found: ``sha256:`` of the UID's bytes."""
    return _SHA256 + hashlib.sha256(uid.encode(errors="surrogatepass")).hexdigest()


def _write(one: Piece) -> dict[str, Any]:
    run = {name: value for name in Origin.__slots__ if (value := getattr(one.run, name))}
    return {
        "digest": {"sha256": one.digest.removeprefix(_SHA256)},
        "location": one.location,
        "predicateType": one.predicate_type,
        "run": run,
        "class": one.rule,
        "from": one.start,
        "since": moment(one.since),
        "keptUntil": moment(one.kept_until),
        "about": list(one.about),
        "runUid": one.signed_uid,
    }


def _read(value: Mapping[str, Any]) -> Piece:
    run = {name: _text(value["run"], name) for name in value["run"]}
    return Piece(
        _SHA256 + _text(value["digest"], "sha256"),
        _text(value, "location"),
        _text(value, "predicateType"),
        Origin(**{**dict.fromkeys(Origin.__slots__, ""), **run}),
        _text(value, "class"),
        _text(value, "from"),
        parse_moment(_text(value, "since")),
        parse_moment(_text(value, "keptUntil")),
        tuple(map(str, value["about"])),
        _text(value, "runUid"),
    )


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def in_records(pieces: Sequence[Piece]) -> list[tuple[Piece, ...]]:
    """Return pieces in groups that one record each can hold."""
    return [tuple(pieces[at : at + MOST_PIECES]) for at in range(0, len(pieces), MOST_PIECES)]
