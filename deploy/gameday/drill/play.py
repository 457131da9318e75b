"""Plays one scenario: runs, the fault, the end of the fault, and what became of the runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from drill.errors import GameDayError, InterruptedGameError, NotApplicableError, UndecidedError
from drill.evidence import EVIDENCED, UNDECIDED, Finding, audit
from drill.game import Game
from drill.runs import Run, Runs
from drill.scenarios.base import Scenario
from drill.signals import held
from drill.undo import undo

SPREAD = 1.0
"""Seconds by which each run takes longer than the one before, so that they do not all end at once."""
AGAIN = 5.0
"""Seconds until an audit that could not decide is repeated once: a service may have just come back."""
BASELINE = "baseline"


class Verdict(StrEnum):
    """What is known afterwards."""

    NOTHING_LOST = "nothing-lost"
    LOST = "lost"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one run."""

    name: str
    uid: str
    when: str
    """When it was marked: ``before``, ``during`` or ``after`` the fault, or ``never``."""
    mark: str
    state: str
    words: str


@dataclass
class Played:
    """What one scenario showed. Seconds are None if there is nothing to measure."""

    name: str
    breaks: str
    verdict: Verdict = Verdict.UNDECIDED
    reason: str = ""
    fact: str = ""
    fault_seconds: float | None = None
    recovery_seconds: float | None = None
    fates: list[Fate] = field(default_factory=list)

    @property
    def lost(self) -> list[Fate]:
        """Return the runs without evidence."""
        return [each for each in self.fates if each.state != EVIDENCED and each.state not in UNDECIDED]


def baseline(game: Game, runs: Runs) -> Played:
    """Let one run be attested without any fault."""
    played = Played(BASELINE, "nothing is broken: one run shows that the question can be answered")
    try:
        runs.create(0)
        deadline = game.deadline()
        if not runs.wait(until="ended", deadline=deadline):
            raise UndecidedError(f"the run did not end within {game.options.timeout:g} s: can its pod start?")
        ended = time.monotonic()
        runs.wait(until="marked", deadline=deadline)
        _judge(game, played, runs, ended, ended)
        if played.lost:
            raise UndecidedError(f"even without a fault: {played.lost[0].words}")
    except InterruptedGameError:
        raise
    except GameDayError as error:
        played.verdict, played.reason = Verdict.UNDECIDED, str(error)
    return played


def play(game: Game, scenario: Scenario, runs: Runs) -> Played:
    """Play a scenario. The fault is undone whatever happens, an interruption included."""
    played = Played(scenario.name, scenario.breaks)
    journal = game.written()
    level = len(journal.steps)
    try:
        journal.limit.allow(scenario.touches(game))
        journal.allow()
        _play(game, scenario, runs, played, level)
    except InterruptedGameError:
        raise
    except NotApplicableError as error:
        played.verdict, played.reason = Verdict.NOT_APPLICABLE, str(error)
    except GameDayError as error:
        played.verdict, played.reason = Verdict.UNDECIDED, str(error)
    return played


def _play(game: Game, scenario: Scenario, runs: Runs, played: Played, level: int) -> None:
    options, deadline = game.options, game.deadline()
    # without the API server none can be created later
    before = options.runs if scenario.stops_creation else (options.runs + 1) // 2
    for number in range(before):
        runs.create(options.run_seconds + number * SPREAD)
    runs.wait(until="ended", deadline=deadline, least=1)
    begun = time.monotonic()
    try:
        scenario.inject(game)
        begun = time.monotonic() if scenario.lasts else begun
        for number in range(options.runs - before):
            runs.create(number * SPREAD)
        runs.wait(until="ended", deadline=deadline)
        if scenario.lasts:
            runs.wait(until="marked", deadline=time.monotonic() + options.hold)
    finally:
        with held():
            _undo(game, level)
    over = time.monotonic() if scenario.lasts else begun
    played.fault_seconds = over - begun if scenario.lasts else None
    runs.wait(until="marked", deadline=game.deadline())
    found = _judge(game, played, runs, begun, over)
    if scenario.lasts and scenario.stops_all and not any(each.when == "after" for each in played.fates):
        raise UndecidedError("all runs were attested in spite of the fault: it did not reach the controller")
    played.fact = scenario.fact(game, list(runs.found.values()), found)


def _undo(game: Game, level: int) -> None:
    undo(game.written(), game.kubectl, seconds=game.options.timeout, down_to=level)


def _judge(game: Game, played: Played, runs: Runs, begun: float, over: float) -> dict[str, Finding]:
    everything = list(runs.found.values())
    found = _audited(game, everything)
    played.fates = [_fate(each, found.get(each.uid), begun, over) for each in everything]
    marked = [each.marked for each in everything if each.marked]
    if marked and not played.lost:
        played.recovery_seconds = max(0.0, max(marked) - over)
    unclear = [each for each in played.fates if each.state in UNDECIDED]
    played.verdict = Verdict.LOST if played.lost else Verdict.NOTHING_LOST
    if unclear and not played.lost:
        raise UndecidedError(f"{unclear[0].name}: {unclear[0].words}")
    return found


def _audited(game: Game, runs: Sequence[Run]) -> dict[str, Finding]:
    found = audit(game.options.chains, game.options.audit, runs)
    if any(each.state in UNDECIDED for each in found.values()):
        time.sleep(AGAIN)
        found = audit(game.options.chains, game.options.audit, runs)
    return found


def _fate(run: Run, finding: Finding | None, begun: float, over: float) -> Fate:
    when = (
        "after"
        if run.marked > over
        else "during"
        if run.marked > begun
        else "before"
        if run.marked
        else "never"
    )
    state, words = (
        ("missing", "the audit does not know it") if finding is None else (finding.state, finding.words)
    )
    if run.is_gone and state != EVIDENCED:
        state, words = "missing", f"it was deleted, and there is no evidence of it ({words})"
    elif not run.marked and state != EVIDENCED:
        words = f"not attested in time: {words}"
    return Fate(run.name, run.uid, when, run.mark, state, words)
