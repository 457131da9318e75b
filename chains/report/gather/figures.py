"""Figures of operation from the runs of a report, each with its limit. Pure.

Every figure says of how many runs its basis is known. A figure that is known of no run has null values.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from chains.report.document.format import Figure, Run, Table, Value
from chains.report.gather.facts import COMPLETE, Operation
from chains.report.gather.prices import Prices

MOST_ROWS = 50
"""Pipelines in a table: those with most runs."""
_NONE: Table = {"columns": [], "rows": []}
_OUTCOMES = ("succeeded", "failed", "cancelled", "timed-out")
_CENT = Decimal("0.0001")


class Figures:
    """Collects what the figures need, run by run."""

    def __init__(self, prices: Prices | None) -> None:
        self._prices = prices
        self._runs = 0
        self._outcomes: Counter[str] = Counter()
        self._by_pipeline: dict[str, _Pipeline] = {}
        self._durations, self._queue, self._pod, self._step = (array("q") for _ in range(4))
        self._attempts: Counter[int] = Counter()
        self._images: Counter[bool] = Counter()
        self._triggers: Counter[str] = Counter()
        self._events: set[str] = set()
        self._recorded = self._triggered = 0
        self._complete = [0] * len(COMPLETE)
        self._described = 0
        self._requested = self._cpu = self._memory = 0

    def add(self, run: Run, facts: Operation) -> None:
        """Add a run that has ended."""
        if run["finished"] is None:
            return
        self._runs += 1
        ended = run["outcome"] or "unknown"
        self._outcomes[ended] += 1
        pipeline = self._by_pipeline.setdefault(run["pipeline"] or "", _Pipeline())
        pipeline.outcomes[ended] += 1
        duration = _between(facts["started"], facts["finished"])
        for seconds, into in (
            (duration, self._durations),
            (duration, pipeline.durations),
            (_between(facts["created"], facts["started"]), self._queue),
            (facts["podWait"], self._pod),
            (facts["stepWait"], self._step),
        ):
            if seconds is not None:
                into.append(seconds)
        if facts["attempts"] is not None:
            self._attempts[facts["attempts"]] += 1
        if facts["imageNotGiven"] is not None:
            self._images[facts["imageNotGiven"]] += 1
            self._recorded += 1
        if facts["trigger"] is not None or facts["event"] is not None:
            self._triggered += 1
            self._triggers[facts["trigger"] or "(not named)"] += 1
        if facts["event"] is not None:
            self._events.add(facts["event"])
        if facts["completeness"] is not None:
            self._described += 1
            for number, holds in enumerate(facts["completeness"]):
                self._complete[number] += holds
        if facts["cpu"] is not None and facts["memory"] is not None:
            self._requested += 1
            self._cpu += facts["cpu"]
            self._memory += facts["memory"]
            pipeline.requested += 1
            pipeline.cpu += facts["cpu"]
            pipeline.memory += facts["memory"]

    def all(self) -> list[Figure]:
        """Return every figure."""
        return [
            self._success(),
            self._duration(),
            self._waits(),
            self._pushes(),
            self._retries(),
            self._delivery(),
            self._completeness(),
            self._cost(),
        ]

    def _commonest(self) -> list[tuple[str, _Pipeline]]:
        ordered = sorted(self._by_pipeline.items(), key=lambda one: (-one[1].outcomes.total(), one[0]))
        return [(name or "(not named)", one) for name, one in ordered[:MOST_ROWS]]

    def _success(self) -> Figure:
        known = self._runs - self._outcomes["unknown"]
        judged = self._outcomes["succeeded"] + self._outcomes["failed"]
        return _figure(
            "success-rate",
            "Success rate",
            "the condition Succeeded of each run that ended",
            "Cancelled runs and runs that timed out are apart and are not in the rate. A run counts once, "
            "however often it was tried again. A run that succeeded did what its steps said, no more.",
            known,
            self._runs,
            [
                _value("rate", _share(self._outcomes["succeeded"], judged), "%"),
                *(_value(name, self._outcomes[name] if known else None, "runs") for name in _OUTCOMES),
                _value("not known", self._runs - known, "runs"),
            ],
            {
                "columns": ["pipeline", "runs", *_OUTCOMES, "rate in %"],
                "rows": [
                    [
                        name,
                        one.outcomes.total(),
                        *(one.outcomes[ended] for ended in _OUTCOMES),
                        _share(one.outcomes["succeeded"], one.outcomes["succeeded"] + one.outcomes["failed"]),
                    ]
                    for name, one in self._commonest()
                ],
            },
        )

    def _duration(self) -> Figure:
        return _figure(
            "duration",
            "Duration of runs",
            "startTime to completionTime",
            "The clocks are the cluster's. The time before the start is not in it.",
            len(self._durations),
            self._runs,
            _spread(self._durations),
            {
                "columns": ["pipeline", "runs", "p50 in s", "p95 in s"],
                "rows": [
                    [name, len(one.durations), quantile(one.durations, 50), quantile(one.durations, 95)]
                    for name, one in self._commonest()
                ],
            },
        )

    def _waits(self) -> Figure:
        waits = (
            ("in the controller", self._queue),
            ("for a pod", self._pod),
            ("for the first step", self._step),
        )
        return _figure(
            "queue-wait",
            "Waiting times",
            "creationTimestamp to startTime; to the start of the pod; to the start of its first step",
            "The second and the third are known only where the pod was read for an execution report. "
            "They are whole seconds, so short waits are 0.",
            len(self._queue),
            self._runs,
            [
                _value(f"{name}, p{share}", quantile(seconds, share), "s")
                for name, seconds in waits
                for share in (50, 95)
            ],
            {"columns": ["wait", "runs"], "rows": [[name, len(seconds)] for name, seconds in waits]},
        )

    def _pushes(self) -> Figure:
        return _figure(
            "image-push-failures",
            "Images that were not given",
            "TaskRuns that failed, whose Task declares a result for an image, and that gave none",
            "A push that failed cannot be told from a build that failed: both are in this number. It is "
            "known only where a source has the whole TaskRun.",
            self._recorded,
            self._runs,
            [_value("runs", self._images[True] if self._recorded else None, "runs")],
        )

    def _retries(self) -> Figure:
        again = sum(number for attempts, number in self._attempts.items() if attempts)
        attempts = sum(number * runs for number, runs in self._attempts.items())
        known = self._attempts.total()
        return _figure(
            "restarts",
            "Runs that were tried again",
            "earlier attempts in retriesStatus, or in the execution report",
            "Tekton's own retries alone. A run that a person starts again is a new run, and a container that "
            "the kubelet starts again is not counted.",
            known,
            self._runs,
            [
                _value("runs tried again", again if known else None, "runs"),
                _value("earlier attempts", attempts if known else None, "attempts"),
            ],
        )

    def _delivery(self) -> Figure:
        return _figure(
            "trigger-delivery",
            "Runs from triggers",
            "the labels triggers.tekton.dev/… of the runs",
            "Labels are claims of whoever may create runs. An event that started no run, and one that never "
            "came, is in no run: this figure cannot show that a delivery was lost.",
            self._triggered,
            self._runs,
            [
                _value("runs with a trigger", self._triggered or None, "runs"),
                _value("events", len(self._events) if self._triggered else None, "events"),
            ],
            {
                "columns": ["trigger", "runs"],
                "rows": [
                    [name, runs]
                    for name, runs in sorted(self._triggers.items(), key=lambda one: (-one[1], one[0]))[
                        :MOST_ROWS
                    ]
                ],
            },
        )

    def _completeness(self) -> Figure:
        return _figure(
            "provenance-completeness",
            "Completeness of the provenance",
            "the verified statements of runs that are evidenced",
            "Complete means that the statement has it, not that it has everything: an input that a step "
            "fetched by itself is in no statement.",
            self._described,
            self._runs,
            [
                _value(name, number if self._described else None, "runs")
                for name, number in zip(COMPLETE, self._complete, strict=True)
            ],
        )

    def _cost(self) -> Figure:
        limit = (
            "Requested cost: a request is not use, and a shared node has idle time that nobody requested. "
            "Known only where an execution report has the requests and the times of the containers."
        )
        known = self._requested
        values = [
            _value("CPU", str(_quotient(self._cpu, 1000 * 3600)) if known else None, "CPU hours"),
            _value("memory", str(_quotient(self._memory, 1024 * 3600)) if known else None, "GiB hours"),
        ]
        if self._prices is None:
            limit += " No price table was given, so the cost is not known."
        cost = self._money(self._cpu, self._memory) if known else None
        unit = self._prices.currency if self._prices is not None else ""
        values.append(_value("requested cost", cost, unit))
        rows: list[list[int | str | None]] = [
            [name, one.requested, self._money(one.cpu, one.memory)]
            for name, one in self._commonest()
            if one.requested
        ]
        return _figure(
            "requested-cost",
            "Requested cost",
            "the requests of all containers times the seconds that they ran, and the price table of the user",
            limit,
            known,
            self._runs,
            values,
            {"columns": ["pipeline", "runs", f"cost in {unit}"], "rows": rows} if self._prices else _NONE,
        )

    def _money(self, cpu: int, memory: int) -> str | None:
        if self._prices is None:
            return None
        return str(self._prices.cost(cpu, memory).quantize(_CENT, ROUND_HALF_EVEN))


class _Pipeline:
    """The runs of one pipeline."""

    __slots__ = ("cpu", "durations", "memory", "outcomes", "requested")

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.durations = array("q")
        self.requested = self.cpu = self.memory = 0


def quantile(seconds: Sequence[int], share: int) -> int | None:
    """Return the smallest number that at least ``share`` percent are not above; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return ordered[max(-(-len(ordered) * share // 100) - 1, 0)]


def _spread(seconds: Sequence[int]) -> list[Value]:
    return [_value(f"p{share}", quantile(seconds, share), "s") for share in (50, 95)]


def _between(start: int | None, end: int | None) -> int | None:
    return end - start if start is not None and end is not None and end >= start else None


def _share(part: int, total: int) -> str | None:
    """Return a share in percent with one decimal, rounded down; None of nothing."""
    if not total:
        return None
    tenths = part * 1000 // total
    return f"{tenths // 10}.{tenths % 10}"


def _quotient(amount: int, by: int) -> Decimal:
    return (Decimal(amount) / by).quantize(_CENT, ROUND_HALF_EVEN)


def _value(name: str, value: int | str | None, unit: str) -> Value:
    return {"name": name, "value": value, "unit": unit}


def _figure(
    identifier: str,
    title: str,
    basis: str,
    limit: str,
    known: int,
    of: int,
    values: list[Value],
    table: Table = _NONE,
) -> Figure:
    return {
        "id": identifier, "title": title, "basis": basis, "limit": limit, "known": known, "of": of,
        "values": values, "table": table,
    }  # fmt: skip
