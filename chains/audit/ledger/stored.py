"""The statements of closed days in stores: as records that are stored, and as a copy to compare with."""

from __future__ import annotations

import hashlib
from datetime import date
from uuid import UUID

from chains.audit.ledger.close import envelope_digest, read_bundle
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import BUNDLE, LogFolder
from chains.audit.ledger.state import Finding
from chains.audit.ledger.statement import PREDICATE, DayStatement
from chains.audit.ledger.walk import LogWalk
from chains.errors import EvidenceError
from chains.statements.statement import parse_statement
from signers.errors import SignerError
from signers.formats.bundle import Bundle
from signers.formats.dsse import Envelope
from storage.base import Store
from storage.record import IN_TOTO_PAYLOAD_TYPE, Evidence, Origin, Record, Subject

KIND = "ledger"
"""The kind of a statement's origin in stores, where runs have ``taskrun``."""


def uid_of(origin: str, day: date) -> str:
    """Return the UID under which stores keep the statement of a day."""
    return str(UUID(bytes=hashlib.sha256(f"{origin}\n{day.isoformat()}".encode()).digest()[:16]))


def record_of(log: LogFolder, day: date) -> Record:
    """Return the statement of a closed day as stores take it. Raises :class:`LedgerError`.

    The record names the log's last part as its namespace.
    """
    bundle, statement = read_bundle(log, day)
    payload = bundle.envelope.payload
    namespace = statement.log.rpartition("/")[2]
    origin = Origin(KIND, namespace, day.isoformat(), uid_of(statement.log, day))
    subjects = tuple(Subject(one.name, one.digest or {}) for one in parse_statement(payload).subjects)
    return Record(
        origin,
        subjects,
        payload,
        IN_TOTO_PAYLOAD_TYPE,
        PREDICATE,
        log.read(day, BUNDLE),
        bundle.envelope.to_bytes(),
        created=f"{day.isoformat()}T23:59:59Z",
    )


async def compare_stored(walk: LogWalk, store: Store) -> list[Finding]:
    """Return what tells a log from its statements in a store.

    The store has to have the same envelope of each closed day, and no day that the log does not have. Raises
    :class:`StoreError`, also for a store that cannot list what it has.
    """
    findings = []
    namespace = walk.origin.rpartition("/")[2]
    listed = {
        run.origin.uid
        async for run in store.list_runs()
        if run.origin.kind == KIND and run.origin.namespace == namespace
    }
    for each in walk.days:
        uid = uid_of(walk.origin, each.day)
        if not each.is_closed:
            continue
        if uid not in listed:
            findings.append(
                Finding("not-stored", walk.origin, each.day, f"{store.url} has no statement of it")
            )
            continue
        listed.discard(uid)
        ours = envelope_digest(read_bundle(walk.log, each.day)[0].envelope)
        stored = {_digest_of(one) for one in (await store.find_run(uid)).evidence}
        if stored != {ours}:
            message = f"fork: its statement in {store.url} is another one than in the folder"
            findings.append(Finding("fork", walk.origin, each.day, message))
    # what is left is of another log with such a name, or of a day that the folder does not have
    for uid in sorted(listed):
        found = (await store.find_run(uid)).evidence
        for day in sorted({day for one in found if (day := _day_of(one, walk.origin)) is not None}):
            message = f"{store.url} has its statement, and the log has no such day: it was cut off"
            findings.append(Finding("truncated", walk.origin, day, message))
    return findings


def predicate_type_of(evidence: Evidence) -> str:
    """Return the predicate type in stored bytes, whoever signed them; empty for what has none.

    It is what was signed, not what the store says the bytes are about.
    """
    envelope = _envelope_of(evidence)
    try:
        return parse_statement(envelope.payload).predicate_type if envelope is not None else ""
    except EvidenceError:
        return ""


def _digest_of(evidence: Evidence) -> str:
    """Return the digest of the envelope in stored evidence, empty for what has none."""
    envelope = _envelope_of(evidence)
    return envelope_digest(envelope) if envelope is not None else ""


def _day_of(evidence: Evidence, origin: str) -> date | None:
    """Return the day that stored evidence is about, if it is of this log."""
    envelope = _envelope_of(evidence)
    try:
        statement = DayStatement.from_bytes(envelope.payload) if envelope is not None else None
    except LedgerError:
        return None
    return statement.day if statement is not None and statement.log == origin else None


def _envelope_of(evidence: Evidence) -> Envelope | None:
    try:
        if evidence.is_bundle:
            return Bundle.from_bytes(evidence.data).envelope
        return Envelope.from_bytes(evidence.data)
    except SignerError:
        return None
