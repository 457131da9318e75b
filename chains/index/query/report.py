"""The answer to a query as JSON, as CSV and in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from chains.columns import csv_line
from chains.index.codes import Level, Outcome, Verdict, word
from chains.index.query.answer import Answer
from chains.index.query.rows import Hit, Summed
from chains.index.query.state import StoreState
from chains.text import count, rfc3339

COLUMNS = (
    "verdict", "checked", "signer", "reason", "finished", "namespace", "run", "runUid", "pipeline",
    "repository", "commit", "builder", "level", "outcome", "predicateType", "digest", "subject",
    "subjectDigest", "furtherSubjects", "policy", "policyDigest", "result", "verifier",
)  # fmt: skip
_SHORT = 12
_SHORT_COMMIT = 7


def to_json(answer: Answer) -> dict[str, Any]:
    """Return the answer as it is printed."""
    state = answer.state
    return {
        "query": str(answer.query),
        "words": list(answer.query.words),
        "count": answer.count.number,
        "countIsCut": answer.count.has_more,
        "cursor": answer.cursor or None,
        "results": [_hit_to_json(hit) for hit in answer.hits],
        "searched": list(answer.fields),
        "notInIndex": [str(term) for term in answer.unknown],
        "index": {
            "place": str(answer.place),
            "criteriaDigest": f"sha256:{state.policy}" if state.policy else None,
            "isWhole": state.is_whole,
            "stores": [
                {"url": one.url, "readAt": _time(one.updated), "behind": one.behind, "unreadable": one.unread}
                for one in state.stores
            ],
        },
    }


def _hit_to_json(hit: Hit) -> dict[str, Any]:
    run = hit.run
    return {
        "digest": hit.digest,
        "predicateType": hit.predicate,
        "verdict": word(hit.verdict),
        "checkedAt": _time(hit.checked),
        "signer": hit.signer or None,
        "reason": hit.reason or None,
        "detail": hit.detail or None,
        "policy": {"name": hit.policy, "digest": hit.policy_digest} if hit.policy else None,
        "finishedAt": _time(hit.finished),
        "namespace": hit.namespace or None,
        "pipeline": hit.pipeline or None,
        "builder": hit.builder or None,
        "repository": hit.repository or None,
        "level": word(hit.level) if hit.level is not Level.NONE else None,
        "outcome": word(hit.outcome) if hit.outcome is not Outcome.NONE else None,
        "run": run
        and {
            "uid": run.uid or None,
            "kind": run.kind or None,
            "namespace": run.namespace or None,
            "name": run.name or None,
            "task": run.task or None,
            "commit": run.commit or None,
            "trigger": run.trigger or None,
            "sender": run.sender or None,
            "serviceAccount": run.account or None,
            "node": run.node or None,
        },
        "subjects": [{"name": one.name, "digest": one.digest} for one in hit.subjects],
        "hasMoreSubjects": hit.has_more_subjects,
        "summary": hit.summary and _summed_to_json(hit.summary),
    }


def _summed_to_json(said: Summed) -> dict[str, Any]:
    return {
        "result": _result(said),
        "verifier": said.verifier or None,
        "resource": said.resource or None,
        "policy": said.policy or None,
        "policyDigest": said.policy_digest or None,
        "levels": list(said.levels),
        "verifiedAt": _time(said.verified),
    }


def _result(said: Summed) -> str:
    return "passed" if said.is_passed else "failed"


def to_csv(answer: Answer) -> Iterator[str]:
    """Yield the lines of a CSV file: a header, then one line for each attestation."""
    yield csv_line(COLUMNS)
    for hit in answer.hits:
        run, subject = hit.run, hit.subjects[0] if hit.subjects else None
        more = f"{len(hit.subjects) - 1}{' or more' if hit.has_more_subjects else ''}" if subject else "0"
        yield csv_line((
            word(hit.verdict), _time(hit.checked) or "", hit.signer, hit.reason, _time(hit.finished) or "",
            hit.namespace, run.name if run else "", run.uid if run else "", hit.pipeline, hit.repository,
            run.commit if run else "", hit.builder, word(hit.level) if hit.level else "",
            word(hit.outcome) if hit.outcome else "", hit.predicate, hit.digest,
            subject.name if subject else "", subject.digest if subject else "", more,
            hit.policy, hit.policy_digest, _result(hit.summary) if hit.summary else "",
            hit.summary.verifier if hit.summary else "",
        ))  # fmt: skip


HEADER = ("FINISHED", "RUN", "ARTIFACT", "COMMIT", "TYPE", "LEVEL", "CONFIRMED")


def to_row(hit: Hit) -> tuple[str, ...]:
    """Return an attestation as a row of a table."""
    run = hit.run
    more = len(hit.subjects) - 1
    artifact = ""
    if hit.subjects:
        first = hit.subjects[0]
        algorithm, _, value = first.digest.partition(":")
        further = f" and {more}{' or more' if hit.has_more_subjects else ''} more" if more else ""
        artifact = f"{first.name}@{algorithm}:{value[:_SHORT]}{further}"
    return (
        _time(hit.finished) or "",
        (run.path or run.uid) if run else "",
        artifact,
        run.commit[:_SHORT_COMMIT] if run else "",
        hit.predicate.removeprefix("https://"),
        word(hit.level) if hit.level else "",
        confirmed(hit),
    )


def confirmed(hit: Hit) -> str:
    """Return what was confirmed when and by whom, or that it was not, and why.

    It says nothing about today.
    """
    at = _time(hit.checked)
    if hit.verdict is Verdict.VERIFIED:
        return f"at {at} with {hit.signer}" + (f" by policy {hit.policy}" if hit.policy else "")
    why = f"{hit.reason}: {hit.detail}".rstrip(": ")
    return f"{_NOT_GOOD[hit.verdict]} at {at}: {why}"


_NOT_GOOD = {
    Verdict.FAILED: "NOT CONFIRMED",
    Verdict.INDETERMINATE: "UNDECIDED",
    Verdict.NOT_JUDGED: "NOT JUDGED",
}


def summary(answer: Answer) -> Iterator[str]:
    """Yield what was asked and found, and what the index knows."""
    if answer.query.terms:
        yield f"searched for: {', and '.join(answer.query.words)}"
    number = max(answer.count.number, len(answer.hits))
    if number:
        told = f"at least {number:,}" if answer.count.has_more else f"{number:,}"
        noun = "attestation" if number == 1 else "attestations"
        shown = "" if len(answer.hits) == number else f", {len(answer.hits)} of them here"
        yield f"{told} {noun}{shown}"
    else:
        yield from _empty(answer)
    yield from (f"{_store(one)}" for one in answer.state.stores)
    if answer.cursor:
        yield f"next page: the same query with --cursor={answer.cursor}"


def _empty(answer: Answer) -> Iterator[str]:
    yield f"nothing found in the index {answer.place}"
    yield from (f"compared: {field}" for field in answer.fields)
    for term in answer.unknown:
        yield f"nothing in the index has: {term.words}"
    if not answer.state.stores:
        yield "the index has read no store"
    elif not answer.state.is_whole:
        yield "the index is behind its stores, so this is no answer about them: run `chains index update`"
    else:
        yield "evidence that came into the stores later, or lies in other stores, was not searched"


def _store(store: StoreState) -> str:
    read = f"read to the end at {_time(store.updated)}" if store.updated else "never read to the end"
    behind = f", {count(store.behind, 'part')} behind" if store.behind else ""
    if store.behind is None and store.updated and not store.is_whole:
        behind = ", behind"
    unread = f", {count(store.unread, 'item')} could not be read" if store.unread else ""
    return f"index: {store.url} {read}{behind}{unread}"


def _time(seconds: int) -> str | None:
    if not seconds:
        return None
    try:
        return rfc3339(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):  # a statement may say any time
        return f"@{seconds}"
