"""The command line: one function for each sub-command; results go to standard output, the rest to stderr.

Exit codes: 0 done or verified, 1 something failed or evidence is wrong, 2 wrong usage or configuration,
3 no evidence, 4 could not decide. Every option has an environment twin, named in the help.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chains.assembly.workspace import (
    Settings,
    check_signers,
    load_settings,
    open_images,
    open_key,
    open_sealers_for,
    open_stores,
)
from chains.cli.arguments import Parser, add_output, add_store, asks_for_json
from chains.cli.cluster import add_cluster_commands
from chains.cli.doctor import add_doctor_command
from chains.cli.evidence import add_store_commands
from chains.cli.keys import add_keys_export
from chains.cli.progress import Progress
from chains.cli.verify import add_verify_command
from chains.columns import table
from chains.errors import ChainsError, UsageError
from chains.extras import install_hint
from chains.loop import carry_out
from chains.masking.forms import mask
from chains.tekton.run_files import Intake, Key, read_inputs
from chains.terminal import (
    drop_output,
    say,
    terminal_width,
    write_document,
    write_json,
    write_line,
    write_text,
)
from chains.text import count
from signers.base import SignerError
from storage.base import StoreError

OK, FAILURE = 0, 1
_INTERRUPTED = 130
_EXTRAS = {
    "kopf": "controller",
    "prometheus_client": "controller",
    "requests": "keyless",
    "rfc3161_client": "keyless",
    "sigstore": "keyless",
    "platformdirs": "keyless",
    "grpc": "spiffe",
    "boto3": "aws",
    "hvac": "vault",
    "pkcs11": "hsm",
}
"""Which extra brings a package that a plain installation does not have."""


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit code. Never raises for what a user can do wrong."""
    try:
        code = _carry_out(arguments)
    except ChainsError as error:
        return _failed(error.lines, error.exit_code, arguments)
    except (StoreError, SignerError) as error:
        return _failed([str(error)], FAILURE, arguments)
    except KeyboardInterrupt:
        say("stopped; what was stored stays stored, and running it again goes on")
        return _INTERRUPTED
    except BrokenPipeError:
        # the reader of our output went away; nothing more can be told to it
        drop_output()
        return FAILURE
    except OSError as error:
        say(f"error: {error.filename or 'standard output'}: {error.strerror or error}")
        return FAILURE
    return code


def _failed(lines: Sequence[str], code: int, arguments: Sequence[str]) -> int:
    """Tell why a command ended without a result, as JSON too where that was asked for; return ``code``."""
    say(f"error: {lines[0]}", *lines[1:])
    if asks_for_json(arguments):
        write_json({"error": mask("; ".join(lines)), "exitCode": code}, indent=True)
    return code


