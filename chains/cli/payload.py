"""The command ``payload``: print the unsigned statement of one run."""

from __future__ import annotations

from chains.assembly.workspace import load_settings
from chains.attest.payloads import build_provenance, warnings
from chains.cli.arguments import OK, Option, Options, config, files
from chains.cli.commands import Command
from chains.errors import ChainsError, UsageError
from chains.isolation.judgement import judge_isolation
from chains.statements.formats import FORMATS
from chains.tekton.run_files import Intake, RunKey, read_inputs
from chains.terminal import say, write_document
from chains.text import count


def _payload(options: Options) -> int:
    """Print the unsigned statement of one run."""
    if options.format and options.format not in FORMATS:
        raise UsageError(f"unknown format {options.format!r}: expected one of {', '.join(FORMATS)}")
    settings = load_settings(options.config)
    intake = read_inputs(options.files)
    for _, problem in intake.problems:
        say(f"warning: {problem}")
    frozen = intake.snapshot(_one_run(intake, options.run))
    level = judge_isolation(
        frozen, intake.surroundings_of(frozen), policies_vouched=settings.config.policies_vouched
    ).level
    statement = build_provenance(frozen, settings.config, options.format, level)
    for warning in warnings(frozen):
        say(f"warning: {warning}")
    write_document(statement.to_bytes())
    return OK


def _one_run(intake: Intake, chosen: str) -> RunKey:
    """Return the run to print: the chosen one, or the only run that is not a child of another run."""
    if chosen:
        found = [
            key
            for key in intake.runs
            if chosen in {f"{key[1]}/{key[2]}", f"{key[0].lower()}/{key[1]}/{key[2]}"}
        ]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{key[1]}/{key[2]}" for key in list(intake.runs)[:10]) or "none"
        problem = (
            "is ambiguous; write KIND/NAMESPACE/NAME" if found else f"is not in the input, which has {known}"
        )
        raise UsageError(f"--run {chosen}: {problem}")
    top = intake.top()
    if len(top) == 1:
        return top[0]
    if not top:
        if intake.problems:
            raise ChainsError(intake.problems[0][1])
        raise UsageError("the input holds no TaskRun or PipelineRun")
    names = ", ".join(f"{key[1]}/{key[2]}" for key in top[:10])
    raise UsageError(f"the input holds {count(len(top), 'run')}; pick one with --run NAMESPACE/NAME: {names}")


payload = Command(
    "payload",
    _payload,
    [
        files(),
        config(),
        Option("--format", "the format, instead of the configured one", metavar="NAME"),
        Option("--run", "the run to print, if the input holds several", metavar="NAMESPACE/NAME"),
    ],
)
