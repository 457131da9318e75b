"""Pages of the ledger: its days, and one day with its entries and its proof."""

from __future__ import annotations

from datetime import date
from typing import Final

from aiohttp import web

from chains.audit.ledger.entries import Entry, Heartbeat, RunEntry, said_by
from chains.audit.ledger.folder import CHECKPOINT
from chains.audit.ledger.lines import parse_entry
from chains.errors import ChainsError, UsageError
from chains.index.query.detail.runs import runs_of
from chains.web.files.ledger import Ledger, days_of
from chains.web.keys import FILES, SOURCE
from chains.web.pages.attestation import download
from chains.web.pages.page import Crumb, failure_page, page
from chains.web.render import paths
from chains.web.trouble import told_to
from chains.web.viewer import VIEWER

MOST: Final = 500
"""Entries of a day that are shown."""
DAYS: Final = 120
_DIGITS: Final = 6
"""Digits of the number of a page."""
_HIDDEN = "The ledger is not given, or you may not see it: it has the runs of all namespaces."


async def days(request: web.Request) -> web.Response:
    """Show the days of the ledger."""
    ledger, answer = await _opened(request)
    if ledger is None:
        return answer
    every = days_of(ledger.state)
    text = request.query.get("page", "0")
    number = int(text) if text.isdecimal() and len(text) <= _DIGITS else 0
    return page(
        request,
        "ledger.html",
        "Ledger of runs",
        crumbs=(Crumb("Ledger"),),
        api=(paths.api("/ledger"),),
        ledger=ledger,
        state_of_ledger=ledger.state,
        days=every[number * DAYS : (number + 1) * DAYS],
        total=len(every),
        number=number,
        has_more=len(every) > (number + 1) * DAYS,
    )


async def one(request: web.Request) -> web.Response:
    """Show a day: its counts, its heads, and its entries."""
    ledger, answer = await _opened(request)
    if ledger is None:
        return answer
    day = _day(request)
    found = ledger.of_day(day)
    if not found:
        raise web.HTTPNotFound
    entries, left = await request.app[SOURCE].aside(request[VIEWER], lambda: _entries(ledger, day))
    every = sorted({one.day for one in ledger.state.days})
    place = every.index(day)
    uids = [entry.run.uid for entry, _ in entries if isinstance(entry, RunEntry)]
    known = await request.app[SOURCE].read(request[VIEWER], lambda view: frozenset(runs_of(view, uids)))
    return page(
        request,
        "ledger_day.html",
        f"Ledger of {day}",
        crumbs=(Crumb("Ledger", "/ledger"), Crumb(str(day))),
        ledger=ledger,
        day=day,
        days=found,
        entries=entries,
        left=left,
        checkpoints=_checkpoints(ledger, day),
        gaps=[one for one in ledger.state.gaps if one.start.date() <= day <= one.until.date()],
        problems=[one for one in ledger.state.problems if one.day == day],
        before=every[place - 1] if place else None,
        after=every[place + 1] if place + 1 < len(every) else None,
        known=known,
    )


async def checkpoint(request: web.Request) -> web.Response:
    """Give the signed head of a day of a log."""
    ledger, answer = await _opened(request)
    if ledger is None:
        return answer
    day, number = _day(request), request.match_info["log"]
    logs = sorted(ledger.logs)
    if not number.isdecimal() or len(number) > 4 or int(number) >= len(logs):  # noqa: PLR2004 - digits of a log
        raise web.HTTPNotFound
    log = ledger.logs[logs[int(number)]]
    if not log.is_closed(day):
        raise web.HTTPNotFound
    return download(log.read(day, CHECKPOINT), f"{day}.checkpoint")


async def _opened(request: web.Request) -> tuple[Ledger | None, web.Response]:
    files = request.app[FILES]
    if not request[VIEWER].sees_all or not files.ledger.is_given:
        step = "start chains web with --ledger FOLDER, and --ledger-key PUB to have its days verified."
        return None, failure_page(request, 404, "No ledger to show", _HIDDEN, step)
    try:
        return await files.ledger.value(), web.Response()
    except ChainsError as error:
        return None, failure_page(
            request,
            503,
            "The ledger cannot be read",
            told_to(request, error, "Its folder is damaged, or not there."),
            "The log of chains web says more. Repair the folder and load this page again.",
        )


def _entries(ledger: Ledger, day: date) -> tuple[list[tuple[Entry, str]], int]:
    """Return the entries of a day but the heartbeats, each with what it says, and how many were left out."""
    found: list[tuple[Entry, str]] = []
    left = 0
    for _, log in sorted(ledger.logs.items()):
        for line in log.whole_lines(day):
            try:
                entry = parse_entry(line)
            except ChainsError:
                left += 1
                continue
            if isinstance(entry, Heartbeat):
                continue
            if len(found) >= MOST:
                left += 1
                continue
            found.append((entry, said_by(entry)))
    return found, left


def _checkpoints(ledger: Ledger, day: date) -> list[tuple[int, str, str]]:
    found = []
    for number, (origin, log) in enumerate(sorted(ledger.logs.items())):
        if log.is_closed(day):
            try:
                found.append((number, origin, log.read(day, CHECKPOINT).decode(errors="replace")))
            except ChainsError:
                continue
    return found


def _day(request: web.Request) -> date:
    try:
        return date.fromisoformat(request.match_info["day"])
    except ValueError as error:
        raise UsageError("expected a day such as 2026-10-31") from error
