"""From runs, outcomes and marks to the entries of a ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from chains.attest.outcome import FAILED, SIGNED, SKIPPED, Outcome
from chains.attest.stores import THERE
from chains.audit.ledger.entries import (
    MOST_NAMES,
    MOST_RECEIPTS,
    EntryKind,
    Receipt,
    Run,
    RunEntry,
    fit,
    fit_reason,
)
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.lines import LONGEST_LINE, write_entry
from chains.controller.marks.patches import OUTCOME_ANNOTATION, SIGNED_ANNOTATION
from chains.tekton.runs import Job
from chains.tekton.snapshot import has_ended
from chains.text import count
from storage import lean_json

_SURELY_FIT = 7
"""The most receipts that fit into an entry however long they are."""
_KINDS = {SIGNED: EntryKind.EVIDENCED, FAILED: EntryKind.FAILED, SKIPPED: EntryKind.SKIPPED}
_MARKS = {"true": EntryKind.EVIDENCED, "failed": EntryKind.FAILED, "skipped": EntryKind.SKIPPED}


def run_of(job: Job) -> Run:
    """Return a run as entries name it."""
    return Run(job.kind, fit(job.namespace), fit(job.name), fit(job.uid), fit(job.owner))


def sight(job: Job, raw: Mapping[str, Any], *, listed: bool) -> RunEntry:
    """Return the fact that a run was seen, or that it is finished. ``listed``: it was there before."""
    fact = RunEntry(datetime.now(UTC), EntryKind.SEEN, run_of(job), created=_created(raw), is_late=listed)
    if has_ended(raw):
        return _finished(fact, raw)
    return fact


def _finished(fact: RunEntry, raw: Mapping[str, Any]) -> RunEntry:
    status = raw.get("status")
    completed = status.get("completionTime") if isinstance(status, dict) else None
    return replace(
        fact,
        kind=EntryKind.FINISHED,
        completed=fit(completed) if isinstance(completed, str) else "",
        succeeded=_succeeded(status),
    )


def decision(job: Job, raw: Mapping[str, Any], outcome: Outcome) -> RunEntry:
    """Return the fact of what became of a finished run, with its receipts."""
    receipts = [
        Receipt(
            fit(entry.payload),
            fit(entry.store),
            fit(entry.form),
            fit(entry.subject),
            fit(entry.detail),
            fit(entry.digest),
        )
        for entry in outcome.entries
        if entry.state in THERE
    ]
    fact = replace(
        sight(job, raw, listed=False), kind=_KINDS[outcome.state], reason=fit_reason(outcome.reason)
    )
    return _that_fits(fact, receipts)


def found_mark(job: Job, raw: Mapping[str, Any]) -> RunEntry | None:
    """Return the fact that a mark tells, which somebody else wrote; None for a run without a final mark."""
    annotations = raw["metadata"].get("annotations") or {}
    kind = _MARKS.get(str(annotations.get(SIGNED_ANNOTATION)))
    if kind is None:
        return None
    try:
        told = lean_json.loads(annotations[OUTCOME_ANNOTATION].encode(), lean_json.FEW_VALUES)
        entries = [one for one in told["entries"] if one["state"] in list(THERE)]
        receipts = [_noted(one) for one in entries]
        reason = fit_reason(str(told.get("reason", "")))
    except (KeyError, AttributeError, ValueError, TypeError):
        receipts, reason = [], ""  # as Tekton Chains marks, or a mark of a stranger
    return _that_fits(replace(sight(job, raw, listed=True), kind=kind, reason=reason), receipts)


def _noted(entry: Mapping[str, object]) -> Receipt:
    """Return the receipt of an entry in the outcome annotation, which has no digest."""
    payload, store, form, subject, place = (
        fit(str(entry.get(name, ""))) for name in ("payload", "store", "form", "subject", "detail")
    )
    return Receipt(payload, store, form, subject, place, "")


def removal(job: Job, reason: str) -> RunEntry:
    """Return the fact that a run is gone, or not this controller's any more, before it was decided."""
    return RunEntry(datetime.now(UTC), EntryKind.REMOVED, run_of(job), reason=reason)


def names_that_fit(names: Iterable[str]) -> tuple[str, ...]:
    """Return as many names as a ``config`` or ``keys`` entry holds; the last one counts those left out.

    The names are from :func:`fit`. A name that counts has a space, which keys and key ids have not.
    """
    found = list(names)
    kept = found[:MOST_NAMES]
    while len(kept) < len(found) or len(orjson.dumps(kept)) > LONGEST_LINE // 2:
        kept = kept[: min(len(kept), MOST_NAMES - 1)]
        if len(orjson.dumps(kept)) <= LONGEST_LINE // 2:
            return (*kept, f"{len(found) - len(kept)} more")
        kept = kept[: len(kept) // 2]
    return tuple(kept)


def _that_fits(fact: RunEntry, receipts: Sequence[Receipt]) -> RunEntry:
    """Return a fact with as many of the receipts as an entry holds."""
    kept = tuple(receipts[:MOST_RECEIPTS])
    while True:
        left = len(receipts) - len(kept)
        note = f"{count(left, 'receipt')} more" if left else ""
        made = replace(fact, receipts=kept, reason=fact.reason or note)
        if len(kept) <= _SURELY_FIT:
            return made
        try:
            write_entry(made)
        except LedgerError:
            kept = kept[: len(kept) // 2]
        else:
            return made


def _created(raw: Mapping[str, Any]) -> str:
    created = raw["metadata"].get("creationTimestamp")
    return fit(created) if isinstance(created, str) else ""


def _succeeded(status: Any) -> bool | None:
    conditions = status.get("conditions") if isinstance(status, dict) else None
    for one in conditions if isinstance(conditions, list) else ():
        if isinstance(one, dict) and one.get("type") == "Succeeded":
            return {"True": True, "False": False}.get(str(one.get("status")))
    return None
