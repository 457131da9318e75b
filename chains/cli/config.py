"""The commands ``config``: reports everything that is wrong with a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chains.cli.arguments import FAILURE, OK, Parser, add_output
from chains.terminal import write_json, write_line
from chains.text import count


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


def add_config_commands(commands: Any) -> None:
    """Add the commands ``config``."""
    config = commands.add_parser("config", help="work with configurations")
    kinds = config.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    lint = kinds.add_parser("lint", help="report everything wrong with a chains-config")
    lint.add_argument("file", metavar="FILE", help="a ConfigMap or its data, JSON or YAML")
    add_output(lint)
    lint.set_defaults(command=_config_lint)
