"""The runs that the controller's ledger has."""

from __future__ import annotations

from datetime import datetime

from chains.audit.ledger.entries import moment
from chains.audit.ledger.state import DECIDED, LedgerRun, LedgerState, RunState
from chains.audit.population.known import Gap, Population, Source
from chains.audit.population.sighting import KINDS, Sighting

_KINDS = {kind.lower(): kind for kind in KINDS}


def add_ledger(state: LedgerState, name: str, population: Population) -> Source:
    """Add the runs of a ledger that was read. What is wrong with the ledger is a problem of the source.

    What it says became of a run is taken over only if nothing is wrong with it, the day is signed, and the
    controller decided it. What it read from a mark is worth no more than the mark.
    """
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
        seen = _sighting(run, is_signed=state.is_sound and _is_before(run.decided, state.until))
        source.finished += seen.is_finished
        population.add(source, seen)
    return source


def _sighting(run: LedgerRun, *, is_signed: bool) -> Sighting:
    is_removed = run.state is RunState.REMOVED
    is_finished = run.finished is not None or run.state in DECIDED
    is_decided = is_signed and run.state in DECIDED and not run.is_from_mark
    ended = run.completed or run.finished or run.decided
    return Sighting(
        kind=_KINDS.get(run.run.kind.lower(), run.run.kind),
        namespace=run.run.namespace,
        name=run.run.name,
        uid=run.uid,
        created=_text(run.created),
        finished=_text(ended) if is_finished else "",
        outcome="" if run.succeeded is None else str(run.succeeded),
        deleted=_text(run.decided) if is_removed else "",
        vanished=run.reason or "it was gone before its end was seen" if is_removed else "",
        parent=run.run.parent,
        recorded=run.state.value if is_decided else "",
        recorded_reason=run.reason if is_decided else "",
    )


def _is_before(at: datetime | None, end: datetime | None) -> bool:
    return at is not None and end is not None and at <= end


def _text(at: datetime | None) -> str:
    return "" if at is None else moment(at)
