"""The command ``ledger show``: the days of a ledger, or the entries of one."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from chains.audit.ledger.entries import Entry, moment, said_by
from chains.audit.ledger.folder import find_logs
from chains.audit.ledger.lines import parse_entry
from chains.audit.ledger.read import walk_ledger
from chains.cli.arguments import (
    FAILURE,
    NO_EVIDENCE,
    OK,
    Options,
)
from chains.cli.audit.ledger.printed import ledger_of, run_of, state_of
from chains.cli.audit.ledger.trusted import day_of, trusted_of
from chains.cli.tables import write_table
from chains.errors import UsageError
from chains.terminal import say, write_document, write_json, write_line
from signers.errors import FormatError
from signers.sigstore.cosignature import log_key

_SHORT = 12


def show(options: Options) -> int:
    """Print the days of a ledger, or the entries of one day."""
    trusted = trusted_of(options)
    folder = Path(options.ledger)
    if options.day:
        return _show_day(folder, day_of(options.day, "--day"), options.output)
    state, _ = walk_ledger(folder, trusted)
    if options.output == "json":
        write_json(ledger_of(state, state.problems, ()), indent=True)
        return FAILURE if state.problems else OK
    rows = [
        (
            day.log,
            day.day.isoformat(),
            state_of(day, trusted),
            str(day.entries),
            str(day.opened),
            str(day.counts.get("seen", 0)),
            str(day.counts.get("finished", 0)),
            str(day.counts.get("removed", 0) - day.counts.get("lost", 0)),
            str(day.still_open),
            str(day.pending),
            day.root[:_SHORT],
        )
        for day in state.days
    ]
    write_table(
        (
            "LOG",
            "DAY",
            "STATE",
            "ENTRIES",
            "OPEN BEFORE",
            "SEEN",
            "FINISHED",
            "REMOVED",
            "OPEN",
            "PENDING",
            "ROOT",
        ),
        rows,
    )
    for gap in state.gaps:
        write_line(f"gap: {gap.log}: {moment(gap.start)} to {moment(gap.until)}: {gap.reason}")
    for finding in state.problems:
        write_line(f"{finding.code}: {finding}")
    return FAILURE if state.problems else OK


def _show_day(folder: Path, day: date, form: str) -> int:
    rows: list[tuple[str, Entry]] = []
    for log in find_logs(folder):
        origin = log.origin()
        rows += [(origin, parse_entry(line)) for line in log.whole_lines(day)]
        if form == "json":
            for line in log.whole_lines(day):
                write_document(line)
    if rows and form != "json":
        write_table(
            ("LOG", "TIME", "ENTRY", "RUN", "WHAT"),
            [(origin, moment(one.at), one.kind.value, run_of(one), said_by(one)) for origin, one in rows],
        )
    if not rows:
        say(f"the ledger has no entry of {day.isoformat()}")
    return OK if rows else NO_EVIDENCE


def keys(options: Options) -> int:
    """Print the verifier key of each log, for the operators of witnesses."""
    trusted = trusted_of(options)
    if len(trusted.keys) != 1:
        raise UsageError("the key that signs the ledger is missing, or one of several: pass --key PUB once")
    try:
        found = {
            log.origin(): log_key(log.origin(), trusted.keys[0].key)
            for log in find_logs(Path(options.ledger))
        }
    except FormatError as error:
        raise UsageError(f"--key: {error}") from error
    if options.output == "json":
        write_json({"keys": found}, indent=True)
        return OK
    for line in found.values():
        write_line(line)
    return OK
