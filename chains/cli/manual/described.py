"""Commands as data: what the help says of each, for man pages and the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from chains.cli.arguments import Argument, Option
from chains.cli.commands import PROGRAM


@dataclass(frozen=True, slots=True)
class DescribedArgument:
    """A positional argument, as the usage line has it, and its help."""

    usage: str
    text: str


@dataclass(frozen=True, slots=True)
class DescribedOption:
    """An option. ``names`` has the short spelling first; ``value`` is empty for a flag.

    ``twin`` is its environment variable. ``default`` is empty if it has none, or the help has it in words.
    """

    names: tuple[str, ...]
    value: str
    text: str
    twin: str
    default: str
    is_repeatable: bool


@dataclass(frozen=True, slots=True)
class Described:
    """A command or a group. ``path`` is ``("chains", "keys", "generate")``; ``below`` has a group's commands.

    ``sections`` has the names below each heading of a group's help.
    """

    path: tuple[str, ...]
    text: str
    usage: str
    arguments: tuple[DescribedArgument, ...]
    options: tuple[DescribedOption, ...]
    below: tuple[Described, ...] = ()

    @property
    def name(self) -> str:
        """The command as it is typed."""
        return " ".join(self.path)

    def all(self) -> Iterator[Described]:
        """Return the command and all below it, in the order of the help."""
        yield self
        for one in self.below:
            yield from one.all()


def context_of(root: click.Command, words: tuple[str, ...] | list[str]) -> click.Context | None:
    """Return the context of the command that the words name, None if there is none."""
    context = root.context_class(root, info_name=PROGRAM, **root.context_settings)
    for word in words:
        group = context.command
        command = group.get_command(context, word) if isinstance(group, click.Group) else None
        if command is None:
            return None
        context = command.context_class(command, info_name=word, parent=context, **command.context_settings)
    return context


def describe(root: click.Command, words: tuple[str, ...] = ()) -> Described:
    """Return a command and all below it. Raises :class:`KeyError` if the words name none."""
    context = context_of(root, words)
    if context is None:
        raise KeyError(" ".join(words))
    command = context.command
    below = command.list_commands(context) if isinstance(command, click.Group) else []
    return Described(
        (PROGRAM, *words),
        command.help or "",
        " ".join([context.command_path, *command.collect_usage_pieces(context)]),
        tuple(
            DescribedArgument(one.make_metavar(context), one.help or "")
            for one in command.params
            if isinstance(one, Argument)
        ),
        tuple(_option(one, context) for one in command.params if isinstance(one, Option)),
        tuple(describe(root, (*words, name)) for name in below),
    )


def _option(option: Option, context: click.Context) -> DescribedOption:
    value = "" if option.is_flag else option.make_metavar(context)
    default = option.default if isinstance(option.default, str) else ""
    text = (option.help or "").removesuffix(f" [env: {option.twin}]")
    return DescribedOption(tuple(option.opts), value, text, option.twin, default, option.multiple)
