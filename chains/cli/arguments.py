"""Options with environment twins, arguments, and the types of their values.

Every option has a twin: an environment variable that gives the value if the command line does not. An option
replaces its twin. For a repeatable option, the values of the twin are not added.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from chains.errors import UsageError

OK, FAILURE, NO_EVIDENCE = 0, 1, 3
_YES, _NO = frozenset(("1", "true", "yes")), frozenset(("0", "false", "no"))
_NUMBER = re.compile(r"-(\d+|\d*\.\d+)")


class _Word(click.ParamType[str]):
    """Any text.

    ``completed`` says what the shell completes for it: ``file``, ``dir`` or ``plain`` (nothing).
    """

    name = "text"

    def __init__(self, completed: str = "plain") -> None:
        self._completed = completed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value."""
        del param, ctx
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return an item that tells the shell to complete file names itself, or nothing."""
        del ctx, param
        return [] if self._completed == "plain" else [CompletionItem(incomplete, type=self._completed)]


class Choice(click.Choice[str]):
    """One word of a fixed list."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return the error for a word that is not in the list."""
        del ctx
        return f"invalid choice: {value!r} (choose from {', '.join(map(repr, self.choices))})"


TEXT, FILE, FOLDER = _Word(), _Word("file"), _Word("dir")


class Argument(click.Argument):
    """A positional argument.

    ``many`` says how many values it takes: exactly one (empty), at least one (``+``), any number (``*``) or
    at most one (``?``).
    """

    def __init__(
        self, name: str, text: str, metavar: str, *, many: str = "", type: click.ParamType[str] = TEXT  # noqa: A002 - as click calls it
    ) -> None:  # fmt: skip
        counted: dict[str, dict[str, Any]] = {
            "": {"required": True},
            "+": {"required": True, "nargs": -1},
            "*": {"required": False, "nargs": -1},
            "?": {"required": False, "default": ""},
        }
        super().__init__([name], help=text, metavar=metavar, type=type, **counted[many])
        self._usage = {"": metavar, "+": f"{metavar}...", "*": f"[{metavar}]...", "?": f"[{metavar}]"}[many]

    def make_metavar(self, ctx: click.Context) -> str:
        """Return the argument as it is written in the usage line."""
        del ctx
        return self._usage


