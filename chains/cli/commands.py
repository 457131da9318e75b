"""Commands and groups of commands. A group imports the module of a command only when the command is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from chains.cli.arguments import Options, spell_out
from chains.errors import UsageError
from chains.terminal import write_text

PROGRAM, COMPLETE = "chains", "_CHAINS_COMPLETE"
"""The command's name, and the variable with which a shell asks it for completions."""
EXIT_CODES = """exit codes: 0 done or verified, 1 something failed or evidence is wrong,
2 usage or configuration, 3 no evidence, 4 could not decide"""
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Command(click.Command):
    """A command. Its function ``work`` gets the values of the options and returns the exit code.

    ``text`` is the help. If it is empty, the group that loads the command sets the line of its own help.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Options], int],
        parameters: Sequence[click.Parameter],
        *,
        text: str = "",
        epilog: str = EXIT_CODES,
    ) -> None:
        super().__init__(name, context_settings=_SETTINGS, params=list(parameters), help=text, epilog=epilog)
        self._work = work

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments after :func:`chains.cli.arguments.spell_out` has checked them."""
        if not ctx.resilient_parsing:
            args = spell_out(args, self.params, ctx.command_path)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # the error has to name the command whose help explains it
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and return its exit code."""
        return self._work(Options.of(ctx))

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option ``--help``."""
        return _through_terminal(super().get_help_option(ctx))


class Group(click.Group):
    """A group of commands.

    ``lazy`` has the commands to import on first use: ``MODULE:NAME``, and the line for the group's help. So
    neither that help nor the completion of a command's name imports a command. ``sections`` has the names
    under each heading of the help.
    """

    def __init__(
        self,
        name: str,
        commands: Sequence[click.Command] = (),
        *,
        lazy: Mapping[str, tuple[str, str]] | None = None,
        sections: Mapping[str, Iterable[str]] | None = None,
        parameters: Sequence[click.Parameter] = (),
        text: str = "",
    ) -> None:
        super().__init__(
            name,
            commands=commands,
            context_settings=_SETTINGS,
            params=list(parameters),
            help=text,
            epilog=EXIT_CODES,
            no_args_is_help=False,
            subcommand_metavar="COMMAND ...",
        )
        self._lazy = dict(lazy or {})
        self._sections = dict(sections or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help."""
        del ctx
        return [*self._lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported on first use, or None for an unknown name."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        place, text = self._lazy[cmd_name]
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        command.help = command.help or text
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names. Raises click's error with similar names."""
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx)
        return args[0] if command else None, command, args[1:]

    def short_helps(self, ctx: click.Context) -> dict[str, str]:
        """Return the line of help for every command, by name."""
        known = {name: text for name, (_, text) in self._lazy.items()}
        return {name: known.get(name) or self.commands[name].help or "" for name in self.list_commands(ctx)}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, by section."""
        helps = self.short_helps(ctx)
        for heading, names in (self._sections or {"Commands": helps}).items():
            with formatter.section(heading):
                formatter.write_dl([(name, helps[name]) for name in names])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the commands and options that begin with ``incomplete``."""
        found = [
            CompletionItem(name, help=text)
            for name, text in self.short_helps(ctx).items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option ``--help``."""
        return _through_terminal(super().get_help_option(ctx))


class WorkingGroup(Group):
    """A group that does something itself: with options it works, with the name of a command it runs that.

    ``work`` gets the values of the group's own options and returns the exit code.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Options], int],
        *,
        lazy: Mapping[str, tuple[str, str]],
        parameters: Sequence[click.Parameter],
    ) -> None:
        super().__init__(name, lazy=lazy, parameters=parameters)
        self.invoke_without_command = True
        self._work = work
        self._alone = f"chains.{name}.alone"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options of the group's own work, or leave everything to the named command."""
        is_alone = not args or args[0] not in self.list_commands(ctx)
        ctx.meta[self._alone] = is_alone
        if is_alone and not ctx.resilient_parsing:
            args = spell_out(args, self.params, ctx.command_path)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Do the group's own work, or run the named command, and return the exit code."""
        if ctx.meta[self._alone] and not ctx._protected_args:
            return self._work(Options.of(ctx))
        return super().invoke(ctx)


def _through_terminal(option: click.Option | None) -> click.Option | None:
    """Make the option write the help through :mod:`chains.terminal`."""
    if option is not None:
        option.callback = _show_help
    return option


def _show_help(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        write_text(ctx.get_help())
        ctx.exit()


def usage_error(error: click.UsageError) -> UsageError:
    """Return click's error as one of ours: in lower case, with the nearest name and the command's help."""
    command = error.ctx.command_path if error.ctx is not None else "chains"
    return UsageError(f"{_words_of(error)}; see: {command} --help")


def _words_of(error: click.UsageError) -> str:
    match error:
        case click.exceptions.NoSuchCommand():
            return f"invalid choice: {error.command_name!r} is no command{_near(error.possibilities)}"
        case click.exceptions.NoSuchOption():
            return f"no such option: {error.option_name}{_near(error.possibilities)}"
        case click.exceptions.MissingParameter() if error.param is not None:
            return f"the following arguments are required: {error.param.human_readable_name}"
        case click.exceptions.BadParameter() if error.param is not None:
            return f"argument {error.param.opts[-1]}: {error.message}"
        case _ if error.message == "Missing command.":
            return "the following arguments are required: COMMAND"
    return error.message[:1].lower() + error.message[1:].rstrip(".")


def _near(names: Sequence[str] | None) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""
