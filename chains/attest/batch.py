"""The flow for many runs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from chains.attest.flow import Flow, distrust, unexpected
from chains.attest.outcome import FAILED, Outcome
from chains.errors import ChainsError
from chains.tekton.run_files import Intake, RunKey

AT_ONCE = 64
"""Runs in work at the same time. Many, because a write of a registry's tag includes a pause."""


async def attest_all(
    intake: Intake, flow: Flow, on_outcome: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Attest every run of the intake, many at once, in the order of the input.

    A run or a file that cannot be read is an outcome of its own. The stores flush once, after all runs: an
    index is then written once and not for each run.
    """

    async def attest(key: RunKey) -> Outcome:
        run = intake.snapshot(key)
        return await flow.attest_unflushed(run, intake.surroundings_of(run))

    outcomes: dict[RunKey, Outcome] = {}
    waiting = iter(list(intake.runs))
    at_once = min(AT_ONCE, len(intake.runs))
    await asyncio.gather(*(_work(waiting, attest, outcomes, on_outcome) for _ in range(at_once)))
    lost = await flow.stores.flush()
    ordered = [outcomes[key] for key in intake.runs]
    problems = [Outcome(name, "", FAILED, reason) for name, reason in intake.problems]
    return [*(distrust(outcome, lost) for outcome in ordered), *problems]


async def _work(
    waiting: Iterator[RunKey],
    attest: Callable[[RunKey], Awaitable[Outcome]],
    outcomes: dict[RunKey, Outcome],
    on_outcome: Callable[[Outcome], None],
) -> None:
    for key in waiting:
        outcomes[key] = await _attest_one(key, attest)
        on_outcome(outcomes[key])


async def _attest_one(key: RunKey, attest: Callable[[RunKey], Awaitable[Outcome]]) -> Outcome:
    label = f"{key[0].lower()}/{key[1]}/{key[2]}"
    try:
        return await attest(key)
    except ChainsError as error:
        return Outcome(label, "", FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - a run that cannot be frozen must hurt nobody else
        return unexpected(label, "", error)
