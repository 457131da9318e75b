"""The commands ``retention lint`` and ``check``: what must be kept until when, and whether locks say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.assembly.workspace import Settings, load_settings
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.state import RunState
from chains.audit.retention.dispositions import Dispositions
from chains.audit.retention.load import load_rules, read_rules
from chains.audit.retention.report import Spool, to_csv, to_json_lines, to_junit, words_of
from chains.audit.retention.rules import Rules
from chains.audit.retention.survey import Receipt, Survey, Surveyor
from chains.cli.arguments import FAILURE, FILE, FOLDER, OK, Argument, Option, Options, output
from chains.cli.audit.options import (
    Asked,
    disposition_option,
    dispositions_of,
    evidence_options,
    open_verifier,
)
from chains.cli.commands import Command
from chains.cli.progress import Progress
from chains.cli.tables import write_table
from chains.errors import UsageError
from chains.loop import carry_out
from chains.policy.document.problem import Severity
from chains.terminal import say, write_json, write_line, write_text
from chains.text import count
from signers.keys.keyset import ListedKey

MOST_ROWS = 1000
"""Pieces in the table. JSON and CSV have all of them."""
_FORMS = ("text", "json", "csv", "junit")


@dataclass(frozen=True, slots=True)
class Opened:
    """What the commands work with: stores, verifier, rules, and who may sign disposition records."""

    asked: Asked
    surveyor: Surveyor
    dispositions: Dispositions
    rules: Rules
    now: datetime


def open_retention(
    options: Options, settings: Settings, now: datetime, own: Sequence[ListedKey] = (), *, fsync: bool = False
) -> Opened:
    """Open what the options name; ``own`` are further keys that may sign disposition records.

    Raises :class:`UsageError`, also for every problem of the rules.
    """
    if not options.rules:
        raise UsageError("no rules: pass --rules FILE; docs/retention.md has an example")
    rules = load_rules(Path(options.rules), now)
    asked = open_verifier(options, settings, now, fsync=fsync)
    dispositions = dispositions_of(options, asked, now, *own)
    return Opened(asked, Surveyor(asked.verifier, rules, dispositions, now), dispositions, rules, now)


def _lint(options: Options) -> int:
    """Print everything that is wrong with retention rules."""
    read = read_rules(Path(options.path), datetime.now(UTC))
    if options.output == "json":
        write_json({"path": options.path, "problems": [one.to_json() for one in read.problems]}, indent=True)
    else:
        for problem in read.problems:
            write_line(str(problem))
        errors = sum(problem.severity is Severity.ERROR for problem in read.problems)
        warned = count(len(read.problems) - errors, "warning")
        write_line(f"{options.path}: {count(errors, 'error')}, {warned}")
    return FAILURE if read.errors else OK


def _check(options: Options) -> int:
    """Compare what rules demand with the locks that stores tell, and look for what is gone."""
    settings, now = load_settings(options.config), datetime.now(UTC)
    receipts = list(_receipts(options, now))
    with Spool() as spool, bars() as advance:

        async def work() -> Survey:
            opened = open_retention(options, settings, now)
            try:
                return await opened.surveyor.survey(
                    opened.asked.stores,
                    spool.take,
                    advance,
                    (one for one in receipts if isinstance(one, Receipt)),
                )
            finally:
                await opened.asked.close()

        survey = carry_out(work())
        survey.problems += [one for one in receipts if isinstance(one, str)]
        _show(survey, spool, options)
    return survey.exit_code


@contextmanager
def bars() -> Iterator[Callable[[str, int, bool], None]]:
    """Give what is called for each part of a store, and shows a bar for each store on a terminal."""
    bar: Progress | None = None
    seen: set[str] = set()

    def advance(url: str, total: int, failed: bool) -> None:
        nonlocal bar
        if url not in seen or bar is None:
            if bar is not None:
                bar.close()
            seen.add(url)
            bar = Progress(total, "parts of the store", is_timed=True)
        bar.advance(failed=failed)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()


def _receipts(options: Options, now: datetime) -> Iterator[Receipt | str]:
    """Yield the receipts of the ledgers that the options name, and what is wrong with those, in words."""
    if options.ledger and not options.ledger_key:
        raise UsageError("--ledger needs --ledger-key PUB: the key that signs the days of the ledger")
    if options.ledger_key and not options.ledger:
        raise UsageError("--ledger-key belongs to --ledger FOLDER")
    keys = open_listed_keys(options.ledger_key) if options.ledger else []
    root = None if options.trusted_root is None else open_trusted_root(options.trusted_root)
    for folder in options.ledger:
        state = read_ledger(Path(folder), keys, now, root)
        yield from (f"ledger {folder}: {one}" for one in state.problems)
        for run in state.runs.values():
            # what is only read from a mark may be written by anybody who may write to a run
            if run.state is RunState.EVIDENCED and not run.is_from_mark:
                for one in run.receipts:
                    yield Receipt(one.store, one.location, one.digest, run.uid, f"ledger {folder}")


def _show(survey: Survey, spool: Spool, options: Options) -> None:
    """Write the answer; what is no part of a file in the form goes to standard error."""
    match options.output:
        case "json":
            for line in to_json_lines(survey, spool, all_pieces=options.all):
                write_text(line)
            return
        case "csv":
            for line in to_csv(spool, all_pieces=options.all):
                write_text(line)
        case "junit":
            for line in to_junit(survey, spool):
                write_text(line)
        case _:
            _show_table(survey, spool, all_pieces=options.all)
            return
    for line in survey.summary:
        say(line)


def _show_table(survey: Survey, spool: Spool, *, all_pieces: bool) -> None:
    for line in survey.summary:
        write_line(line)
    for url, found in survey.protections.items():
        more = f"; versioning {found.versioning}" if found.versioning else ""
        more += f"; default {found.default}" if found.default else ""
        write_line(f"{url}: {found.detail}{more}")
    rows: list[tuple[str, ...]] = []
    left = 0
    for row in spool.rows(all_pieces=all_pieces):
        if len(rows) == MOST_ROWS:
            left += 1
            continue
        lock = row["lock"] or {}
        told = " ".join(filter(None, (lock.get("mode"), "hold" if lock.get("legalHold") else "")))
        until = lock.get("until") or ""
        rows.append(
            (
                row["state"],
                " ".join(one["code"] for one in row["problems"]),
                row["keepUntil"] or "",
                (told or str(lock.get("state") or "")).lower() + (f" until {until}" if until else ""),
                row["location"],
                words_of(row),
            )
        )
    if rows:
        write_line("")
        write_table(("STATE", "PROBLEMS", "KEEP UNTIL", "LOCK", "LOCATION", "WHY"), rows)
    if left:
        write_line(f"and {left:,} more: --output json and csv have all of them")
    for problem in survey.problems:
        write_line(f"Not read: {problem}")
    for note in survey.notes:
        write_line(f"Note: {note}")


def rule_options() -> list[Option]:
    """Return the options that name rules, and who may sign disposition records."""
    return [
        Option("--rules", "the retention rules", twin="CHAINS_RETENTION_RULES", metavar="FILE", type=FILE),
        disposition_option(),
    ]


_LEDGER = [
    Option(
        "--ledger",
        "the controller's ledger: what it says was stored has to be there; may be repeated",
        metavar="FOLDER",
        repeatable=True,
        twin="CHAINS_AUDIT_LEDGER",
        type=FOLDER,
    ),
    Option(
        "--ledger-key",
        "a public key that may sign days of the ledger; may be repeated",
        repeatable=True,
        metavar="PUB",
        type=FILE,
    ),
]


lint = Command(
    "lint",
    _lint,
    [Argument("path", "retention rules", "FILE", type=FILE), output()],
    text="print everything that is wrong with retention rules",
)
check = Command(
    "check",
    _check,
    [
        *rule_options(),
        *evidence_options(),
        *_LEDGER,
        Option("--all", "show what is kept as demanded, too", twin="CHAINS_RETENTION_ALL", flag=True),
        Option("--output", ", ".join(_FORMS), default="text", choices=_FORMS),
    ],
    text="say what must be kept until when, and whether its lock says so",
)
