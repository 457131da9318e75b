"""From what an index has to the answers of the API."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from chains.index.codes import Level, Outcome, word
from chains.index.query.answer import Answer
from chains.index.query.detail import evidence, runs
from chains.index.query.overview import UnprovenRun
from chains.index.query.rows import Hit, RunOf
from chains.index.query.state import IndexState
from chains.lineage import ancestry
from chains.text import rfc3339
from chains.web.api import shapes
from storage.redacted_url import shown

BASE = "/api/v1"


def link(kind: str, *parts: str, **query: str) -> str:
    """Return the path of a resource of the API."""
    path = "/".join((BASE, kind, *(quote(part, safe="") for part in parts)))
    return f"{path}?{urlencode(query)}" if query else path


def index(state: IndexState) -> shapes.Index:
    """Return from when an answer is."""
    return shapes.Index(
        f"sha256:{state.policy}" if state.policy else None,
        state.is_whole,
        tuple(
            shapes.Store(shown(one.url), moment(one.updated), one.is_whole, one.behind, one.unread)
            for one in state.stores
        ),
    )


def attestation(hit: Hit) -> shapes.Attestation:
    """Return an attestation."""
    return shapes.Attestation(
        digest=hit.digest,
        predicate_type=hit.predicate,
        verdict=shapes.Verdict(word(hit.verdict)),
        checked_at=moment(hit.checked),
        signer=hit.signer or None,
        reason=hit.reason or None,
        detail=hit.detail or None,
        finished_at=moment(hit.finished),
        namespace=hit.namespace or None,
        pipeline=hit.pipeline or None,
        builder=hit.builder or None,
        repository=hit.repository or None,
        level=level(hit.level),
        outcome=outcome(hit.outcome),
        run=None if hit.run is None else run_named(hit.run),
        subjects=tuple(shapes.Named(one.name, one.digest) for one in hit.subjects),
        has_more_subjects=hit.has_more_subjects,
        link=of_digest("attestation", hit.digest),
    )


def run_named(found: RunOf) -> shapes.RunOf:
    """Return the run that an attestation names."""
    return shapes.RunOf(
        found.uid or None,
        found.kind or None,
        found.namespace or None,
        found.name or None,
        found.commit or None,
        link("run", found.uid) if found.uid else None,
    )


def results(answer: Answer, *, limit: int) -> shapes.Results:
    """Return a page of a search."""
    query = str(answer.query)
    following = link("search", q=query, limit=str(limit), cursor=answer.cursor) if answer.cursor else None
    return shapes.Results(
        query=query,
        words=tuple(answer.query.words),
        count=max(answer.count.number, len(answer.hits)),
        count_is_cut=answer.count.has_more,
        results=tuple(map(attestation, answer.hits)),
        searched=tuple(answer.fields),
        not_in_index=tuple(map(str, answer.unknown)),
        next=following,
        index=index(answer.state),
    )


def run(found: runs.Run, steps: list[runs.Step], hits: list[Hit], state: IndexState) -> shapes.Run:
    """Return a run."""
    return shapes.Run(
        uid=found.uid,
        verdict=shapes.Verdict(word(found.verdict)),
        kind=found.kind or None,
        namespace=found.namespace or None,
        name=found.name or None,
        pipeline=found.pipeline or None,
        task=found.task or None,
        builder=found.builder or None,
        repository=found.repository or None,
        commit=found.commit or None,
        trigger=found.trigger or None,
        sender=found.sender or None,
        service_account=found.account or None,
        node=found.node or None,
        outcome=outcome(found.outcome),
        reason=found.reason or None,
        created_at=moment(found.created),
        started_at=moment(found.started),
        finished_at=moment(found.finished),
        level=level(found.level),
        level_reason=found.level_reason or None,
        steps=tuple(map(step, steps)),
        attestations=tuple(map(attestation, hits)),
        index=index(state),
    )


def step(found: runs.Step) -> shapes.Step:
    """Return a step."""
    return shapes.Step(
        found.name,
        found.image,
        found.digest or None,
        found.exit_code,
        found.ended_as or None,
        moment(found.started),
        moment(found.finished),
    )


def one_attestation(
    hit: Hit, details: evidence.Details, inputs: list[evidence.Input], state: IndexState
) -> shapes.OneAttestation:
    """Return an attestation with what the index has beside it."""
    return shapes.OneAttestation(
        attestation(hit),
        tuple(shapes.Copy(shown(one.store), one.location, one.digest, one.form) for one in details.copies),
        tuple(shapes.SignedAt(moment(one.time) or "", one.authority) for one in details.times),
        tuple(shapes.LogEntry(one.index, one.authority) for one in details.entries),
        tuple(map(input_of, inputs)),
        index(state),
    )


def input_of(found: evidence.Input) -> shapes.Input:
    """Return an input."""
    return shapes.Input(found.role, found.name, found.digest or None)


def gap(found: UnprovenRun) -> shapes.Gap:
    """Return a run without evidence that verified."""
    return shapes.Gap(
        found.uid,
        found.kind or None,
        found.namespace or None,
        found.name or None,
        moment(found.position.finished),
        link("run", found.uid),
    )


def lineage(found: ancestry.Ancestry) -> shapes.Lineage:
    """Return a lineage. Notes about the index have its place on the server, so they are left out."""
    collected = found.collected

    def relative(one: ancestry.Relative) -> shapes.Relative:
        digests = (collected.graph.digest(one.artifact),)
        return shapes.Relative(digests, one.names, one.distance, one.is_verified, one.is_cut)

    return shapes.Lineage(
        found.digest,
        found.names,
        tuple(map(relative, found.made_from)),
        tuple(map(relative, found.went_into)),
        tuple(dict.fromkeys(one.reason for one in collected.problems)),
    )


def of_digest(kind: str, digest: str) -> str:
    """Return the path of a resource that has a digest."""
    algorithm, _, value = digest.partition(":")
    return link(kind, algorithm, value)


def moment(seconds: int | None) -> str | None:
    """Return a time of the index, None if it is not known or no time of the calendar."""
    if not seconds:
        return None
    try:
        return rfc3339(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):  # a statement may say any time
        return None


def level(found: Level) -> str | None:
    """Return a hermetic level, None if no report says one."""
    return word(found) if found is not Level.NONE else None


def outcome(found: Outcome) -> str | None:
    """Return what a run came to, None if no report says it."""
    return word(found) if found is not Outcome.NONE else None