class Option(click.Option):
    """An option with its environment twin ``CHAINS_<NAME>``, or the variable ``twin``.

    The twin of a repeatable option is split at white space. The twin of a flag is true or false. A twin that
    is empty or has an invalid value is an error in every command that has the option, even if the command
    line gives the option too. Other commands ignore it. ``short`` is a second spelling, such as ``-n``.
    """

    def __init__(
        self,
        name: str,
        text: str,
        *,
        twin: str = "",
        short: str = "",
        metavar: str | None = None,
        default: str | None = "",
        choices: Sequence[str] = (),
        repeatable: bool = False,
        flag: bool = False,
        type: click.ParamType[str] = TEXT,  # noqa: A002 - as click calls it
    ) -> None:
        self.twin = twin or "CHAINS_" + name.lstrip("-").replace("-", "_").upper()
        self.words = tuple(choices)
        kind: dict[str, Any]
        if flag:
            kind = {"is_flag": True, "default": False}
        elif repeatable:
            kind = {"type": type, "multiple": True}
        elif choices:
            kind = {"type": Choice(choices), "default": default or None}
        else:
            kind = {"type": type, "default": default}
        super().__init__(
            list(filter(None, (short, name))),
            help=f"{text} [env: {self.twin}]",
            envvar=self.twin,
            metavar=metavar,
            **kind,
        )

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the value of the twin, or None if the variable is not set.

        Raises :class:`UsageError` that names the variable.
        """
        text = os.environ.get(self.twin)
        if text is None or ctx.resilient_parsing:  # for a completion, a wrong variable does not matter
            return None
        if not text.strip():
            raise UsageError(f"{self.twin} is empty: give it a value or unset it")
        if self.is_flag:
            word = text.strip().lower()
            if word not in _YES | _NO:
                raise UsageError(f"{self.twin}: expected true or false, got {text!r}")
            return word in _YES
        if self.words and text not in self.words:
            raise UsageError(f"{self.twin}: expected one of {', '.join(self.words)}, got {text!r}")
        return text.split() if self.multiple else text

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        """Return the value and its source. The twin is checked even if the command line gives the value."""
        self.value_from_envvar(ctx)
        return super().consume_value(ctx, opts)


class Options(SimpleNamespace):
    """The values of a command's options and arguments, as attributes.

    ``given`` has the names of the options and arguments that the command line gives, flags included.
    """

    given: frozenset[str]

    @classmethod
    def of(cls, context: click.Context) -> Options:
        """Return the values that click parsed from the command line and the environment."""
        sources = {name: context.get_parameter_source(name) for name in context.params}
        given = frozenset(name for name, source in sources.items() if source is ParameterSource.COMMANDLINE)
        return cls(**context.params, given=given)


def spell_out(arguments: Sequence[str], parameters: Sequence[click.Parameter], command: str) -> list[str]:
    """Return the arguments in a spelling that click cannot misread.

    click takes the word after an option as its value, even if that word is another option. It takes ``-n=x``
    as the value ``=x``. Here, an option without a value is an error, and ``-n=x`` becomes ``--namespace=x``.
    Raises :class:`UsageError`.
    """
    long = {
        name: parameter.opts[-1]
        for parameter in parameters
        if isinstance(parameter, Option) and not parameter.is_flag
        for name in parameter.opts
    }
    written: list[str] = []
    words = list(arguments)
    while words and words[0] != "--":
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word in long and words:
            if _is_option(words[0]):
                raise UsageError(
                    f"{word} has no value: {words[0]} follows; write {long[word]}=VALUE for a value that "
                    f"begins with a dash; see: {command} --help"
                )
            written += [word, words.pop(0)]
        elif equals and name in long:
            written.append(f"{long[name]}={value}")
        else:
            written.append(word)
    return written + words


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and " " not in word and _NUMBER.fullmatch(word) is None


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, by the option or its twin. The rest of the line may be wrong."""
    words = [value for word, value in pairwise((*arguments, "")) if word == "--output"]
    words += [word.partition("=")[2] for word in arguments if word.startswith("--output=")]
    return (words[-1] if words else os.environ.get("CHAINS_OUTPUT", "")) == "json"


def output() -> Option:
    """Return the option ``--output``."""
    return Option("--output", "text or json", default="text", choices=["text", "json"])


def store(text: str) -> Option:
    """Return the option ``--store``. ``text`` is its purpose in the help."""
    known = "oci-layout:PATH, oci:, oci://REGISTRY/REPOSITORY, s3://BUCKET/PREFIX or file:PATH"
    return Option("--store", f"{text}: {known}; may be repeated", repeatable=True, metavar="URL")


def config(text: str = "a chains-config ConfigMap or its data") -> Option:
    """Return the option ``--config``."""
    return Option("--config", text, metavar="FILE", type=FILE)


def password_file() -> Option:
    """Return the option ``--password-file``."""
    text = "a file whose first line is the password of the key file (default: COSIGN_PASSWORD, or a prompt)"
    return Option("--password-file", text, metavar="FILE", type=FILE)


def files() -> Argument:
    """Return the argument for files that hold runs."""
    return Argument(
        "files", "runs as JSON or YAML, a folder, or - for standard input", "FILE", many="+", type=FILE
    )


def namespace_options() -> list[Option]:
    """Return the options that say where an image runs."""
    text = "the namespace in which the image runs: without it, policies of all namespaces count"
    return [
        Option("--for-namespace", text, default=None, metavar="NAME"),
        Option("--namespace-label", "a label of that namespace", repeatable=True, metavar="NAME=VALUE"),
    ]


def summary_options() -> list[Option]:
    """Return the options that say how an answer is signed."""
    return [
        Option("--attest-vsa", "sign the answer as SLSA VSA and in-toto SVR, and store both", flag=True),
        Option(
            "--vsa-key",
            "the verifier's own key, which signs no evidence",
            metavar="KEY",
            type=FILE,
            default=None,
        ),
        Option("--verifier-id", "the URI of the organisation that verifies", metavar="URI", default=None),
        Option("--policy-uri", "the URI at which consumers find the policy", metavar="URI", default=None),
        Option("--attest-failures", "sign a FAILED summary, too, where an image does not pass", flag=True),
        Option(
            "--vsa-folder",
            "write the bare envelopes into this folder, too",
            metavar="FOLDER",
            type=FOLDER,
            default=None,
        ),
    ]
