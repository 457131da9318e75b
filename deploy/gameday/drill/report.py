"""What a game day showed, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from drill.play import BASELINE, Fate, Played, Verdict

SCHEMA = "https://provenance.chains/gameday/v1"
NOTHING_LOST, LOST, USAGE, UNDECIDED = 0, 1, 2, 4
"""Exit codes."""
WHEN = {
    "before": "attested before the fault",
    "during": "attested during it",
    "after": "attested after it",
    "never": "not attested",
}


def exit_code(played: Sequence[Played], asked: Sequence[str]) -> int:
    """Return 1 if something is lost, 4 if it could not be decided, otherwise 0.

    A scenario that does not apply is undecided if it was asked for by name.
    """
    verdicts = {each.verdict for each in played}
    if Verdict.LOST in verdicts:
        return LOST
    named = any(each.verdict is Verdict.NOT_APPLICABLE and each.name in asked for each in played)
    return UNDECIDED if Verdict.UNDECIDED in verdicts or named else NOTHING_LOST


def to_text(played: Played) -> str:
    """Return the lines about one scenario."""
    lines = [f"{played.name}: {played.breaks}"]
    if played.fates and played.name != BASELINE:
        number = {when: sum(each.when == when for each in played.fates) for when in WHEN}
        told = ", ".join(f"{number[when]} {text}" for when, text in WHEN.items() if number[when])
        lines.append(f"  of {len(played.fates)} runs {told}")
    if played.verdict in {Verdict.NOTHING_LOST, Verdict.LOST}:
        lines.append(f"  lost: {len(played.lost) or 'nothing'}")
        lines += [f"    {each.name} ({each.state}): {each.words}" for each in played.lost]
    if played.recovery_seconds is not None:
        lines.append(f"  {_times(played)}")
    if played.fact:
        lines.append(f"  {played.fact}")
    if played.verdict is Verdict.UNDECIDED:
        lines.append(f"  could not decide: {played.reason}")
    elif played.verdict is Verdict.NOT_APPLICABLE:
        lines.append(f"  does not apply: {played.reason}")
    return "\n".join(lines)


def _times(played: Played) -> str:
    seconds = f"{played.recovery_seconds:.1f} s"
    if played.name == BASELINE:
        return f"{seconds} from the end of the run until it was attested"
    if played.fault_seconds is None:
        return f"recovery: {seconds} from the fault until the last run was attested"
    lasted = f"the fault lasted {played.fault_seconds:.1f} s"
    return f"recovery: {seconds} from the end of the fault until the last run was attested; {lasted}"


def to_json(played: Sequence[Played], code: int, interrupted: str) -> str:
    """Return everything as one JSON document."""
    body = {
        "schema": SCHEMA, "exitCode": code, "interrupted": interrupted or None,
        "scenarios": [_scenario(each) for each in played],
    }  # fmt: skip
    return json.dumps(body, indent=1)


def _scenario(played: Played) -> dict[str, Any]:
    return {
        "name": played.name,
        "breaks": played.breaks,
        "verdict": played.verdict.value,
        "reason": played.reason or None,
        "fact": played.fact or None,
        "faultSeconds": _rounded(played.fault_seconds),
        "recoverySeconds": _rounded(played.recovery_seconds),
        "lost": [_fate(each) for each in played.lost],
        "runs": [_fate(each) for each in played.fates],
    }


def _fate(fate: Fate) -> dict[str, str]:
    return {
        "name": fate.name, "uid": fate.uid, "attested": fate.when, "mark": fate.mark, "state": fate.state,
        "words": fate.words,
    }  # fmt: skip


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
