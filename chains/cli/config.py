"""The commands ``config``: report everything that is wrong with a configuration."""

from __future__ import annotations

from pathlib import Path

from chains.cli.arguments import FAILURE, FILE, OK, Argument, Options, output
from chains.cli.commands import Command, Group
from chains.config.parse import lint_file
from chains.terminal import write_json, write_line
from chains.text import count


def _config_lint(options: Options) -> int:
    """Report all problems of a configuration. Returns 1 if one of them is an error."""
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


config = Group(
    "config",
    [
        Command(
            "lint",
            _config_lint,
            [Argument("file", "a ConfigMap or its data, JSON or YAML", "FILE", type=FILE), output()],
            text="report all problems of a chains-config",
        )
    ],
)
