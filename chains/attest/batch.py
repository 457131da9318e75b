"""The flow for many runs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping

from chains.attest.flow import attest_run, distrust
from chains.attest.image_environment import ImageReader
from chains.attest.outcome import FAILED, Outcome
from chains.attest.stores import Stores
from chains.config.parse import Config
from chains.errors import ChainsError
from chains.statements.redaction import open_redaction
from chains.tekton.run_files import Intake, RunKey
from signers.base import Signer
from signers.sealer import Sealer

AT_ONCE = 64
"""Runs in work at the same time: a registry's tag is written, and looked at again after a pause."""


async def attest_all(
    intake: Intake,
    config: Config,
    signer: Signer | Sealer | Mapping[str, Sealer],
    stores: Stores,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    images: ImageReader | None = None,
) -> list[Outcome]:
    """Attest every run of the intake, many at once, in the order of the input.

    A run that cannot be read, and a file that cannot, is an outcome of its own. No receipt is believed
    before the stores have flushed. Raises :class:`ConfigError` for rules of redaction that cannot be used.
    """
    redaction = open_redaction(config.redaction)

    async def attest(key: RunKey) -> Outcome:
        run = intake.snapshot(key)
        return await attest_run(run, intake.surroundings_of(run), config, signer, stores, redaction, images)

    outcomes: dict[RunKey, Outcome] = {}
    waiting = iter(list(intake.runs))
    at_once = min(AT_ONCE, len(intake.runs))
    await asyncio.gather(*(_work(waiting, attest, outcomes, on_outcome) for _ in range(at_once)))
    lost = await stores.flush()
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
    except Exception as error:  # noqa: BLE001 - a run that breaks the formatter must hurt nobody else
        return Outcome(
            label, "", FAILED, f"{label}: unexpected {type(error).__name__}: {error}; please report it"
        )
