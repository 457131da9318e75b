"""The runs that the controller's ledger has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from chains.audit.exemptions import signed_exemptions
from chains.audit.ledger.entries import moment
from chains.audit.ledger.state import DECIDED, LedgerRun, LedgerState, RunState
from chains.audit.ledger.state import Gap as LedgerGap
from chains.audit.ledger.succession import BACKFILL
from chains.audit.population.known import Gap, Population, Source
from chains.audit.population.sighting import KINDS, Sighting

_SILENT = timedelta(minutes=20)
"""Two heartbeats: a log without an entry for longer is one that nobody writes."""
_SHARE = re.compile(r"/share-\d+-of-(\d+)(?:\.\d+)?$", re.ASCII)
_KINDS = {kind.lower(): kind for kind in KINDS}


def add_ledger(state: LedgerState, name: str, population: Population, now: datetime) -> Source:
    """Add the runs of a ledger that was read. What is wrong with the ledger is a problem of the source.

    A gap that its writer did not write yet is one, too: the time up to ``now`` since the last entry.

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
            gaps=[
                Gap(moment(gap.start), moment(gap.until), gap.reason)
                for gap in (*state.gaps, *_silences(state, now))
            ],
            problems=[str(one) for one in state.problems],
        )
    )
    for run in state.runs.values():
        seen = _sighting(run, is_signed=state.is_sound and _is_before(run.decided, state.until))
        source.finished += seen.is_finished
        population.add(source, seen)
    if state.is_sound:
        population.exemptions += signed_exemptions(state.others, state.until)
    if source.finished:
        source.ends_of.update(KINDS)  # the controller watches every kind
    return source


def _silences(state: LedgerState, now: datetime) -> Iterator[LedgerGap]:
    """Yield the time since the last entry of each log, where it is longer than two heartbeats.

    If the number of shares changed, it ends where all logs of the new number had begun.
    """
    shares: dict[str, list[tuple[datetime, datetime]]] = {}
    for log, span in state.spans.items():
        if log not in state.ended:
            shares.setdefault(_shares_of(log), []).append(span)
    for log, (_, last) in state.spans.items():
        if log in state.ended or log.rpartition("/")[2].startswith(BACKFILL):
            continue  # the time until others went on for it is a gap already; a command watches nothing
        following = (
            max(first for first, _ in spans)
            for number, spans in shares.items()
            if number != _shares_of(log) and len(spans) == int(number) and max(spans, key=_last)[1] > last
        )
        until = min(following, default=now)
        if until - last > _SILENT:
            reason = "no entry, not even a heartbeat: no controller wrote it, or this copy is older than that"
            yield LedgerGap(log, last, until, reason)


def _shares_of(log: str) -> str:
    """Return the number of shares in the name of a log; a log with another name is alone."""
    found = _SHARE.search(log)
    return found[1] if found else "1"


def _last(span: tuple[datetime, datetime]) -> datetime:
    return span[1]


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
    return at is not None and end is not None and at < end


def _text(at: datetime | None) -> str:
    return "" if at is None else moment(at)
