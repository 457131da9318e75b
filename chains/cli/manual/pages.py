"""Man pages in the macros of man(7): one for the program, and one for each command and group.

Every text is escaped, so that no line begins with a request and a hyphen can be copied. Source of the format:
https://man7.org/linux/man-pages/man7/groff_man.7.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import click

from chains.cli.manual.described import Described, DescribedOption, describe
from chains.cli.manual.topics import EXIT_CODES, TOPICS, topic_lines

_BREAK = re.compile(r"\s+")
_ESCAPES = {"\\": r"\(rs", "-": r"\-", "~": r"\(ti", "^": r"\(ha", "`": r"\(ga", "'": r"\(aq", '"': r"\(dq"}
_ESCAPES |= {"…": "...", "\N{EN DASH}": r"\(en"}


def man_pages(root: click.Command, version: str) -> Mapping[str, str]:
    """Return every page by its file name: ``chains.1``, ``chains-keys-generate.1``, ``chains-stores.7``."""
    pages = {f"{'-'.join(one.path)}.1": _page(one, version) for one in describe(root).all()}
    for name, (text, _) in TOPICS.items():
        pages[f"chains-{name}.7"] = _topic_page(name, text, topic_lines(name, root), version)
    return pages


def _page(command: Described, version: str) -> str:
    name = "-".join(command.path)
    lines = [*_top(name, "1", version), f"{_escaped(name)} \\- {_escaped(command.text or 'commands')}"]
    lines += [".SH SYNOPSIS", f".B {_escaped(command.name)}"]
    synopsis = command.usage.removeprefix(command.name).strip()
    lines += [_escaped(synopsis)] if synopsis else []
    if command.arguments:
        lines.append(".SH ARGUMENTS")
        for argument in command.arguments:
            lines += [".TP", f"\\fI{_escaped(argument.usage)}\\fR", _escaped(argument.text)]
    lines += [".SH OPTIONS", *_options(command.options)]
    if command.below:
        lines.append(".SH COMMANDS")
        for one in command.below:
            lines += [".TP", f".BR {_escaped('-'.join(one.path))} (1)", _escaped(one.text)]
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", f".B {code}", _escaped(meaning)]
    above = [("-".join(command.path[:-1]), "1")] if len(command.path) > 1 else []
    topics = [(f"chains-{topic}", "7") for topic in TOPICS]
    return _joined([*lines, *_see_also([*above, *topics])])


def _topic_page(name: str, text: str, told: list[str], version: str) -> str:
    lines = [*_top(f"chains-{name}", "7", version), f"{_escaped(f'chains-{name}')} \\- {_escaped(text)}"]
    lines.append(".SH DESCRIPTION")
    before = "the heading"
    for line in told:
        if line.startswith("  "):
            term, _, meaning = line.strip().partition("  ")
            lines += [".TP", f".B {_escaped(term)}", _escaped(meaning)]
        elif line:
            lines += [_escaped(line)] if before else [".PP", _escaped(line)]
        before = line
    return _joined([*lines, *_see_also([("chains", "1")])])


def _top(name: str, section: str, version: str) -> list[str]:
    """The title has no date: pages of the same version are the same bytes."""
    return [
        f'.TH "{_escaped(name.upper())}" {section} "" "provenance\\-chains {version}" "Chains"',
        ".SH NAME",
    ]


def _options(options: tuple[DescribedOption, ...]) -> Iterator[str]:
    for option in options:
        names = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in option.names)
        value = f" \\fI{_escaped(option.value)}\\fR" if option.value else ""
        yield from (".TP", names + value, f"{_escaped(option.text)}.")
        if option.default:
            yield _escaped(f"Default: {option.default}.")
        yield f"Environment: {_escaped(option.twin)}."
    yield from (".TP", "\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "Show the help and exit.")


def _see_also(pages: list[tuple[str, str]]) -> list[str]:
    last = len(pages) - 1
    rows = [
        f".BR {_escaped(name)} ({section}){',' if number < last else ''}"
        for number, (name, section) in enumerate(pages)
    ]
    return [".SH SEE ALSO", *rows]


def _escaped(text: str) -> str:
    """Return text on one line, every character of it as itself."""
    line = "".join(_ESCAPES.get(char, char) for char in _BREAK.sub(" ", text).strip())
    return f"\\&{line}" if line[:1] in {".", "\\"} and not line.startswith("\\&") else line


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
