"""What evidence says, read from its bytes once, however many criteria judge it.

Nothing here depends on who is trusted, on the time, or on the place of the evidence. Small evidence stays
read for one search, because several signers and policies judge it, and both forms have one payload.
"""

from __future__ import annotations

from collections.abc import Mapping

from chains.statements.statement import Statement, parse_statement
from chains.verify.fixed_names import check_statement_names
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Check
from signers.errors import FormatError
from signers.formats.bundle import Bundle, MessageSignature
from signers.formats.dsse import MAX_PAYLOAD_BYTES, MAX_PAYLOAD_VALUES, Envelope
from signers.strict_json import parse_object
from storage.record import DSSE_FORMAT, Evidence

MAX_DEPTH = 128
"""Levels of JSON in a statement. No run produces more, and other parsers fail on more."""
_MOST_BYTES = 16 * 1024 * 1024
"""Memory that one search uses for what was read, about."""
_PER_BYTE = 16
"""Memory for each byte of JSON, about; of empty lists alone it is twice as much."""


class Unreadable(Exception):  # noqa: N818 - not an error: the step that ends the examination
    """The check that ends the examination."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.id)
        self.check = check


class Readings:
    """The evidence of one search: envelopes by digest and format, statements by their bytes."""

    def __init__(self) -> None:
        self._envelopes: dict[tuple[str, str], tuple[Envelope, Bundle | None] | Check] = {}
        self._statements: dict[bytes, Statement] = {}
        self._left = _MOST_BYTES

    def envelope(self, evidence: Evidence) -> tuple[Envelope, Bundle | None]:
        """Return an attestation's envelope, and the bundle that it is in. Raises :class:`Unreadable`.

        The digest of the evidence must have been compared with its bytes before.
        """
        place = (evidence.digest, evidence.format)
        known = self._envelopes.get(place)
        if isinstance(known, Check):
            raise Unreadable(known)
        if known is None:
            try:
                known = _read(evidence)
            except Unreadable as unreadable:
                self._envelopes[place] = unreadable.check
                raise
            if self._has_room(evidence.data):
                self._envelopes[place] = known
        return known

    def statement(self, payload: bytes) -> Statement:
        """Return the statement in a payload.

        Raises :class:`FormatError` or :class:`chains.errors.EvidenceError` for one that another parser may
        read differently, or is too deep for.
        """
        known = self._statements.get(payload)
        if known is None:
            _expect_one_reading(payload)
            known = parse_statement(payload)
            if self._has_room(payload):
                self._statements[payload] = known
        return known

    def _has_room(self, data: bytes) -> bool:
        size = len(data) * _PER_BYTE
        if size > self._left:
            return False
        self._left -= size
        return True


def message_bundle(evidence: Evidence) -> Bundle | None:
    """Return the bundle if it has a message signature.

    :meth:`Readings.envelope` reports what cannot be read.
    """
    if not evidence.is_bundle:
        return None
    try:
        bundle = Bundle.from_bytes(evidence.data)
    except FormatError:
        return None
    return bundle if isinstance(bundle.content, MessageSignature) else None


def _read(evidence: Evidence) -> tuple[Envelope, Bundle | None]:
    is_bundle = evidence.is_bundle
    if not is_bundle and evidence.format != DSSE_FORMAT:
        raise _unreadable("a bundle or a DSSE envelope", evidence.format, Reason.UNREADABLE)
    try:
        bundle = Bundle.from_bytes(evidence.data) if is_bundle else None
        content = bundle.content if bundle else Envelope.from_bytes(evidence.data)
    except FormatError as error:
        expected = "one bundle or DSSE envelope with one reading"
        raise _unreadable(expected, str(error), Reason.UNREADABLE) from error
    if not isinstance(content, Envelope):
        actual = "a message signature, which tells nothing about how something was made"
        raise _unreadable("a DSSE envelope", actual, Reason.NOT_AN_ATTESTATION)
    return content, bundle


def _unreadable(expected: str, actual: str, reason: Reason) -> Unreadable:
    return Unreadable(Check("format", Result.FAIL, expected, actual, reason))


def _expect_one_reading(payload: bytes) -> None:
    members = parse_object(payload, "statement", MAX_PAYLOAD_BYTES, MAX_PAYLOAD_VALUES)
    check_statement_names(members)
    # what opens fewer brackets cannot be deeper; those in strings count too
    if payload.count(b"{") + payload.count(b"[") > MAX_DEPTH:
        _check_depth(members)


def _check_depth(members: Mapping[str, object]) -> None:
    level: list[object] = [members]
    for _ in range(MAX_DEPTH):
        deeper: list[object] = []
        for value in level:
            if isinstance(value, dict):
                deeper.extend(value.values())
            elif isinstance(value, list):
                deeper.extend(value)
        level = [value for value in deeper if isinstance(value, dict | list)]
        if not level:
            return
    raise FormatError(f"statement is nested more than {MAX_DEPTH} levels deep")