def _carry_out(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise UsageError(f"the module {error.name} is missing: {install_hint(extra)}") from error
    return code


def _payload(options: argparse.Namespace) -> int:
    """Print the unsigned statement of one run."""
    from chains.attest.payloads import FORMATS, build_provenance, warnings  # noqa: PLC0415 - keeps --help fast
    from chains.isolation.judgement import judge_isolation  # noqa: PLC0415 - keeps --help fast

    if options.format and options.format not in FORMATS:
        raise UsageError(f"unknown format {options.format!r}: expected one of {', '.join(FORMATS)}")
    settings = load_settings(options.config)
    intake = read_inputs(options.files)
    for _, problem in intake.problems:
        say(f"warning: {problem}")
    frozen = intake.snapshot(_one_run(intake, options.run))
    level = judge_isolation(
        frozen, intake.beside_of(frozen), policies_vouched=settings.config.policies_vouched
    ).level
    statement = build_provenance(frozen, settings.config, options.format, level)
    for warning in warnings(frozen):
        say(f"warning: {warning}")
    write_document(statement.to_bytes())
    return OK


def _one_run(intake: Intake, chosen: str) -> Key:
    """Return the run to print: the chosen one, or the only one that is no other's child."""
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


def _attest(options: argparse.Namespace) -> int:
    """Attest every run of the input."""
    settings = load_settings(options.config)
    check_signers(settings.config, key_given=bool(options.key))
    intake = read_inputs(options.files)
    if not intake.runs and not intake.problems:
        raise UsageError("the input holds no TaskRun or PipelineRun")
    # a command that keeps every outcome until its end gains nothing from looking for garbage often
    gc.set_threshold(100_000, 50, 50)
    outcomes = carry_out(_attest_async(intake, settings, options))
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    if options.output == "json":
        write_json({"runs": [outcome.to_json() for outcome in outcomes]}, indent=True)
    else:
        _print_outcomes(outcomes)
    return FAILURE if failed else OK


async def _attest_async(intake: Intake, settings: Settings, options: argparse.Namespace) -> list[Any]:
    from chains.attest.flow import attest_all  # noqa: PLC0415 - keeps --help fast

    stores = open_stores(options.store or [], settings)
    images = open_images(settings.config)
    try:
        config = settings.config
        sealers = await asyncio.to_thread(open_sealers_for, config, options.key, options.password_file)
        bar = Progress(len(intake.runs), "runs")
        try:
            return await attest_all(
                intake,
                config,
                sealers,
                stores,
                lambda outcome: bar.advance(failed=outcome.state == "failed"),
                images,
            )
        finally:
            bar.close()
            for each in sealers.values():
                each.close()
    finally:
        await stores.close()
        if images is not None:
            await images.close()


def _print_outcomes(outcomes: Sequence[Any]) -> None:
    rows = []
    for outcome in outcomes:
        if not outcome.entries:
            rows.append((outcome.run, outcome.state, "", "", mask(outcome.reason)))
        rows += [
            ("" if number else outcome.run, entry.state, entry.payload, entry.form, entry.told)
            for number, entry in enumerate(outcome.entries)
        ]
    write_text(table(("RUN", "STATE", "PAYLOAD", "FORM", "WHERE, OR WHY NOT"), rows, terminal_width()))
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


def _keys_generate(options: argparse.Namespace) -> int:
    """Make a key pair in two new files."""
    from signers.base import SignerError  # noqa: PLC0415 - keeps --help fast
    from signers.keys.keyfile import generate_key, write_key_pair  # noqa: PLC0415 - keeps --help fast

    try:
        public = write_key_pair(Path(options.private), generate_key(options.algorithm))
    except SignerError as error:
        raise UsageError(str(error)) from error
    if options.output == "json":
        write_json({"private": options.private, "public": str(public), "algorithm": options.algorithm})
    else:
        write_line(f"private key: {options.private}")
        write_line(f"public key: {public}")
    return OK


def _keys_public(options: argparse.Namespace) -> int:
    """Print the public half of a key."""
    from signers.keys.public_key import PublicKey  # noqa: PLC0415 - keeps --help fast

    signer = open_key(options.key, password_file=options.password_file, make=False)
    if options.output == "json":
        key = PublicKey.from_pem(signer.public_pem)
        write_json(
            {
                "keyid": key.keyid,
                "algorithm": key.algorithm,
                "version": signer.version,
                "pem": signer.public_pem.decode(),
            }
        )
    else:
        write_document(signer.public_pem.rstrip())
    return OK


def _config_lint(options: argparse.Namespace) -> int:
    """Report everything that is wrong with a configuration, at once."""
    from chains.config.parse import lint_file  # noqa: PLC0415 - keeps --help fast

    problems = lint_file(Path(options.file))
    errors = sum(problem.severity == "error" for problem in problems)
    if options.output == "json":
        fields = [
            {
                "key": item.key,
                "severity": item.severity,
                "message": item.message,
                "suggestion": item.suggestion,
            }
            for item in problems
        ]
        write_json({"file": options.file, "problems": fields}, indent=True)
    else:
        for item in problems:
            hint = f"; did you mean {item.suggestion}?" if item.suggestion else ""
            write_line(f"{item.severity}: {item.key}: {item.message}{hint}")
        write_line(f"{options.file}: {count(errors, 'error')}, {count(len(problems) - errors, 'warning')}")
    return FAILURE if errors else OK


def _parser() -> Parser:
    parser = Parser(prog="chains", description="Supply-chain provenance for Tekton.")
    parser.add_argument("--version", action="version", version=f"chains {version('provenance-chains')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)

    payload = commands.add_parser("payload", help="print the unsigned statement of a run")
    _files(payload)
    payload.option("--config", "a chains-config ConfigMap or its data", metavar="FILE")
    payload.option("--format", "write this format instead of the configured one", metavar="NAME")
    payload.option("--run", "the run to print, where the input holds several", metavar="NAMESPACE/NAME")
    payload.set_defaults(command=_payload)

    attest = commands.add_parser("attest", help="attest, sign and store every run of the input")
    _files(attest)
    attest.option("--config", "a chains-config ConfigMap or its data", metavar="FILE")
    attest.option(
        "--key",
        "what to sign with: a file, or a key of a key service (default: .chains/signing.key, made once)",
        metavar="REF",
    )
    _password_file(attest)
    add_store(attest, "store here")
    add_output(attest)
    attest.set_defaults(command=_attest)

    add_verify_command(commands)

    add_cluster_commands(commands)
    add_doctor_command(commands)
    add_store_commands(commands)

    keys = commands.add_parser("keys", help="make keys and show public halves")
    kinds = keys.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    generate = kinds.add_parser("generate", help="make a key pair")
    generate.add_argument(
        "private", metavar="FILE", help="where the private key goes; the public one gets .pub"
    )
    generate.option("--algorithm", "the kind of key", default="ecdsa-p256", choices=_algorithms())
    add_output(generate)
    generate.set_defaults(command=_keys_generate)
    public = kinds.add_parser("public", help="print the public half of a key")
    public.add_argument(
        "key", metavar="REF", help="a private key file or a key service's key", nargs="?", default=""
    )
    _password_file(public)
    add_output(public)
    public.set_defaults(command=_keys_public)
    add_keys_export(kinds)

    config = commands.add_parser("config", help="work with configurations")
    kinds = config.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    lint = kinds.add_parser("lint", help="report everything wrong with a chains-config")
    lint.add_argument("file", metavar="FILE", help="a ConfigMap or its data, JSON or YAML")
    add_output(lint)
    lint.set_defaults(command=_config_lint)
    return parser


def _algorithms() -> list[str]:
    return ["ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519"]


def _password_file(parser: Parser) -> None:
    text = "the password of an encrypted key file, on the first line (default: COSIGN_PASSWORD, or asked for)"
    parser.option("--password-file", text, metavar="FILE")


def _files(parser: Parser) -> None:
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="runs as JSON or YAML, a folder, or - for stdin"
    )
