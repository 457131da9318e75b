"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done or verified, 1 something failed or evidence is wrong, 2 wrong usage or configuration,
3 no evidence, 4 could not decide. Every option has an environment twin, named in the help.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from chains import __version__
from chains.cli.arguments import FAILURE, asks_for_json
from chains.cli.commands import COMPLETE, PROGRAM, Group, usage_error
from chains.errors import ChainsError, UsageError
from chains.extras import install_hint
from chains.masking.forms import mask
from chains.terminal import drop_output, say, write_json, write_line
from chains.text import why_of
from signers.errors import SignerError
from storage.errors import StoreError

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
    "cel_expr_python": "policy",
    "sqlalchemy": "index",
    "jinja2": "web",
    "joserfc": "web",
    "typst": "report",
    "psycopg": "postgres",
    "pyarrow": "parquet",
}
"""The extra that installs a package, for packages that are not in a plain installation."""
_SECTIONS = {
    "Make evidence": {
        "payload": ("payload:payload", "print the unsigned statement of a run"),
        "attest": ("attest:attest", "attest, sign and store every run of the input"),
        "get": ("evidence:get", "print the evidence in stores"),
        "copy": ("evidence:copy", "copy evidence from one store to another"),
        "export": ("evidence:export", "write evidence and keys to a folder that cosign verifies offline"),
    },
    "Read and verify it": {
        "verify": ("verify:verify", "verify evidence, and say why it is valid or not"),
        "inspect": (
            "index.inspect_evidence:inspect",
            "show one page of evidence: source, builder, isolation, times, steps, what is missing",
        ),
        "lineage": ("index.lineage:lineage", "show what an image was made from, and what was made from it"),
        "diff": ("index.diff:diff", "say what changed between two builds"),
    },
    "Ask about many runs": {
        "index": ("index.index:index", "build, update and describe an index of the evidence in stores"),
        "search": (
            "index.search:search",
            "find evidence in an index: by digest, commit, run, signer and more",
        ),
        "audit": ("audit.audit:audit", "say whether every finished run has evidence that verifies"),
        "ledger": (
            "audit.ledger.commands:ledger",
            "verify and show the ledger of runs, and prove that it has one",
        ),
        "retention": (
            "retention.retention:retention",
            "say what evidence must be kept until when, whether its lock says so, and what may go",
        ),
        "report": (
            "reports.report:report",
            "write a report of a period: population, evidence, keys, exemptions, figures, limits",
        ),
        "web": ("web.web:web", "serve the evidence browser: pages of what an index knows"),
        "access": ("web.access:access", "check who may see what in the browser, and make tokens for its API"),
    },
    "Decide what may run": {
        "policy": ("policies.policy:policy", "check, try, explain and write policies"),
        "preflight": (
            "policies.preflight:preflight",
            "say whether every image in use would pass the policies",
        ),
        "admission": ("policies.admission:admission", "answer the API server which images may run"),
        "admission-certificates": (
            "policies.admission_certificates:admission_certificates",
            "make and renew the certificates of the admission webhook",
        ),
        "revoke": ("revoke:revoke", "write, sign and show lists of what no longer counts"),
        "blast-radius": (
            "policies.blast_radius:blast_radius",
            "say what a key, a builder, an image, a Task or a commit that went bad has touched",
        ),
    },
    "Work in a cluster": {
        "controller": ("cluster:controller", "watch a cluster and attest every finished run"),
        "backfill": ("cluster:backfill", "attest finished runs that have no mark, without a controller"),
        "resign": ("cluster:resign", "remove the marks from runs, so that they are attested again"),
        "finalizers": ("cluster:finalizers", "work with the controller's finalizers"),
        "doctor": ("doctor:doctor", "check key, stores, log and permissions, and say what to do next"),
    },
    "Keys and settings": {
        "keys": ("keys:keys", "make keys and print public keys"),
        "config": ("config:config", "work with configurations"),
        "completion": ("completion:completion", "print the script that completes commands in a shell"),
        "help": ("manual.help:help_", "show the help of a command, or of a topic such as stores"),
        "man": ("manual.man:man", "write man pages of every command to a folder"),
        "version": ("version:version", "print the version, the commit, and which extras are installed"),
    },
}
"""Every command by its section of the help: its module in this folder, its name there, and its line."""


class _Program(Group):
    """The command line as a click group.

    Click's test runner gets the same output and exit code as a shell.
    """

    def main(
        self, args: Sequence[str] | None = None, *_: Any, standalone_mode: bool = True, **__: Any
    ) -> Any:
        """Run a command line. Exit with its exit code, or return it if ``standalone_mode`` is false."""
        code = run(sys.argv[1:] if args is None else args)
        if standalone_mode:
            sys.exit(code)
        return code


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. An error of the user never raises.

    Raises :class:`SystemExit` with code 0 after ``--help`` and ``--version``.
    """
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
        # the reader of our output has closed it, so nothing more can be written
        drop_output()
        return FAILURE
    except OSError as error:
        return _failed([f"{error.filename or 'standard output'}: {why_of(error)}"], FAILURE, arguments)
    return code


def _failed(lines: Sequence[str], code: int, arguments: Sequence[str]) -> int:
    """Write why a command ended without a result, and the same as JSON if the user asked for it.

    Returns ``code``.
    """
    say(f"error: {lines[0]}", *lines[1:])
    if asks_for_json(arguments):
        write_json({"error": mask("; ".join(lines)), "exitCode": code}, indent=True)
    return code


def _carry_out(arguments: Sequence[str]) -> int:
    if COMPLETE in os.environ:
        from click.shell_completion import shell_complete  # noqa: PLC0415 - only a shell asks for it

        return shell_complete(program, {}, PROGRAM, COMPLETE, os.environ[COMPLETE])
    try:
        with program.make_context(PROGRAM, list(arguments)) as context:
            code: int = program.invoke(context)
    except click.exceptions.Exit as ended:
        raise SystemExit(ended.exit_code) from None
    except click.UsageError as error:
        raise usage_error(error) from error
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise UsageError(f"the module {error.name} is missing: {install_hint(extra)}") from error
    return code


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        write_line(f"chains {__version__}")
        ctx.exit()


program = _Program(
    PROGRAM,
    text="Supply-chain provenance for Tekton.",
    lazy={
        name: (f"chains.cli.{place}", text)
        for commands in _SECTIONS.values()
        for name, (place, text) in commands.items()
    },
    sections=_SECTIONS,
    parameters=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        )
    ],
)
