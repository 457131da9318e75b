"""Numbers of a time: by day, by namespace, and what became of the runs of which there is evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from chains.index.codes import Verdict
from chains.index.query.detail.counts import (
    NamespaceCount,
    RunCount,
    SignerUse,
    namespace_counts,
    newest,
    run_count,
    signers,
)
from chains.index.query.overview import days
from chains.index.query.scope import View
from chains.index.query.state import IndexState, state_of

LONGEST = 400
"""Days of one overview."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One day with its numbers, from the lowest part of the bar up."""

    day: date
    confirmed: int
    undecided: int
    failed: int

    @property
    def total(self) -> int:
        """All parts together."""
        return self.confirmed + self.undecided + self.failed


def every_day(bars: Sequence[Bar], since: date, until: date) -> list[Bar]:
    """Return a bar for each day from ``since`` on and before ``until``, also for those without anything."""
    known = {bar.day: bar for bar in bars}
    days = (since + timedelta(days=number) for number in range((until - since).days))
    return [known.get(day, Bar(day, 0, 0, 0)) for day in days]


@dataclass(frozen=True, slots=True)
class Overview:
    """The days from ``since`` on and before ``until``. ``is_moved`` if they are not the last ones, because
    nothing ended in those."""

    since: date
    until: date
    is_moved: bool
    runs: RunCount
    bars: Sequence[Bar]
    namespaces: Sequence[NamespaceCount]
    signers: Sequence[SignerUse]
    state: IndexState

    @property
    def last_day(self) -> date:
        """The last day of the time."""
        return self.until - timedelta(days=1)


def overview_of(view: View, now: datetime, length: int, until: date | None = None) -> Overview:
    """Return the numbers of the last days, or of those before ``until``."""
    end = until or now.astimezone(UTC).date() + timedelta(days=1)
    since = end - timedelta(days=length)
    runs = run_count(view, _start(since), _start(end))
    is_moved = False
    if not runs.runs and until is None and (last := newest(view)):
        end = datetime.fromtimestamp(last, UTC).date() + timedelta(days=1)
        since = end - timedelta(days=length)
        runs, is_moved = run_count(view, _start(since), _start(end)), True
    by_day: dict[date, dict[Verdict, int]] = {}
    for one in days(view, since, end):
        by_day.setdefault(one.day, {})[one.verdict] = one.number
    bars = [
        Bar(
            day,
            found.get(Verdict.VERIFIED, 0),
            # what no policy is for is not good either
            found.get(Verdict.INDETERMINATE, 0) + found.get(Verdict.NOT_JUDGED, 0),
            found.get(Verdict.FAILED, 0),
        )
        for day, found in by_day.items()
    ]
    return Overview(
        since,
        end,
        is_moved,
        runs,
        every_day(bars, since, end),
        namespace_counts(view, since, end),
        signers(view, 20),
        state_of(view),
    )


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
