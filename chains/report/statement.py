"""The statement about a report: an in-toto statement whose subjects are the files of the report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from chains.report.document.format import Head
from chains.report.folder import Written
from chains.report.names import REPORT
from chains.statements.statement import (
    PERIOD_REPORT,
    PERIOD_REPORT_KIND,
    STATEMENT_V1,
    ResourceDescriptor,
    Statement,
)
from signers.sealer import Sealed
from storage.record import IN_TOTO_PAYLOAD_TYPE, Origin, Record, Subject

PREDICATE = PERIOD_REPORT
"""The predicate type of the statement."""


def statement_of(head: Head, files: Sequence[Written]) -> Statement:
    """Return the unsigned statement about the files of a report.

    The predicate has what the report comes to, so that nobody needs the report to see what was signed.
    """
    predicate: dict[str, Any] = {
        "schema": head["schema"],
        "at": head["scope"]["at"],
        "since": head["scope"]["since"],
        "until": head["scope"]["until"],
        "counts": {name: head["counts"][name] for name in sorted(head["counts"])},  # type: ignore[literal-required]
        "exitCode": head["exitCode"],
        "population": {"runs": head["population"]["runs"], "digest": head["population"]["digest"]},
        "tool": {name: head["scope"]["tool"][name] for name in ("name", "version", "digest")},
    }
    ordered = sorted(files, key=lambda one: one.name)
    subjects = tuple(ResourceDescriptor(name=one.name, digest={"sha256": one.digest}) for one in ordered)
    return Statement(STATEMENT_V1, subjects, PREDICATE, predicate)


def record_of(head: Head, statement: Statement, payload: bytes, sealed: Sealed) -> Record:
    """Return the signed statement as stores take it, about ``report.json``.

    It has a UID of its own, from the signed bytes.
    """
    uid = str(UUID(bytes=hashlib.sha256(payload).digest()[:16]))
    at = head["scope"]["at"]
    return Record(
        origin=Origin(PERIOD_REPORT_KIND, "", at[:10], uid),
        subjects=tuple(
            Subject(one.name, dict(one.digest or {})) for one in statement.subjects if one.name == REPORT
        ),
        payload=payload,
        payload_type=IN_TOTO_PAYLOAD_TYPE,
        predicate_type=PREDICATE,
        bundle=sealed.bundle,
        envelope=sealed.envelope,
        created=at,
        certificate=sealed.certificate,
        chain=sealed.chain,
        annotations=sealed.annotations,
    )
