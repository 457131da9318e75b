"""The command ``attest``: attest every run of the input, sign the evidence and store it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from typing import Any

from chains.assembly.flow import flow_of
from chains.assembly.signers import check_signers
from chains.assembly.stores import ClusterNeeded, open_stores
from chains.assembly.workspace import Settings, load_settings, open_sealers_for
from chains.attest.batch import attest_all
from chains.cli.arguments import (
    FAILURE,
    FILE,
    OK,
    Option,
    Options,
    config,
    files,
    output,
    password_file,
    store,
)
from chains.cli.commands import Command
from chains.cli.progress import Progress
from chains.cli.tables import write_table
from chains.errors import ConfigError, UsageError
from chains.loop import carry_out
from chains.masking.forms import mask
from chains.tekton.run_files import Intake, read_inputs
from chains.terminal import say, write_json, write_text
from chains.text import count


def _attest(options: Options) -> int:
    """Attest every run of the input and print the outcomes. Returns 1 if a run failed."""
    settings = load_settings(options.config)
    check_signers(settings.config, key_given=bool(options.key))
    intake = read_inputs(options.files)
    if not intake.runs and not intake.problems:
        raise UsageError("the input holds no TaskRun or PipelineRun")
    # all outcomes stay in memory until the end, so frequent garbage collection finds nothing
    gc.set_threshold(100_000, 50, 50)
    outcomes = carry_out(_attest_async(intake, settings, options))
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    if options.output == "json":
        write_json({"runs": [outcome.to_json() for outcome in outcomes]}, indent=True)
    else:
        _print_outcomes(outcomes)
    return FAILURE if failed else OK


async def _attest_async(intake: Intake, settings: Settings, options: Options) -> list[Any]:
    chosen = settings.config
    try:
        stores = open_stores(options.store or [], settings)
    except ClusterNeeded as error:
        hint = "pass --store oci-layout:PATH, file:PATH, oci: or another store"
        raise ConfigError(f"{error}; {hint}") from error
    seal = partial(open_sealers_for, chosen, options.key, options.password_file, tell=say)
    async with flow_of(chosen, stores, seal) as flow:
        bar = Progress(len(intake.runs), "runs")
        try:
            return await attest_all(
                intake, flow, lambda outcome: bar.advance(failed=outcome.state == "failed")
            )
        finally:
            bar.close()


def _print_outcomes(outcomes: Sequence[Any]) -> None:
    rows = []
    for outcome in outcomes:
        if not outcome.entries:
            rows.append((outcome.run, outcome.state, "", "", mask(outcome.reason)))
        rows += [
            ("" if number else outcome.run, entry.state, entry.payload, entry.form, entry.told)
            for number, entry in enumerate(outcome.entries)
        ]
    write_table(("RUN", "STATE", "PAYLOAD", "FORM", "WHERE, OR WHY NOT"), rows)
    counts = {
        state: sum(outcome.state == state for outcome in outcomes)
        for state in ("signed", "failed", "skipped")
    }
    unchanged = sum(outcome.unchanged for outcome in outcomes)
    text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    write_text(f"\n{count(len(outcomes), 'run')}: {text}" + (f"; {unchanged} unchanged" if unchanged else ""))
    for outcome in outcomes:
        for warning in outcome.warnings:
            say(f"warning: {outcome.run}: {warning}")


attest = Command(
    "attest",
    _attest,
    [
        files(),
        config(),
        Option(
            "--key",
            "the key to sign with: a file or the reference of a key service (default: .chains/signing.key, "
            "which is created if it does not exist)",
            metavar="REF",
            type=FILE,
        ),
        password_file(),
        store("where to store the evidence"),
        output(),
    ],
)
