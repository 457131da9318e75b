"""The charts of a report: each with the numbers that it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from chains.audit.findings import percent
from chains.report.charts.draw import Bar, Cell, Column, bars, columns, grid, nothing
from chains.report.charts.svg import BARS, CROSS, DENSE, DOTS, EMPTY, LINES, SLASH, SOLID, Fill
from chains.report.document.file import Document
from chains.report.document.format import Head, State

MOST_DAYS, MOST_WEEKS = 62, 106
"""Days and weeks that are shown one by one; a longer time is shown by week, then by month."""
MOST_BARS, MOST_NAMES = 12, 20
"""Bars of a chart, and rows of the map; the table beside it has at most :data:`MOST_ROWS`."""
MOST_ROWS = 200
_STATES: Sequence[tuple[Fill, State]] = (
    (SOLID, "evidenced"),
    (DOTS, "unknown"),
    (SLASH, "failed"),
    (CROSS, "missing"),
    (BARS, "unattestable"),
)
_OF_STATE: Mapping[State, Fill] = {
    **{state: fill for fill, state in _STATES},
    "skipped": LINES,
    "disposed": LINES,
    "open": EMPTY,
}
_LEVELS = ("enforced", "partly", "unknown", "requested-only", "not-requested", None)
_CLASSES: Sequence[tuple[Fill, str, Fraction]] = (
    (SOLID, "100 %", Fraction(1)),
    (LINES, "from 95 %", Fraction(95, 100)),
    (BARS, "from 80 %", Fraction(80, 100)),
    (SLASH, "below 80 %", Fraction(0)),
)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: the picture, and the same numbers as a table. ``note`` says what it does not show."""

    id: str
    title: str
    description: str
    svg: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def charts_of(document: Document) -> list[Chart]:
    """Return every chart of a report. What is not known is a chart that says so."""
    head = document.head
    return [
        _coverage(head),
        _latency(head),
        _keys(head),
        _levels(head),
        _reasons(head),
        _namespaces(head),
    ]


def _coverage(head: Head) -> Chart:
    title = "Coverage over time"
    dated = [one for one in head["days"] if one["day"] is not None]
    into, noun = _buckets([one["day"] or "" for one in dated])
    found: dict[str, Counter[str]] = {}
    for one in dated:
        counts = found.setdefault(into(one["day"] or ""), Counter())
        for _, state in _STATES:
            counts[state] += one["counts"][state]
    found = {name: counts for name, counts in sorted(found.items()) if counts.total()}
    header = (noun, "finished", *(state for _, state in _STATES), "coverage")
    undated = sum(one["counts"][state] for one in head["days"] if one["day"] is None for _, state in _STATES)
    note = "Days are those of the ends of runs, in UTC. A time without a run has no column." + (
        f" Runs without a known end are in no column: {undated}." if undated else ""
    )
    if not found:
        return _empty("coverage", title, "No finished run has a known end.", header, note)
    rows = tuple(
        (
            name,
            str(counts.total()),
            *(str(counts[state]) for _, state in _STATES),
            _span(counts),
        )
        for name, counts in found.items()
    )
    whole = sum(1 for counts in found.values() if counts["evidenced"] == counts.total())
    description = (
        f"Columns of finished runs by {noun}, from {next(iter(found))} to {list(found)[-1]}. "
        f"In {whole} of {len(found)} every finished run is evidenced."
    )
    drawn = columns(
        "coverage",
        title,
        description,
        _STATES,
        [Column(name, tuple(counts[state] for _, state in _STATES)) for name, counts in found.items()],
    )
    return Chart("coverage", title, description, drawn, header, rows, note)


def _span(counts: Counter[str]) -> str:
    least = percent(Fraction(counts["evidenced"], counts.total()))
    most = percent(Fraction(counts["evidenced"] + counts["unknown"], counts.total()))
    return least if least == most else f"{least} to {most}"


def _latency(head: Head) -> Chart:
    title = "Evidence latency"
    header = ("evidence existed after the end of the run", "runs")
    note = (
        "From the end of a run to the first time that proves its evidence: a timestamp, a log entry, or the "
        "entry of a ledger. Runs without such a time are not in it."
    )
    found = head["latencies"]
    if found is None:
        why = "Not known: no evidence has a trusted time, and no ledger says when it was stored."
        return _empty("latency", title, why, header, note)
    given = []
    before = 0
    for one in found:
        name = f"more than {_time(before)}" if one["seconds"] is None else f"within {_time(one['seconds'])}"
        before = one["seconds"] or before
        given.append(Bar(name, one["runs"], DENSE))
    total = sum(one.number for one in given)
    description = f"Bars of {total} runs by the time until their evidence existed."
    drawn = bars("latency", title, description, given)
    rows = tuple((one.name, str(one.number)) for one in given)
    return Chart("latency", title, description, drawn, header, rows, note)


