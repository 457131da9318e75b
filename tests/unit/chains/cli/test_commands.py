"""Options and their twins, what is imported for which command, and help, version and usage errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.core import ParameterSource
from click.testing import CliRunner

from chains.cli.arguments import Argument, Option, Options
from chains.cli.commands import Command, Group
from chains.cli.main import program
from chains.cli.main import run as chains
from chains.errors import UsageError

ROOT = Path(__file__).parents[4]
RUN = ROOT / "examples" / "taskrun-image.json"


def commands(group: Group = program, above: str = "chains") -> Iterator[tuple[str, Command]]:
    """Every command with its path, out of the tree that the command line itself uses."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, Group):
            yield from commands(command, f"{above} {name}")
        else:
            assert isinstance(command, Command)
            yield f"{above} {name}", command


COMMANDS = dict(commands())
OPTIONS = [
    pytest.param(path, parameter, id=f"{path.removeprefix('chains ')} {parameter.opts[-1]}")
    for path, command in COMMANDS.items()
    for parameter in command.params
    if not isinstance(parameter, click.Argument)
]
NOT_OF_OURS = {"SYSTEM_NAMESPACE", "POD_NAME", "POD_NAMESPACE", "POD_UID"}
"""Twins that manifests set: those of Tekton Chains, and the usual ones for a pod's own name and uid."""


@pytest.fixture(autouse=True)
def _no_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CHAINS_") or name in NOT_OF_OURS:
            monkeypatch.delenv(name)


def parsed(path: str, *words: str) -> click.Context:
    """What a command gets from a command line that has these words and the arguments that it needs."""
    needed = [
        parameter.type.choices[0] if isinstance(parameter.type, click.Choice) else "needed"
        for parameter in COMMANDS[path].params
        if isinstance(parameter, Argument) and parameter.required
    ]
    return COMMANDS[path].make_context(path, [*words, *needed])


def two_values(option: Option) -> tuple[str, str]:
    if option.is_flag:
        return "true", "true"
    if option.words:
        return option.words[-1], option.words[0]
    return "by-the-environment", "by-the-option"


