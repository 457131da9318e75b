"""From the options to the exit code."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drill.errors import (
    GameDayError,
    InterruptedGameError,
    KubectlError,
    NotFoundError,
    UndecidedError,
    UsageError,
)
from drill.game import Game, Options
from drill.journal import Journal
from drill.kubectl import Kubectl
from drill.limit import LABEL, Limit, Touch
from drill.options import checked, parse
from drill.play import Played, Verdict, baseline, play
from drill.report import LOST, NOTHING_LOST, UNDECIDED, USAGE, exit_code, to_json, to_text
from drill.runs import Runs
from drill.scenarios import SCENARIOS
from drill.scenarios.base import Scenario
from drill.signals import held, listen
from drill.text import safe
from drill.undo import undo

Json = Any
PREFIX = "gameday.py: "


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    found = parse(arguments)
    try:
        if found.command == "list":
            for each in SCENARIOS.values():
                print(f"{each.name:<11} {each.breaks}")
            return NOTHING_LOST
        if found.command == "undo":
            return undo_killed(Path(found.state), found.timeout)
        return hold(checked(found), connection(found))
    except UsageError as error:
        _complain(str(error))
        return USAGE
    except GameDayError as error:
        _complain(str(error))
        return UNDECIDED


def connection(found: argparse.Namespace) -> list[str]:
    """Return kubectl and its options for the connection."""
    words = [found.kubectl]
    if found.kubeconfig:
        words += ["--kubeconfig", str(Path(found.kubeconfig).resolve())]
    if found.context:
        words += ["--context", found.context]
    return words


def undo_killed(state: Path, seconds: float) -> int:
    """Undo a game day that was killed, and remove its state file."""
    journal = Journal.load(state)
    kubectl = Kubectl(journal.words, journal.limit)
    for each in reversed(journal.steps):
        print(safe(f"undo: {_step(each)}"))
    undo(journal, kubectl, seconds=seconds)
    journal.end()
    print("everything is undone")
    return NOTHING_LOST


def _step(step: Json) -> str:
    if step["do"] == "run":
        return f"run {step['command']}"
    if step["do"] == "put-back":
        thing = step["object"]
        return (
            f"put back {thing['kind'].lower()} {thing['metadata']['namespace']}/{thing['metadata']['name']}"
        )
    return (
        f"{step['do'].replace('-', ' ')} {step.get('kind', '')} {step['namespace']}/{step['name']}".replace(
            "  ", " "
        )
    )


def hold(options: Options, words: list[str]) -> int:
    """Hold a game day."""
    asked = [SCENARIOS[each] for each in options.only] or list(SCENARIOS.values())
    kubectl = Kubectl(words, Limit())
    # the context of now, whatever the user switches to meanwhile
    if "--context" not in words and (context := kubectl.context()):
        words += ["--context", context]
        kubectl = Kubectl(words, Limit())
    game = Game(options, kubectl, None, secrets.token_hex(3))
    own = _own_touches(game)
    _say(options, f"cluster: {' '.join(words)}")
    planned = _plan(game, asked, own)
    if options.dry_run:
        _say(options, "dry run: nothing was touched")
        return NOTHING_LOST
    _agree(options)
    listen()
    return _held(game, own, planned)


def _own_touches(game: Game) -> list[Touch]:
    """Return what is touched for the runs. Raises :class:`UndecidedError` if the namespace is not ours."""
    options, namespace = game.options, game.options.namespace
    try:
        found = game.kubectl.get("namespace", namespace)
    except NotFoundError:
        found = None
    if options.existing_namespace and found is None:
        raise UsageError(f"--existing-namespace: there is no namespace {namespace}")
    if found is not None and not options.existing_namespace:
        raise UsageError(
            f"the namespace {namespace} exists: choose another name, or use it with --existing-namespace"
        )
    runs = f"gameday-{game.name}-*"
    touches = [
        Touch("create", "taskrun", namespace, runs, f"at most {options.most_runs}"),
        Touch("delete", "taskrun", namespace, runs),
    ]
    if options.existing_namespace:
        return touches
    return [
        Touch("create", "namespace", "", namespace),
        *touches,
        Touch("delete", "namespace", "", namespace),
    ]


def _plan(game: Game, asked: Sequence[Scenario], own: Sequence[Touch]) -> list[Scenario]:
    """Print everything that would be touched, and return the scenarios."""
    _say(game.options, "runs:")
    for each in own:
        _say(game.options, f"  {each}")
    for scenario in asked:
        _say(game.options, f"{scenario.name}: {scenario.breaks}")
        try:
            for each in scenario.touches(game):
                _say(game.options, f"  {each}")
            for command in scenario.commands(game):
                _say(game.options, f"  run {command}")
        except (UndecidedError, KubectlError) as error:
            _say(game.options, f"  cannot be played: {error}")
        except GameDayError as error:
            _say(game.options, f"  does not apply: {error}")
    return list(asked)


def _agree(options: Options) -> None:
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: look at --dry-run, then give --yes")
    print("Type yes to begin: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise UsageError("nobody said yes: nothing was touched")


def _held(game: Game, own: Sequence[Touch], asked: Sequence[Scenario]) -> int:
    options = game.options
    journal = Journal.begin(options.state, game.kubectl.words, Limit(own))
    game.journal, game.kubectl.limit = journal, journal.limit
    played: list[Played] = []
    interrupted = ""
    try:
        _begin(game)
        step_image = options.step_image or str(game.pods()[0]["spec"]["containers"][0]["image"])
        first = baseline(game, _runs(game, "baseline", step_image))
        _tell(options, played, first)
        if first.verdict is Verdict.NOTHING_LOST:
            for each in asked:
                _tell(options, played, play(game, each, _runs(game, each.name, step_image)))
    except InterruptedGameError as error:
        interrupted = str(error)
        _complain(interrupted)
    finally:
        with held():
            undo(journal, game.kubectl, seconds=options.timeout)
            journal.end()
    code = exit_code(played, options.only)
    if interrupted and code != LOST:
        code = UNDECIDED
    if options.output == "json":
        print(to_json(played, code, interrupted))
    else:
        print(
            {NOTHING_LOST: "nothing is lost", LOST: "SOMETHING IS LOST"}.get(code, "it could not be decided")
        )
    return code


def _begin(game: Game) -> None:
    namespace = game.options.namespace
    if game.options.existing_namespace:
        game.note({"do": "delete-runs", "namespace": namespace, "name": game.name})
        return
    game.note({"do": "delete", "kind": "namespace", "namespace": "", "name": namespace})
    game.kubectl.create(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {LABEL: game.name}},
        }
    )


def _runs(game: Game, scenario: str, step_image: str) -> Runs:
    return Runs(game.kubectl, game.options.namespace, scenario, game.name, step_image, game.options.image)


def _tell(options: Options, played: list[Played], one: Played) -> None:
    played.append(one)
    if options.output == "text":
        print(safe(to_text(one)), flush=True)
    else:
        _complain(f"{one.name}: {one.verdict.value}")


def _say(options: Options, text: str) -> None:
    print(safe(text), file=sys.stderr if options.output == "json" else sys.stdout, flush=True)


def _complain(text: str) -> None:
    print(safe(f"{PREFIX}{text}"), file=sys.stderr, flush=True)
