"""The command ``search``: what an index knows, by a query."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import click
from click.shell_completion import CompletionItem

from chains.cli.arguments import FILE, Argument, Option, Options
from chains.cli.commands import Command
from chains.cli.tables import write_table
from chains.errors import UsageError
from chains.index.database import DEFAULT, place_of
from chains.index.query.answer import LONGEST_PAGE, PAGE, Answer, ask
from chains.index.query.parse import parse
from chains.index.query.report import HEADER, summary, to_csv, to_json, to_row
from chains.index.query.terms import Key
from chains.index.query.values import WORDS
from chains.terminal import say, write_json, write_line, write_text
from chains.text import excerpt

_FORMS = ("table", "text", "json", "csv")
_LONGEST = 200
"""Characters of a cell of the table."""
_NEGATED = re.compile(rf"-(?:{'|'.join(Key)}):", re.IGNORECASE)


def _search(options: Options) -> int:
    """Print the newest attestations that fit."""
    query = parse(" ".join(options.query))
    answer = ask(
        place_of(options.index),
        query,
        datetime.now(UTC),
        limit=_limit(options.limit),
        cursor=options.cursor,
    )
    _show(answer, options.output)
    return answer.exit_code


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= len(str(LONGEST_PAGE))):
        raise UsageError(f"--limit: expected a number from 1 to {LONGEST_PAGE}, got {excerpt(text, 40)!r}")
    return int(text)


def _show(answer: Answer, form: str) -> None:
    if form == "json":
        write_json(to_json(answer), indent=True)
        return
    if form == "csv":
        for line in to_csv(answer):
            write_text(line)
        for line in summary(answer):
            say(line)
        return
    if answer.hits:
        write_table(HEADER, [tuple(excerpt(cell, _LONGEST) for cell in to_row(hit)) for hit in answer.hits])
    for line in summary(answer):
        write_line(line)


class _Search(Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. A term such as ``-namespace:dev`` is no option; its place does not matter."""
        end = args.index("--") if "--" in args else len(args)
        before, after = args[:end], args[end + 1 :]
        terms = [word for word in before if _NEGATED.match(word)]
        rest = [word for word in before if not _NEGATED.match(word)]
        return super().parse_args(ctx, [*rest, "--", *terms, *after] if terms or after else rest)


class _Terms(click.ParamType[str]):
    """A term; the shell completes its key, and the words of a key that has a list of them."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value."""
        del param, ctx
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the terms that begin with ``incomplete``."""
        del ctx, param
        key, colon, _ = incomplete.partition(":")
        terms = [f"{key}:{word}" for word in WORDS.get(key, ())] if colon else [f"{key}:" for key in Key]
        return [CompletionItem(term) for term in terms if term.startswith(incomplete)]


search = _Search(
    "search",
    _search,
    [
        Argument(
            "query",
            "terms that must all hold, such as repo:URI level:enforced -namespace:dev",
            "QUERY",
            many="*",
            type=_Terms(),
        ),
        Option(
            "--index",
            f"the index: a file, or postgresql://… (default: {DEFAULT})",
            default=DEFAULT,
            metavar="FILE|URL",
            type=FILE,
        ),
        Option("--output", "table, json or csv", default="table", choices=_FORMS),
        Option(
            "--limit",
            f"attestations of a page, up to {LONGEST_PAGE} (default: {PAGE})",
            default=str(PAGE),
            metavar="NUMBER",
        ),
        Option("--cursor", "where the page begins: from the page before it", metavar="TEXT"),
    ],
)