def _time(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _keys(head: Head) -> Chart:
    title = "Signers and keys"
    header = ("signer", "kind", "algorithm", "status", "runs", "attestations", "first run", "last run")
    found = sorted(head["keys"], key=lambda one: (-one["runs"], one["signer"]))
    note = "Only signatures that verified at the report time."
    if not found:
        return _empty("signers", title, "Nobody is trusted.", header, note)
    fill = {"key": DENSE, "certificate": BARS}
    given = [
        Bar(one["signer"], one["runs"], fill[one["kind"]], f"{one['attestations']} attestations")
        for one in found[:MOST_BARS]
    ]
    used = sum(1 for one in found if one["runs"])
    description = (
        f"Bars of the runs of which {used} of {len(found)} trusted signers signed evidence."
        + _left(len(found), MOST_BARS)
    )
    drawn = bars("signers", title, description, given)
    rows = tuple(
        (
            one["signer"], one["kind"], _known(one["algorithm"]), _known(one["status"]), str(one["runs"]),
            str(one["attestations"]), one["firstRun"] or "none", one["lastRun"] or "none",
        )
        for one in found[:MOST_ROWS]
    )  # fmt: skip
    return Chart("signers", title, description, drawn, header, rows, note)


def _levels(head: Head) -> Chart:
    title = "Hermetic levels"
    header = ("level", "evidenced runs")
    note = "The level is in verified execution reports. It says whether the run had a network."
    found = {one["level"]: one["runs"] for one in head["levels"]}
    if not found:
        return _empty("levels", title, "No run is evidenced.", header, note)
    fills = dict(zip(_LEVELS, (SOLID, LINES, DOTS, BARS, SLASH, EMPTY), strict=True))
    known = [*_LEVELS[:-1], *sorted(one for one in found if one is not None and one not in _LEVELS), None]
    given = [
        Bar(level or "no report", found.get(level, 0), fills.get(level, CROSS))
        for level in known
        if level in found or level in {"enforced", None}
    ]
    description = f"Bars of {sum(found.values())} evidenced runs by the isolation of their network."
    drawn = bars("levels", title, description, given)
    rows = tuple((one.name, str(one.number)) for one in given)
    return Chart("levels", title, description, drawn, header, rows, note)


def _reasons(head: Head) -> Chart:
    title = "Runs without evidence, by reason"
    header = ("state", "reason", "runs")
    note = "Skipped and open runs do not count for the coverage. docs/audit.md explains every reason."
    found = sorted(head["reasons"], key=lambda one: (-one["runs"], one["state"], one["reason"]))
    if not found:
        why = "Every run is evidenced." if head["population"]["runs"] else "There is no run."
        return _empty("reasons", title, why, header, note)
    given = [
        Bar(f"{one['state']}: {one['reason']}", one["runs"], _OF_STATE[one["state"]])
        for one in found[:MOST_BARS]
    ]
    total = sum(one["runs"] for one in found)
    description = f"Bars of {total} runs that are not evidenced, by state and reason." + _left(
        len(found), MOST_BARS
    )
    drawn = bars("reasons", title, description, given)
    rows = tuple((one["state"], one["reason"], str(one["runs"])) for one in found[:MOST_ROWS])
    return Chart("reasons", title, description, drawn, header, rows, note)


def _namespaces(head: Head) -> Chart:
    title = "Map of namespaces"
    header = ("namespace", "finished", "evidenced", "unknown", "coverage at least")
    note = "The namespaces with most runs. A time without a finished run is empty."
    days = head["namespaceDays"]
    if not days:
        return _empty("namespaces", title, "No finished run has a known end.", header, note)
    into, noun = _buckets([one["day"] for one in days])
    cells: dict[tuple[str, str], Counter[str]] = {}
    totals: dict[str, Counter[str]] = {}
    for one in days:
        for counts in (
            cells.setdefault((one["namespace"], into(one["day"])), Counter()),
            totals.setdefault(one["namespace"], Counter()),
        ):
            for name in ("finished", "evidenced", "unknown"):
                counts[name] += one[name]
    ordered = sorted(totals, key=lambda name: (_least(totals[name]), name))
    times = sorted({moment for _, moment in cells})
    drawn = grid(
        "namespaces",
        title,
        description := (
            f"A map of {min(len(ordered), MOST_NAMES)} namespaces, the worst first, and the share of their "
            f"finished runs that are evidenced in each {noun}." + _left(len(ordered), MOST_NAMES)
        ),
        [(fill, name) for fill, name, _ in _CLASSES],
        ordered[:MOST_NAMES],
        times,
        {place: _cell(counts) for place, counts in cells.items()},
    )
    rows = tuple(
        (
            name, str(totals[name]["finished"]), str(totals[name]["evidenced"]),
            str(totals[name]["unknown"]), percent(_least(totals[name])),
        )
        for name in ordered[:MOST_ROWS]
    )  # fmt: skip
    return Chart("namespaces", title, description, drawn, header, rows, note)


def _least(counts: Counter[str]) -> Fraction:
    return Fraction(counts["evidenced"], counts["finished"])


def _cell(counts: Counter[str]) -> Cell:
    share = _least(counts)
    fill = next(fill for fill, _, least in _CLASSES if share >= least)
    without = counts["finished"] - counts["evidenced"]
    told = f"{counts['evidenced']} of {counts['finished']} evidenced, {percent(share)}"
    return Cell(fill, f"-{without}" if without else "", told)


def _buckets(days: Iterable[str]) -> tuple[Callable[[str], str], str]:
    """Return the bucket of a day, and the word for it: days, weeks by their Mondays, or months."""
    found = sorted(filter(None, map(_day, days)))
    long = (found[-1] - found[0]).days + 1 if found else 0
    if long <= MOST_DAYS:
        return str, "day"
    if long <= 7 * MOST_WEEKS:
        return _monday, "week"
    return lambda day: day[:7], "month"


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _monday(text: str) -> str:
    day = _day(text)
    return text if day is None else (day - timedelta(days=day.weekday())).isoformat()


def _left(number: int, shown: int) -> str:
    return f" {number - shown} more are in the table." if number > shown else ""


def _known(text: str | None) -> str:
    return text if text is not None else "unknown"


def _empty(name: str, title: str, why: str, header: tuple[str, ...], note: str) -> Chart:
    return Chart(name, title, why, nothing(name, title, why), header, (), note)
