"""What a report shows for each control of a map: a state that falls by data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chains.report.controls.fact import Value, shown
from chains.report.controls.facts import FACTS, measure_all
from chains.report.controls.format import Highest
from chains.report.controls.load import Control, ControlMap
from chains.report.controls.requirement import Requirement
from chains.report.controls.tally import Tally


class State(StrEnum):
    """What a report shows for a control."""

    EVIDENCED = "evidenced"
    """Everything that the map demands holds for the whole period."""
    PARTLY = "partly"
    """Some of the control is shown."""
    NOT_EVIDENCED = "not-evidenced"
    """The report could show something of the control, and does not."""
    NOT_HERE = "not-here"
    """No report can show anything of the control."""


def _floor(*texts: str) -> tuple[Requirement, ...]:
    return tuple(Requirement.parse(text, FACTS) for text in texts)


PARTLY_FLOOR = _floor("evidenced-runs >= 1", "attestations >= 1", "signers-trusted")
"""Holds for every control that is at least partly evidenced, whatever its map demands."""
EVIDENCED_FLOOR = _floor(
    "coverage = 100", "unknown-runs = 0", "failed-runs = 0", "skipped-runs = 0", "disposed-runs = 0",
    "period-over", "population-whole", "revoked-keys-used = 0",
)  # fmt: skip
"""Holds for every evidenced control besides: no map claims for a period what is not shown for all of it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One control with its state. ``failed`` is what does not hold for a higher state, with the value."""

    control: Control
    state: State
    failed: tuple[tuple[Requirement, Value], ...]
    serving: tuple[Requirement, ...]
    """All that the control demands, the floors first."""

    @property
    def reason(self) -> str:
        """Why the state is not higher, in words."""
        if self.state is State.NOT_HERE:
            return "no report can show it"
        if not self.failed:
            if self.control.highest is Highest.PARTLY:
                return "everything that is demanded holds; a report never shows more of this control"
            return "everything that is demanded holds"
        told = (
            f"{requirement} does not hold: {shown(value, FACTS[requirement.fact].kind)}"
            for requirement, value in self.failed
        )
        return "; ".join(told)


def judge(one: ControlMap, values: Mapping[str, Value]) -> tuple[Judged, ...]:
    """Return every control of a map with its state. A fact that ``values`` does not have never holds."""
    return tuple(_judge(control, values) for control in one.controls)


def judge_all(maps: Sequence[ControlMap], counted: Tally) -> list[tuple[ControlMap, tuple[Judged, ...]]]:
    """Return what a report shows for every control of the maps."""
    values = measure_all(counted)
    return [(one, judge(one, values)) for one in maps]


def _judge(control: Control, values: Mapping[str, Value]) -> Judged:
    if control.highest is Highest.NOT_HERE:
        return Judged(control, State.NOT_HERE, (), ())
    below = _once((*PARTLY_FLOOR, *control.partly))
    above = _once((*EVIDENCED_FLOOR, *control.evidenced)) if control.highest is Highest.EVIDENCED else ()
    serving = _once((*below, *above))
    failed = tuple((one, values.get(one.fact)) for one in serving if not one.holds(values.get(one.fact)))
    is_partly = not any(requirement in below for requirement, _ in failed)
    if not is_partly:
        state = State.NOT_EVIDENCED
    elif failed or control.highest is Highest.PARTLY:
        state = State.PARTLY
    else:
        state = State.EVIDENCED
    return Judged(control, state, failed, serving)


def _once(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    return tuple(dict.fromkeys(requirements))
