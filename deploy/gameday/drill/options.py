"""The command line. Every option has an environment variable that it overrides.

The one of ``--most-runs`` is ``GAMEDAY_MOST_RUNS``.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from drill.errors import UsageError
from drill.game import Options
from drill.scenarios import SCENARIOS

TRUE = {"1", "true", "yes"}
IMAGE = re.compile(r"[^\s/@]+(/[^\s@]+)+@sha256:[0-9a-f]{64}")
DESCRIPTION = (
    "Break one thing at a time in a cluster, and see that no run loses its evidence. "
    "Exit codes: 0 nothing is lost, 1 something is lost, 2 usage, 4 it could not be decided."
)


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> argparse.Namespace:
    """Return the options. Words after ``--`` are options of ``chains audit``. Exits with 2."""
    words, audit = list(arguments), []
    if "--" in words:
        at = words.index("--")
        words, audit = words[:at], words[at + 1 :]
    top = argparse.ArgumentParser("gameday.py", description=DESCRIPTION, allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="run|undo|list")
    run = commands.add_parser("run", help="hold a game day", description=DESCRIPTION, allow_abbrev=False)
    undo = commands.add_parser("undo", help="undo one that was killed", allow_abbrev=False)
    commands.add_parser("list", help="print the scenarios", allow_abbrev=False)
    of_run, of_undo = Adder(run, environment), Adder(undo, environment)
    for each in (of_run, of_undo):
        each("--state", "gameday-state.json", "the file that remembers how to undo what was done", "FILE")
        each("--timeout", "600", "how long to wait for anything", "SECONDS", number=float)
    _of_run(of_run)
    found = top.parse_args(words)
    found.audit = audit
    return found


class Adder:
    """Adds options with their environment variables."""

    def __init__(self, parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
        self.parser, self.environment = parser, environment

    def __call__(
        self,
        name: str,
        default: str,
        text: str,
        metavar: str,
        *,
        number: type[int] | type[float] | None = None,
    ) -> None:
        """Add an option with a value."""
        variable = variable_of(name)
        given = self.environment.get(variable, default)
        shown = f"{text}{f' (default: {default})' if default else ''} [{variable}]"
        self.parser.add_argument(name, default=given, metavar=metavar, help=shown, type=number or str)

    def flag(self, name: str, text: str) -> None:
        """Add an option without a value."""
        variable = variable_of(name)
        given = self.environment.get(variable, "").lower() in TRUE
        self.parser.add_argument(name, action="store_true", default=given, help=f"{text} [{variable}]")


def variable_of(option: str) -> str:
    """Return the environment variable of an option."""
    return "GAMEDAY_" + option.removeprefix("--").replace("-", "_").upper()


def _of_run(add: Adder) -> None:
    add("--only", "", f"play only these: {','.join(SCENARIOS)}", "NAMES")
    add("--namespace", "chains-gameday", "the namespace of the runs, which is created and deleted", "NAME")
    add.flag("--existing-namespace", "use a namespace that exists, and delete only the runs")
    add("--system-namespace", "tekton-chains", "the controller's namespace", "NAME")
    add("--selector", "app=tekton-chains-controller", "the labels of the controller's pods", "LABELS")
    add(
        "--image",
        "",
        "an image that exists, into whose repository evidence may be pushed",
        "REPOSITORY@sha256:HEX",
    )
    add("--step-image", "", "the image of the steps, with python3 (default: the controller's own)", "IMAGE")
    add("--runs", "4", "runs for each scenario", "N", number=int)
    add("--most-runs", "50", "refuse to begin if more runs are needed", "N", number=int)
    add("--run-seconds", "3", "how long a run takes at least", "SECONDS", number=float)
    add("--hold", "10", "how long a fault goes on after the last run has ended", "SECONDS", number=float)
    add("--address", "", "what a scenario cuts, if not that of the configuration", "NAME=HOST:PORT,…")
    add("--cut-with", "", "a shell command that cuts, in place of NetworkPolicies", "COMMAND")
    add("--restore-with", "", "a shell command that undoes --cut-with", "COMMAND")
    add("--new-key", "", "for the scenario key: the key that signs meanwhile", "FILE")
    add("--new-public-key", "", "its public half", "FILE")
    add(
        "--new-registry-config", "", "for credential: a docker config.json with the second credential", "FILE"
    )
    add("--kubectl", "kubectl", "the program kubectl", "PROGRAM")
    add("--kubeconfig", "", "the kubeconfig", "FILE")
    add("--context", "", "its context", "NAME")
    add("--chains", "chains", "the program chains", "PROGRAM")
    add("--output", "text", "text or json", "FORM")
    add.flag("--dry-run", "print what would be touched, and touch nothing")
    add.flag("--yes", "do not ask on the terminal")


def checked(found: argparse.Namespace) -> Options:
    """Return the options of ``run``. Raises :class:`UsageError`."""
    only = tuple(each for each in found.only.split(",") if each)
    if unknown := [each for each in only if each not in SCENARIOS]:
        raise UsageError(f"unknown scenario {unknown[0]!r}: expected {', '.join(SCENARIOS)}")
    if found.output not in {"text", "json"}:
        raise UsageError(f"--output {found.output!r}: expected text or json")
    if found.image and not IMAGE.fullmatch(found.image):
        raise UsageError("--image: expected REGISTRY/REPOSITORY@sha256: and 64 digits")
    if bool(found.cut_with) != bool(found.restore_with):
        raise UsageError("--cut-with and --restore-with: give both or none")
    if found.runs < 1 or min(found.run_seconds, found.hold, found.timeout) < 0:
        raise UsageError("--runs must be 1 or more, and no time below 0")
    needed = 1 + found.runs * len(only or SCENARIOS)
    if needed > found.most_runs:
        raise UsageError(f"{needed} runs are needed, and --most-runs allows {found.most_runs}")
    return Options(
        namespace=found.namespace,
        existing_namespace=found.existing_namespace,
        system_namespace=found.system_namespace,
        selector=found.selector,
        only=only,
        runs=found.runs,
        most_runs=found.most_runs,
        run_seconds=found.run_seconds,
        hold=found.hold,
        timeout=found.timeout,
        image=found.image,
        step_image=found.step_image,
        addresses=_addresses(found.address),
        cut_with=found.cut_with,
        restore_with=found.restore_with,
        new_key=_file("--new-key", found.new_key),
        new_public_key=_file("--new-public-key", found.new_public_key),
        new_registry_config=_file("--new-registry-config", found.new_registry_config),
        chains=found.chains,
        audit=_with_new_key(found.audit, found.new_public_key),
        output=found.output,
        dry_run=found.dry_run,
        yes=found.yes,
        state=Path(found.state),
    )


def _with_new_key(audit: Sequence[str], new: str) -> tuple[str, ...]:
    return (*audit, "--key", new) if new else tuple(audit)


def _file(option: str, text: str) -> Path | None:
    if not text:
        return None
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"{option}: {text} is no file")
    return path


def _addresses(text: str) -> dict[str, tuple[str, int]]:
    found = {}
    for each in text.split(",") if text else []:
        match = re.fullmatch(r"(\w+)=\[?([^\s\]]+?)\]?:(\d+)", each)
        if match is None or match[1] not in SCENARIOS:
            raise UsageError(f"--address: {each!r}: expected SCENARIO=HOST:PORT")
        found[match[1]] = (match[2], int(match[3]))
    return found