@pytest.mark.parametrize(("path", "option"), OPTIONS)
def test_every_option_has_a_twin_that_it_takes_the_place_of(
    path: str, option: click.Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(option, Option), "an option of click's own has no twin"
    assert option.twin in NOT_OF_OURS or re.fullmatch(r"CHAINS_[A-Z]+(_[A-Z]+)*", option.twin)
    assert f"[env: {option.twin}]" in (option.help or "")
    assert option.name is not None
    by_twin, by_option = two_values(option)
    wrapped = (lambda value: (value,)) if option.multiple else (lambda value: value)
    monkeypatch.setenv(option.twin, by_twin)
    found = parsed(path)
    assert found.params[option.name] == (True if option.is_flag else wrapped(by_twin))
    assert found.get_parameter_source(option.name) is ParameterSource.ENVIRONMENT
    assert Options.of(found).given.isdisjoint({option.name})
    found = parsed(path, option.opts[-1]) if option.is_flag else parsed(path, option.opts[-1], by_option)
    assert found.params[option.name] == (True if option.is_flag else wrapped(by_option))
    assert option.name in Options.of(found).given


@pytest.mark.parametrize(("path", "option"), OPTIONS)
def test_a_bad_value_from_the_environment_is_told_with_its_variable(
    path: str, option: Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(option.twin, " ")
    with pytest.raises(UsageError, match=f"^{option.twin} is empty: give it a value or unset it$"):
        parsed(path)
    monkeypatch.setenv(option.twin, "no such word")
    if option.is_flag or option.words:
        wanted = "true or false" if option.is_flag else f"one of {', '.join(option.words)}"
        with pytest.raises(UsageError, match=f"^{option.twin}: expected {wanted}, got 'no such word'$"):
            parsed(path)
    elif option.multiple:
        assert parsed(path).params[option.name or ""] == ("no", "such", "word")
    else:
        assert parsed(path).params[option.name or ""] == "no such word"


def test_the_twins_of_one_command_are_all_different() -> None:
    for path, command in COMMANDS.items():
        twins = [option.twin for option in command.params if isinstance(option, Option)]
        assert len(set(twins)) == len(twins), path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["verify", "x", "--key", "--verbose"], "--key has no value: --verbose follows; write --key=VALUE"),
        (["backfill", "-n", "--dry-run"], "-n has no value: --dry-run follows; write --namespace=VALUE"),
        (["get", "--store"], "option '--store' requires an argument; see: chains get --help"),
        (["resign", "a/b", "--dry-run=yes"], "'--dry-run' does not take a value; see: chains resign --help"),
        (["keys", "generate", "a", "b"], "got unexpected extra argument (b); see: chains keys generate --help"),
        (["keys", "generat"], "invalid choice: 'generat' is no command; did you mean generate?"),
        (["verify"], "the following arguments are required: TARGET; see: chains verify --help"),
        (["keys"], "the following arguments are required: COMMAND; see: chains keys --help"),
        (["get", "--stoer", "x"], "no such option: --stoer; did you mean --store?; see: chains get --help"),
        (["keys", "export", "k", "--format", "pme"], "argument --format: invalid choice: 'pme' (choose from 'pem'"),
    ],
)  # fmt: skip
def test_a_usage_error_says_what_is_wrong_and_where_to_read_on(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("chains: error: ")
    assert captured.err.count("\n") == 1
    assert told in captured.err


@pytest.mark.parametrize(
    "words",
    [["-n", "ci"], ["-nci"], ["-n=ci"], ["--namespace=ci"], ["--namespace", "ci"], ["-n", "x", "-n", "ci"]],
)
def test_every_spelling_of_an_option_means_the_same(words: list[str]) -> None:
    assert parsed("chains backfill", *words).params["namespace"] == "ci"


def test_a_number_and_a_dash_are_values_and_what_follows_two_dashes_are_arguments() -> None:
    assert parsed("chains controller", "--workers", "-1").params["workers"] == "-1"
    assert parsed("chains keys public", "--password-file", "-").params["password_file"] == "-"
    assert parsed("chains verify", "--", "--key").params["targets"] == ("--key", "needed")


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_a_help_that_names_its_options_and_twins(path: str) -> None:
    done = CliRunner().invoke(program, [*path.split()[1:], "--help"])
    assert (done.exit_code, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    assert text.startswith(f"Usage: {path} [OPTIONS]")
    assert COMMANDS[path].help
    assert "exit codes: 0" in text
    for parameter in COMMANDS[path].params:
        shown = f"[env: {parameter.twin}]" if isinstance(parameter, Option) else str(parameter.metavar)
        assert shown in text
    assert CliRunner().invoke(program, [*path.split()[1:], "-h"]).stdout == done.stdout


def test_click_s_own_runner_gets_output_and_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    shutil.copy(RUN, "run.json")
    assert runner.invoke(program, ["verify", "run.json"]).exit_code == 2
    done = runner.invoke(program, ["attest", "run.json", "--output", "json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["runs"][0]["state"] == "signed"
    done = runner.invoke(program, ["verify", "run.json"])
    assert done.exit_code == 0
    assert done.stdout.startswith("VERIFIED ")


PROBE = """
import sys
from chains.cli.main import run
try:
    code = run(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
print("LOADED", code, *sorted(sys.modules), file=sys.stderr)
"""


def loaded(folder: Path, *words: str) -> set[str]:
    """The modules that a command line needs in a process of its own, where no terminal is."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("CHAINS_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    code, *modules = done.stderr.rpartition("LOADED ")[2].split()
    assert code == "0", done.stderr
    return set(modules)


def commands_in(modules: set[str]) -> set[str]:
    """The modules of commands; the others in the folder serve all of them."""
    shared = {"arguments", "commands", "main"}
    names = {name.removeprefix("chains.cli.") for name in modules if name.startswith("chains.cli.")}
    return names - shared


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_version_and_help_import_no_command(words: list[str], tmp_path: Path) -> None:
    modules = loaded(tmp_path, *words)
    assert commands_in(modules) == set()
    heavy = {"rich", "asyncio", "aiohttp", "yaml", "cryptography", "nacl", "ssl", "chains.config", "kopf"}
    assert modules.isdisjoint(heavy), modules & heavy


def test_verifying_a_file_imports_neither_the_network_nor_what_only_others_need(tmp_path: Path) -> None:
    shutil.copy(RUN, tmp_path / "run.json")
    loaded(tmp_path, "attest", "run.json")
    modules = loaded(tmp_path, "verify", "run.json")
    assert {"chains.verify.verifier", "storage.layout.store"} <= modules
    assert commands_in(modules) == {"verify", "trust", "revocations"}
    assert not {one for one in modules if one.startswith("chains.revocation")}
    unneeded = {
        "aiohttp", "http.client", "urllib.request", "importlib.metadata", "yaml", "rich", "pydantic", "sigstore",
        "kubernetes", "kopf", "boto3", "requests", "cryptography.x509", "chains.cluster", "chains.controller",
        "storage.oci", "storage.http_client", "concurrent.futures.process",
    }  # fmt: skip
    assert modules.isdisjoint(unneeded), modules & unneeded


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (["keys", "--help"], {"keys"}),
        (["config", "lint", "--help"], {"config"}),
        (["completion", "bash"], {"completion"}),
    ],
)
def test_a_command_imports_its_own_module_alone(words: list[str], own: set[str], tmp_path: Path) -> None:
    assert commands_in(loaded(tmp_path, *words)) == own


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_of_no_command_needs_an_extra(path: str, tmp_path: Path) -> None:
    modules = loaded(tmp_path, *path.split()[1:], "--help")
    extras = {
        "kopf",
        "prometheus_client",
        "kubernetes",
        "boto3",
        "hvac",
        "grpc",
        "sigstore",
        "requests",
        "rich",
    }
    assert modules.isdisjoint(extras), modules & extras


COMPLETE = r"""
PS1='' ; source <(chains completion bash)
complete_line() {
    COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
    read -ra COMP_WORDS <<< "$COMP_LINE"
    [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMPREPLY=()
    compopt() { echo compopt "$@"; }
    _chains_completion chains "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    printf '%s\n' "${COMPREPLY[@]}"
}
complete -p chains
complete_line "$1"
"""


def completed(line: str) -> list[str]:
    """What bash offers for a line, by the script that the command prints; the first line is who completes."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", line],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    first, *offered = done.stdout.splitlines()
    assert first.endswith("-F _chains_completion chains")
    return offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("chains ver", ["verify", "version"]),
        ("chains co", ["copy", "controller", "config", "completion"]),
        ("chains keys ", ["generate", "public", "export"]),
        ("chains attest --pass", ["--password-file"]),
        ("chains verify run.json --require-", ["--require-log", "--require-timestamp"]),
        ("chains keys export --format key", ["keyset"]),
        ("chains completion ", ["bash", "zsh", "fish"]),
        ("chains get --output j", ["json"]),
    ],
)
def test_bash_completes_commands_options_and_their_values(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


@pytest.mark.parametrize(
    "line",
    ["chains verify ru", "chains attest --key sig", "chains config lint c", "chains payload --config x"],
)
def test_bash_completes_the_names_of_files_itself(line: str) -> None:
    assert completed(line)[0] == "compopt -o default"


def test_a_wrong_twin_does_not_keep_a_shell_from_completing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINS_OUTPUT", "xml")
    assert completed("chains get --output t") == ["text"]


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", "complete -o nosort -F _chains_completion chains"),
        ("zsh", "#compdef chains"),
        ("fish", "complete --no-files --command chains"),
    ],
)
def test_the_script_for_each_shell_is_printed_alone(shell: str, words: str) -> None:
    done = CliRunner().invoke(program, ["completion", shell])
    assert (done.exit_code, done.stderr) == (0, "")
    assert words in done.stdout
    assert f"_CHAINS_COMPLETE={shell}_complete" in done.stdout
