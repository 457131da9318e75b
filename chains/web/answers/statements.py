"""Statements as text and as facts, from raw evidence whose digest the index has judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from chains.errors import EvidenceError
from chains.index.codes import Verdict
from chains.index.query.detail.evidence import Details
from chains.index.query.rows import Hit
from chains.inspection.contents import Contents, Said
from chains.inspection.page import Build, Other, parts
from chains.inspection.report import is_report
from chains.statements.claims import run_outcome
from chains.statements.statement import Statement
from chains.tekton.raw import objects_at, text_at
from chains.tekton.snapshot import RunSnapshot
from chains.verify.readings import Readings, Unreadable
from chains.web.raw import Found, Wanted
from signers.errors import FormatError
from storage.record import SIMPLE_SIGNING_FORMAT, Evidence


@dataclass(frozen=True, slots=True)
class Read:
    """One attestation with its statement; ``problem`` says why it could not be read."""

    hit: Hit
    evidence: Evidence | None
    payload: bytes = b""
    statement: Statement | None = None
    problem: str = ""


def wanted_of(hit: Hit, details: Details, most: int = 1) -> Wanted:
    """Return what to ask stores for: the first copies of an attestation, envelopes before bundles."""
    copies = sorted(
        details.copies, key=lambda copy: (copy.form.startswith("bundle"), copy.store, copy.location)
    )
    subjects = tuple(one.digest for one in hit.subjects if one.digest.startswith("sha256:"))
    return Wanted(copies[:most], subjects, hit.run.uid if hit.run else "")


def read_all(hits: Sequence[Hit], details: dict[int, Details], found: Found) -> list[Read]:
    """Return the statements of attestations, as far as the stores gave them."""
    readings = Readings()
    return [_read(hit, details[hit.position.id], found, readings) for hit in hits]


def _read(hit: Hit, details: Details, found: Found, readings: Readings) -> Read:
    evidence = next(
        (found.evidence[copy.digest] for copy in details.copies if copy.digest in found.evidence), None
    )
    if evidence is None:
        return Read(hit, None, problem="no store gave its bytes")
    if evidence.format == SIMPLE_SIGNING_FORMAT:
        return Read(hit, evidence, evidence.data)
    try:
        envelope, _ = readings.envelope(evidence)
        payload = envelope.payload
        return Read(hit, evidence, payload, readings.statement(payload))
    except Unreadable as unreadable:
        return Read(hit, evidence, problem=unreadable.check.actual)
    except (FormatError, EvidenceError) as error:
        return Read(hit, evidence, problem=str(error))


def builds_of(
    reads: Iterable[Read], record: RunSnapshot | None = None
) -> tuple[tuple[Build, ...], tuple[Other, ...]]:
    """Return what confirmed statements say together, by signer: nobody completes what another one said.

    ``record`` is the run itself, if a confirmed report has its digest.
    """
    by_signer: dict[str, list[Said]] = {}
    for one in reads:
        if one.hit.verdict is Verdict.VERIFIED and one.statement is not None:
            by_signer.setdefault(one.hit.signer, []).append(Said(one.statement, one.payload, None, ()))
    builds: tuple[Build, ...] = ()
    others: tuple[Other, ...] = ()
    for said in by_signer.values():
        some, rest = parts(Contents(tuple(said), record))
        builds, others = builds + some, others + rest
    return builds, others


def record_digest(reads: Iterable[Read]) -> str:
    """Return the SHA-256 of the run's record that a confirmed report has, in hex; empty for none."""
    for one in reads:
        if one.hit.verdict is Verdict.VERIFIED and one.statement is not None and is_report(one.statement):
            found = text_at(run_outcome(one.statement), "target", "digest", "sha256")
            if found:
                return found
    return ""


def children_of(reads: Iterable[Read]) -> dict[str, str]:
    """Return the UIDs of the children that a confirmed report names, by ``kind/namespace/name``."""
    found: dict[str, str] = {}
    for one in reads:
        if one.hit.verdict is not Verdict.VERIFIED or one.statement is None:
            continue
        for item in objects_at(one.statement.predicate, "attributes"):
            uid, name = text_at(item, "conditions", "uid"), text_at(item, "target", "name")
            if item.get("attribute") == "HERMETIC_CHILD_LEVEL" and uid and name:
                found[name] = uid
    return found


def tree_of(payload: bytes) -> Any:
    """Return the JSON of a payload for a folded tree, None if it is none."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
