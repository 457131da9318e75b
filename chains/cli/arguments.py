"""Options with environment twins, and errors that read like ours."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from chains.errors import UsageError

OK, FAILURE = 0, 1
EXIT_CODES = """exit codes: 0 done or verified, 1 something failed or evidence is wrong,
2 usage or configuration, 3 no evidence, 4 could not decide"""
_GIVEN = "given_options"
_YES, _NO = frozenset(("1", "true", "yes")), frozenset(("0", "false", "no"))


class _Given(argparse.Action):
    """Keeps the value of an option, and notes that it was given on the command line.

    The values of a repeatable one are collected; its first takes the place of what the environment named.
    """

    def __init__(self, *arguments: Any, repeatable: bool = False, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._repeatable = repeatable

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        del parser, option_string
        known = given(namespace)
        if self._repeatable:
            values = [*(getattr(namespace, self.dest) if self.dest in known else ()), values]
        setattr(namespace, self.dest, values)
        setattr(namespace, _GIVEN, known | {self.dest})


def given(options: argparse.Namespace) -> frozenset[str]:
    """Return which options were given on the command line, by their names in ``options``; flags are not."""
    found: frozenset[str] = getattr(options, _GIVEN, frozenset())
    return found


class Parser(argparse.ArgumentParser):
    """A parser whose options take their default from the environment and whose errors read like ours.

    A twin that cannot be used is told by the command that has the option, and troubles no other.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._wrong_twins: list[str] = []
        keywords.setdefault("epilog", EXIT_CODES)
        # an abbreviation that works today means something else once another option is added
        keywords.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **keywords)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does. Raises :class:`UsageError`, for a wrong twin too."""
        found = super().parse_known_args(args, namespace)
        if self._wrong_twins:
            raise UsageError(self._wrong_twins[0])
        return found

    def option(self, name: str, text: str, twin: str = "", short: str = "", **keywords: Any) -> None:
        """Add an option with its twin ``CHAINS_<NAME>``; a repeatable one splits its twin at white space.

        An option takes the place of its twin: what the environment names is not added to it. ``short`` is a
        second spelling, such as ``-n``.
        """
        twin = twin or "CHAINS_" + name.lstrip("-").replace("-", "_").upper()
        value = os.environ.get(twin)
        if value is not None and not value.strip():
            self._wrong_twins.append(f"{twin} is empty: give it a value or unset it")
            value = None
        if keywords.get("action") == "append":
            keywords |= {"default": value.split() if value else None, "action": _Given, "repeatable": True}
        elif keywords.get("action") == "store_true":
            word = (value or "false").strip().lower()
            if word not in _YES | _NO:
                self._wrong_twins.append(f"{twin}: expected true or false, got {value!r}")
            keywords["default"] = word in _YES
        else:
            keywords.setdefault("action", _Given)
            keywords["default"] = value if value is not None else keywords.get("default", "")
            choices = keywords.get("choices")
            if choices and keywords["default"] and keywords["default"] not in choices:
                self._wrong_twins.append(
                    f"{twin}: expected one of {', '.join(choices)}, got {keywords['default']!r}"
                )
        self.add_argument(*filter(None, (short, name)), help=f"{text} [env: {twin}]", **keywords)

    def error(self, message: str) -> Any:
        """Raise instead of leaving the process."""
        raise UsageError(f"{message}; see: {self.prog} --help")


def add_output(parser: Parser) -> None:
    """Add the option that every listing has."""
    parser.option("--output", "text or json", default="text", choices=["text", "json"])


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a command line that may be wrong in other ways asks for JSON, itself or by its twin."""
    words = [value for word, value in pairwise((*arguments, "")) if word == "--output"]
    words += [word.partition("=")[2] for word in arguments if word.startswith("--output=")]
    return (words[-1] if words else os.environ.get("CHAINS_OUTPUT", "")) == "json"


def add_store(parser: Parser, text: str) -> None:
    """Add the option that names stores; ``text`` says what for."""
    known = "oci-layout:PATH, oci:, oci://REGISTRY/REPOSITORY, s3://BUCKET/PREFIX or file:PATH"
    parser.option("--store", f"{text}: {known}; may be repeated", action="append", metavar="URL")


def add_password_file(parser: Parser) -> None:
    """Add ``--password-file``."""
    text = "the password of an encrypted key file, on the first line (default: COSIGN_PASSWORD, or asked for)"
    parser.option("--password-file", text, metavar="FILE")


def add_files(parser: Parser) -> None:
    """Add the arguments that name files of runs."""
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="runs as JSON or YAML, a folder, or - for stdin"
    )
