"""The command ``report controls``: what reports can show, and what is wrong with control maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chains.cli.arguments import FAILURE, FILE, OK, Argument, Option, Options, output
from chains.cli.commands import Command
from chains.columns import table
from chains.report.controls.evaluate import EVIDENCED_FLOOR, PARTLY_FLOOR
from chains.report.controls.facts import FACTS
from chains.report.controls.load import ControlMap, own_maps, read_maps
from chains.terminal import terminal_width, write_json, write_line, write_text
from chains.text import count


def _controls(options: Options) -> int:
    """Print the controls of maps, the facts, or everything that is wrong."""
    maps, problems = read_maps([Path(one) for one in options.maps]) if options.maps else (own_maps(), ())
    if problems:
        if options.output == "json":
            write_json({"problems": [one.to_json() for one in problems]}, indent=True)
        else:
            for problem in problems:
                write_line(str(problem))
            write_line(count(len(problems), "error"))
        return FAILURE
    if options.output == "json":
        write_json(_facts_to_json() if options.facts else _maps_to_json(maps), indent=True)
    elif options.facts:
        rows = [[name, fact.kind.value, fact.text] for name, fact in FACTS.items()]
        write_text(table(["FACT", "KIND", "WHAT IT SAYS"], rows, terminal_width()))
    else:
        rows = [
            [one.name, control.id, control.highest.value, control.title]
            for one in maps
            for control in one.controls
        ]
        write_text(table(["MAP", "CONTROL", "HIGHEST", "ASKS FOR"], rows, terminal_width()))
    return OK


def _facts_to_json() -> dict[str, Any]:
    return {
        "facts": [
            {"name": name, "kind": fact.kind.value, "text": fact.text, "query": fact.query}
            for name, fact in FACTS.items()
        ],
        "demandedOfEveryControl": {
            "partly": list(map(str, PARTLY_FLOOR)),
            "evidenced": list(map(str, EVIDENCED_FLOOR)),
        },
    }


def _maps_to_json(maps: Sequence[ControlMap]) -> dict[str, Any]:
    return {
        "maps": [
            {
                "name": one.name,
                "framework": one.framework,
                "version": one.version,
                "source": one.source,
                "digest": f"sha256:{one.digest}",
                "controls": [
                    {
                        "id": control.id,
                        "title": control.title,
                        "highest": control.highest.value,
                        "partly": list(map(str, control.partly)),
                        "evidenced": list(map(str, control.evidenced)),
                        "missing": control.missing,
                        "queries": list(control.queries),
                    }
                    for control in one.controls
                ],
            }
            for one in maps
        ]
    }


controls = Command(
    "controls",
    _controls,
    [
        Argument(
            "maps",
            "control maps: files or folders (default: those of the program)",
            "MAP",
            many="*",
            type=FILE,
        ),
        Option("--facts", "list the facts that a map can demand", flag=True),
        output(),
    ],
)
