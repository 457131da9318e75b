"""The command line: results go to standard output, the rest to standard error.

Exit codes: 0 done or verified, 1 something failed or evidence is wrong, 2 wrong usage or configuration,
3 no evidence, 4 could not decide. Every option has an environment twin, named in the help.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from chains.cli.arguments import (
    FAILURE,
    Parser,
    asks_for_json,
)
from chains.cli.attest import add_attest_command
from chains.cli.cluster import add_cluster_commands
from chains.cli.config import add_config_commands
from chains.cli.doctor import add_doctor_command
from chains.cli.evidence import add_store_commands
from chains.cli.keys import add_keys_commands
from chains.cli.payload import add_payload_command
from chains.cli.verify import add_verify_command
from chains.errors import ChainsError, UsageError
from chains.extras import install_hint
from chains.masking.forms import mask
from chains.terminal import (
    drop_output,
    say,
    write_json,
)
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


def _parser() -> Parser:
    parser = Parser(prog="chains", description="Supply-chain provenance for Tekton.")
    parser.add_argument("--version", action="version", version=f"chains {version('provenance-chains')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)

    add_payload_command(commands)
    add_attest_command(commands)
    add_verify_command(commands)
    add_cluster_commands(commands)
    add_doctor_command(commands)
    add_store_commands(commands)
    add_keys_commands(commands)
    add_config_commands(commands)
    return parser
