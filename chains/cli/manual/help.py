"""The command ``help``: the help of a command, or of what is the same for all of them."""

from __future__ import annotations

import difflib

import click
from click.shell_completion import CompletionItem

from chains.cli.arguments import OK, Argument, Options
from chains.cli.commands import Command, Group
from chains.cli.manual.described import context_of
from chains.cli.manual.topics import TOPICS, topic_lines
from chains.errors import UsageError
from chains.terminal import write_text


class _Words(click.ParamType[str]):
    """The name of a command or of a topic, which the shell completes."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the commands below the words before, and after no word the topics."""
        before = tuple(ctx.params.get(param.name or "") or ())
        found = context_of(ctx.find_root().command, before)
        if found is None or not isinstance(found.command, Group):
            return []
        helps = found.command.short_helps(found)
        if not before:
            helps |= {name: text for name, (text, _) in TOPICS.items()}
        return [
            CompletionItem(name, help=text) for name, text in helps.items() if name.startswith(incomplete)
        ]


def _help(options: Options) -> int:
    """Print what ``chains COMMAND --help`` prints, or a topic."""
    root = click.get_current_context().find_root().command
    words = list(options.words)
    if len(words) == 1 and words[0] in TOPICS:
        write_text("\n".join(topic_lines(words[0], root)))
        return OK
    found = context_of(root, words)
    if found is None:
        raise UsageError(_unknown(root, words))
    write_text(found.get_help())
    if not words:
        width = max(map(len, TOPICS))
        lines = [f"  {name.ljust(width)}  {text}" for name, (text, _) in TOPICS.items()]
        write_text("\n".join(["", "Topics, for chains help TOPIC:", *lines]))
    return OK


def _unknown(root: click.Command, words: list[str]) -> str:
    above = context_of(root, words[:-1])
    names: list[str] = []
    if above is not None and isinstance(above.command, Group):
        names = above.command.list_commands(above)
    near = difflib.get_close_matches(words[-1], [*names, *TOPICS] if len(words) == 1 else names)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"{' '.join(words)!r} is neither a command nor a topic{hint}; see: chains help"


help_ = Command(
    "help",
    _help,
    [Argument("words", "a command, such as keys generate, or a topic", "COMMAND", many="*", type=_Words())],
)
