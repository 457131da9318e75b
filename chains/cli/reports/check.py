"""The command ``report check``: every count of a report is computed again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from chains.assembly.workspace import load_settings
from chains.audit.compare import Period
from chains.cli.arguments import FAILURE, FILE, OK, Argument, Option, Options
from chains.cli.commands import Command
from chains.cli.reports.gathering import At, gathered, gathering_options
from chains.errors import InputError, UsageError
from chains.report.again import compare_forms
from chains.report.check import Differences, compare, count_again
from chains.report.document.file import Document, read_document
from chains.report.names import REPORT
from chains.tekton.raw import parse_time
from chains.terminal import say, write_json, write_line
from chains.text import count, told

SCHEMA = "https://provenance.chains/report-check/v1"
_UNDECIDED = 4
_SOURCES = ("runs", "cluster", "ledger", "audit_log", "tekton_results")


def _check(options: Options) -> int:
    """Count a report again from its rows, and from its sources if they are named."""
    if options.given & {"from", "to"}:
        raise UsageError("--from and --to are those of the report: leave them out")
    path = Path(options.report)
    document = read_document(path / REPORT if path.is_dir() else path)
    found = Differences()
    count_again(document, found)
    if path.is_dir():
        for left in _forms_again(path, document, found):
            say(left)
    has_sources = any(getattr(options, name) for name in _SOURCES)
    if has_sources:
        scope = document.head["scope"]
        at = At(_moment(scope["at"]), scope["timeSource"])
        period = Period(*(None if one is None else _moment(one) for one in (scope["since"], scope["until"])))
        with gathered(options, load_settings(options.config), at, period) as again:
            compare(document, again, found)
    _show(document, found, options, has_sources=has_sources)
    if found:
        return FAILURE
    return OK if has_sources else _UNDECIDED


def _forms_again(folder: Path, document: Document, found: Differences) -> list[str]:
    try:
        return list(compare_forms(folder, document, found))
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from error


def _moment(text: str) -> datetime:
    moment = parse_time(text)
    if moment is None:
        raise UsageError(f"the report has a time that is none: {text[:40]!r}")
    return moment


def _show(document: Document, found: Differences, options: Options, *, has_sources: bool) -> None:
    tool = document.head["scope"]["tool"]
    if options.output == "json":
        write_json(
            {
                "schema": SCHEMA,
                "agrees": not found,
                "comparedWithSources": has_sources,
                "tool": tool,
                "differences": [
                    {"path": one.path, "said": one.said, "found": one.found} for one in found.kept
                ],
                "furtherDifferences": found.more,
            },
            indent=True,
        )
        return
    for one in found.kept:
        write_line(told(str(one)))
    if found.more:
        write_line(f"and {found.more:,} further differences")
    if found:
        write_line(f"The report does not hold: {count(len(found.kept) + found.more, 'difference')}.")
    elif has_sources:
        write_line("Every count of the report is what its sources and stores give now.")
    else:
        write_line("Every count of the report is what its own rows give.")
        say("its sources were not read: name them as for chains report, to compare with them")


check = Command(
    "check",
    _check,
    [
        Argument("report", "the folder of a report, or its report.json", "REPORT", type=FILE),
        *gathering_options(),
        Option("--output", "text or json", default="text", choices=["text", "json"]),
    ],
)
