"""What is known of a piece of evidence: what somebody trusted signed, and what its store says about its run.

The facts of a run are joined: the outcome is in its execution report, the images in its provenance, and an
image signature names neither. Only what verifies is read, except the namespace and UID that the store names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from chains.audit.retention.format import Start
from chains.audit.retention.rules import Facts
from chains.audit.reverify import Examined
from chains.lineage.statement_facts import read_facts
from chains.statements.claims import run_namespace, run_outcome
from chains.statements.statement import SCAI, SLSA_V02, SLSA_V1
from chains.tekton.raw import text_at
from storage import lean_json
from storage.errors import StoreRejected
from storage.formats.digest import is_sha256
from storage.formats.reference import Image, parse_image
from storage.locks import ObjectLock
from storage.record import COSIGN_SIGN_PREDICATE, SIMPLE_SIGNING_FORMAT

_OF_RUNS = frozenset({SLSA_V1, SLSA_V02, SCAI})


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the verified evidence of one run says together. An empty set stands for what it does not say."""

    images: frozenset[Image] = frozenset()
    namespaces: frozenset[str] = frozenset()
    outcomes: frozenset[str] = frozenset()
    ended: datetime | None = None
    digests: frozenset[str] = frozenset()
    """The digests of its subjects."""


def read_run(uid: str | None, pieces: Iterable[Examined]) -> RunFacts:
    """Return what the pieces that verify and name the run say; None stands for any run.

    SLSA v0.2 names no run, and counts.
    """
    images: set[Image] = set()
    namespaces: set[str] = set()
    outcomes: set[str] = set()
    digests: set[str] = set()
    ends: list[datetime] = []
    for piece in pieces:
        one = piece.attestation
        if not piece.is_right or one is None or one.statement is None:
            continue
        if uid is not None and one.run_uid not in {"", uid}:
            continue
        statement = one.statement
        if statement.predicate_type not in _OF_RUNS:
            continue
        facts = read_facts(statement)
        images |= {image for each in facts.products for image in _images(each.name, each.digests)}
        digests |= {digest for each in facts.products for digest in each.digests}
        if facts.stated is not None:
            ends.append(facts.stated)
        if statement.predicate_type == SCAI:
            namespaces |= {run_namespace(statement)} - {""}
            outcomes |= {text_at(run_outcome(statement), "conditions", "outcome")} - {""}
    return RunFacts(
        frozenset(images),
        frozenset(namespaces),
        frozenset(outcomes),
        max(ends, default=None),
        frozenset(digests),
    )


def _images(name: str, digests: Sequence[str]) -> list[Image]:
    try:
        repository = parse_image(name).repository
    except StoreRejected:
        return []
    return [Image(repository, one) for one in digests if is_sha256(one)]


def subjects_of(piece: Examined) -> tuple[str, ...]:
    """Return ``algorithm:hex`` of what a piece that verifies is about."""
    if piece.evidence.format == SIMPLE_SIGNING_FORMAT:
        try:
            payload = lean_json.loads(piece.evidence.data, lean_json.FEW_VALUES)
        except ValueError:
            return ()
        digest = text_at(payload, "critical", "image", "docker-manifest-digest")
        return (digest,) if is_sha256(digest) else ()
    one = piece.attestation
    if one is None or one.statement is None:
        return ()
    return tuple(
        dict.fromkeys(
            f"{name}:{value}"
            for subject in one.statement.subjects
            for name, value in (subject.digest or {}).items()
        )
    )


def predicate_of(piece: Examined) -> str:
    """Return the predicate type of a piece that verifies; that of image signatures if it is one."""
    one = piece.attestation
    if one is not None and one.is_image_signature:
        return COSIGN_SIGN_PREDICATE
    return one.statement.predicate_type if one is not None and one.statement is not None else ""


def facts_of(piece: Examined, run: RunFacts, locks: Sequence[ObjectLock]) -> Facts:
    """Return what is known of a piece that verifies, with what its run says."""
    one, evidence = piece.attestation, piece.evidence
    kind, subjects = predicate_of(piece), subjects_of(piece)
    origin = evidence.origin
    claimed = {origin.namespace} - {""} if origin is not None else set()
    namespaces = run.namespaces | claimed
    uids = {one.run_uid if one is not None else "", origin.uid if origin is not None else ""} - {""}
    times: dict[Start, datetime] = {}
    if one is not None and one.signed_by is not None and one.signed_by.times:
        times[Start.SIGNED] = min(each.moment for each in one.signed_by.times)
    stated = None
    if one is not None and one.statement is not None and kind in _OF_RUNS:
        stated = read_facts(one.statement).stated
    elif not run.digests.isdisjoint(subjects):
        stated = run.ended
    if stated is not None:
        times[Start.FINISHED] = stated
    taken = [lock.stored for lock in locks if lock.is_evidence and lock.stored is not None]
    if taken:
        times[Start.STORED] = min(taken)
    own = {image for image in run.images if image.digest in subjects} | {
        image
        for subject in (one.statement.subjects if one is not None and one.statement is not None else ())
        for image in _images(subject.name, [f"{k}:{v}" for k, v in (subject.digest or {}).items()])
    }
    is_known = bool(own) or kind in _OF_RUNS
    return Facts(
        kind or None,
        tuple(own | run.images) if is_known else None,
        frozenset(namespaces) or None,
        run.outcomes or None,
        frozenset(uids) or None,
        frozenset({*subjects, evidence.digest}),
        times,
    )
