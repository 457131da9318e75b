"""The command ``completion``: print the script that makes a shell complete commands, options and files."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from chains.cli.arguments import OK, Argument, Choice, Options
from chains.cli.commands import COMPLETE, PROGRAM, Command
from chains.terminal import write_document


def _completion(options: Options) -> int:
    """Print the script for one shell."""
    shell = get_completion_class(options.shell)
    assert shell is not None  # noqa: S101 - click knows each of the choices
    root = click.get_current_context().find_root().command
    # BashComplete.source runs the installed bash to check its version; the script may be for another machine
    script = ShellComplete.source(shell(root, {}, PROGRAM, COMPLETE))
    write_document(script.strip().encode())
    return OK


completion = Command(
    "completion",
    _completion,
    [Argument("shell", "the shell (bash: 4.4 or newer)", "SHELL", type=Choice(["bash", "zsh", "fish"]))],
)
