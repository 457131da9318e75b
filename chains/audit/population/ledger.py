"""The runs that the controller's ledger has."""

from __future__ import annotations

from datetime import datetime

from chains.audit.ledger.entries import moment
from chains.audit.ledger.state import LedgerRun, LedgerState, RunState
from chains.audit.population.known import Gap, Population, Source
from chains.audit.population.sighting import KINDS, Sighting

_KINDS = {kind.lower(): kind for kind in KINDS}
_MARKS = {RunState.EVIDENCED: "true", RunState.FAILED: "failed", RunState.SKIPPED: "skipped"}
"""The marks that the controller writes to a run together with such an entry."""


def add_ledger(state: LedgerState, name: str, population: Population) -> Source:
    """Add the runs of a ledger that was read. What is wrong with the ledger is a problem of the source."""
    source = population.source(
        Source(
            name=f"ledger ({name})",
            kind="ledger",
            shows="every run that the controller saw from its birth on, and its end, even if it is deleted",
            cannot="runs that were created and deleted while nobody watched: the gap is shown, its content "
            "is not; anything before its first entry",
            query=name,
            shows_deleted=True,
            closes_gaps=True,
            since=_text(state.since),
            until=_text(state.until),
            gaps=[Gap(moment(gap.start), moment(gap.until), gap.reason) for gap in state.gaps],
            problems=[str(one) for one in state.problems],
        )
    )
    for run in state.runs.values():
        source.finished += run.finished is not None
        population.add(source, _sighting(run))
    return source


def _sighting(run: LedgerRun) -> Sighting:
    is_removed = run.state is RunState.REMOVED
    ended = run.completed or run.finished
    return Sighting(
        kind=_KINDS.get(run.run.kind.lower(), run.run.kind),
        namespace=run.run.namespace,
        name=run.run.name,
        uid=run.uid,
        created=_text(run.created),
        finished=_text(ended) if run.finished is not None else "",
        outcome="" if run.succeeded is None else str(run.succeeded),
        deleted=_text(run.decided) if is_removed else "",
        vanished=run.reason or "it was gone before its end was seen" if is_removed else "",
        parent=run.run.parent,
        mark=_MARKS.get(run.state, ""),
        mark_reason=run.reason if run.state in _MARKS else "",
    )


def _text(at: datetime | None) -> str:
    return "" if at is None else moment(at)
