"""A population compared with evidence: every finished run of a period, several at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from chains.audit.findings import Audit, Judged, State, Stray, Why
from chains.audit.judge import Judge
from chains.audit.ledger.stored import KIND as LEDGER
from chains.audit.ledger.stored import predicate_type_of
from chains.audit.population.known import Difference, Gap, KnownRun, Population, Source
from chains.audit.population.sighting import KINDS
from chains.statements.statement import (
    DISPOSITION,
    DISPOSITION_KIND,
    LEDGER_DAY,
    PERIOD_REPORT,
    PERIOD_REPORT_KIND,
)
from chains.tekton.raw import parse_time, text_at
from chains.text import count, rfc3339
from chains.verify.search import searched
from chains.verify.verdict import Attestation
from storage.base import Store
from storage.errors import StoreError, StoreRejected
from storage.record import ListedRun, Origin

AT_ONCE = 16
"""Runs that are judged at the same time."""
MOST_STRAYS = 10_000
"""Evidence without a run that is listed; further ones are counted."""
_KINDS = {"taskrun": "TaskRun", "pipelinerun": "PipelineRun"}
Advance = Callable[[State], None]


@dataclass(frozen=True, slots=True)
class Period:
    """A time from ``since`` on and before ``until``; None is open."""

    since: datetime | None = None
    until: datetime | None = None

    def has(self, moment: str) -> bool:
        """Whether a time lies in the period. One that cannot be read does: nothing is left out for it."""
        at = parse_time(moment)
        return at is None or (
            (self.since is None or self.since <= at) and (self.until is None or at < self.until)
        )

    def cuts(self, gap: Gap) -> bool:
        """Whether a gap has a part of the period."""
        start, end = (rfc3339(one) if one is not None else "" for one in (self.since, self.until))
        return gap.overlaps(start, end)

    def part_of(self, gap: Gap) -> Gap:
        """Return the part of a gap that lies in the period."""
        start, end = parse_time(gap.since), parse_time(gap.until)
        return replace(
            gap,
            since=rfc3339(self.since) if self.since and start and start < self.since else gap.since,
            until=rfc3339(self.until) if self.until and end and self.until < end else gap.until,
        )


def _ignore(state: State) -> None:
    del state


async def compare(
    population: Population,
    judge: Judge,
    period: Period,
    now: datetime,
    *,
    at_once: int = AT_ONCE,
    advance: Advance = _ignore,
) -> Audit:
    """Judge every run of a period, and look for evidence whose run no source knows.

    ``advance`` is called with the state of each judged run.
    """
    audit = Audit(now, period.since, period.until, population.sources, judge.places)
    # who can change one source must not move a run out of the period that another one has in it
    moved = {
        one.uid
        for one in population.differences
        if one.what == "finished" and (period.has(one.said) or period.has(one.contradicted))
    }
    chosen = [run for run in population if period.has(run.moment) or run.uid in moved]
    audit.runs = await _judge_all(chosen, judge, at_once, advance)
    listing = await _list(judge.verifier.stores, period, population, audit)
    audit.runs += await _missing_children(chosen, judge, listing)
    audit.strays = await _strays(listing, population.sources, judge, audit)
    audit.gaps = list(open_gaps(population.sources, period))
    _compare_sources(chosen, population)
    if judge.dispositions is not None:
        audit.problems += dict.fromkeys(judge.dispositions.problems)
    audit.differences, audit.more_differences = population.differences, population.more_differences
    return audit


async def _judge_all(runs: Sequence[KnownRun], judge: Judge, at_once: int, advance: Advance) -> list[Judged]:
    found: list[Judged | None] = [None] * len(runs)
    waiting = iter(enumerate(runs))

    async def work() -> None:
        for number, run in waiting:
            found[number] = judged = await judge.judge(run)
            advance(judged.state)

    await asyncio.gather(*(work() for _ in range(min(at_once, len(runs)))))
    return [one for one in found if one is not None]


@dataclass(frozen=True, slots=True)
class _Listed:
    """A run that a store lists, and the store."""

    run: ListedRun
    store: Store


async def _list(
    stores: Sequence[Store], period: Period, population: Population, audit: Audit
) -> dict[str, _Listed]:
    """Return the runs that the stores list and that no source knows, by UID.

    A store that cannot list is noted.
    """
    found: dict[str, _Listed] = {}
    since, until = (rfc3339(one) if one is not None else "" for one in (period.since, period.until))
    for store in stores:
        try:
            async for run in store.list_runs(since, until):
                uid = run.origin.uid
                if uid and population.get(uid) is None and period.has(run.created):
                    found.setdefault(run.origin.uid, _Listed(run, store))
        except StoreRejected as error:
            audit.notes.append(f"evidence without a run is not looked for in {store.url}: {error}")
        except StoreError as error:
            audit.problems.append(f"{store.url} cannot be listed whole: {error}")
    return found


async def _missing_children(
    runs: Sequence[KnownRun], judge: Judge, listing: dict[str, _Listed]
) -> list[Judged]:
    """Return the TaskRuns that a finished PipelineRun names and that no source has."""
    by_name: dict[tuple[str, str, str], list[str]] = {}
    for uid, listed in listing.items():
        origin = listed.run.origin
        by_name.setdefault((origin.kind, origin.namespace, origin.name), []).append(uid)
    found = []
    for parent in runs:
        if parent.kind != "PipelineRun" or not parent.is_finished:
            continue
        for name in judge.children_without_record(parent):
            child = KnownRun("TaskRun", parent.namespace, name, "", finished=parent.finished)
            child.sources = parent.sources
            uids = by_name.get(("taskrun", parent.namespace, name), ())
            answer = await judge.judge_child(child, parent, uids)
            found.append(answer)
    return found


async def _strays(
    listing: dict[str, _Listed], sources: Sequence[Source], judge: Judge, audit: Audit
) -> list[Stray]:
    """Return the evidence whose run no source knows, each verified by its UID.

    Days of a ledger and disposition records that lie in the same store are about no run, and only counted.
    Reports are about no run, either, and not told: making a report must not change the next one.
    """
    named = {(one.namespace, one.name) for one in audit.runs if one.why is Why.CHILD_BY_NAME}
    found: list[Stray] = []
    left = 0
    others: Counter[str] = Counter()
    for uid, listed in listing.items():
        origin = listed.run.origin
        if (origin.namespace, origin.name) in named:
            continue
        if kind := await _about_no_run(uid, listed):
            others[kind] += 1
            continue
        if len(found) == MOST_STRAYS:
            left += 1
            continue
        found.append(await _stray(uid, listed, sources, judge))
    if days := others[LEDGER_DAY]:
        told = count(days, "signed day of a ledger is", "signed days of a ledger are")
        audit.notes.append(f"{told} in the stores; `chains ledger verify --against STORE` compares them")
    if records := others[DISPOSITION]:
        told = count(records, "disposition record is", "disposition records are")
        audit.notes.append(f"{told} in the stores; `chains retention check` verifies them")
    if left:
        audit.problems.append(f"{left:,} further runs with evidence that no source knows are not listed")
    return sorted(found, key=lambda one: (one.finished, one.label, one.uid))


async def _about_no_run(uid: str, listed: _Listed) -> str:
    """Return the predicate type of what a store has under a UID, if it is about no run; else an empty text.

    Whoever can write to the store can call evidence of a run so: its own bytes are asked. A store that does
    not answer shows nothing; the verification that follows says so.
    """
    if listed.run.origin.kind not in {LEDGER, PERIOD_REPORT_KIND, DISPOSITION_KIND, ""}:
        return ""
    async with searched((listed.store,), (), uid) as found:
        types = set(map(predicate_type_of, found.evidence))
        is_whole = len(types) == 1 and not found.skipped and not found.errors
        return types.pop() if is_whole and types <= {LEDGER_DAY, PERIOD_REPORT, DISPOSITION} else ""


async def _stray(uid: str, listed: _Listed, sources: Sequence[Source], judge: Judge) -> Stray:
    origin, moment = listed.run.origin, listed.run.created
    found = await judge.verifier.within([listed.store]).run_uid(uid)
    moment = moment or next(filter(None, map(_finished_in, found.attestations)), "")
    covered = bool(moment) and any(one.closes_gaps and _covers(one, moment, origin.kind) for one in sources)
    return Stray(_label(origin), uid, moment, listed.store.url, found.verdict.value, covered)


def _covers(source: Source, moment: str, kind: str) -> bool:
    """Whether a source covers a run of which a store names the kind; one without a known kind may be any."""
    found = [one for one in KINDS if one.lower() == kind.lower()]
    return any(source.covers(moment, one) for one in found or KINDS)


def _finished_in(one: Attestation) -> str:
    """Return the end of the run according to verified provenance, empty if there is none."""
    return text_at(one.statement.predicate, "runDetails", "metadata", "finishedOn") if one.statement else ""


def _label(origin: Origin) -> str:
    return f"{origin.kind or 'run'}/{origin.namespace or '?'}/{origin.name or '?'}"


def open_gaps(sources: Sequence[Source], period: Period) -> Iterator[tuple[str, Gap]]:
    """Yield the gaps of sources in a period that no other source closes, with the name of the source."""
    for source in sources:
        for gap in source.gaps:
            others = (one for one in sources if one is not source and one.closes_gaps)
            if period.cuts(gap) and not any(one.covers_all(period.part_of(gap)) for one in others):
                yield source.name, gap


def _compare_sources(runs: Sequence[KnownRun], population: Population) -> None:
    """Note each finished run that one source knows and another one, which should, does not."""
    sources = population.sources
    expecting = [(number, one) for number, one in enumerate(sources) if one.shows_deleted]
    for run in runs:
        if not run.is_finished:
            continue
        for number, source in expecting:
            if run.sources >> number & 1 or not (
                source.covers(run.created, run.kind) and source.covers(run.moment, run.kind)
            ):
                continue
            knows = ", ".join(population.names_of(run))
            population.differ(
                Difference(
                    run.label, run.uid, "run", knows, f"finished {run.moment}", source.name, "not known"
                )
            )
