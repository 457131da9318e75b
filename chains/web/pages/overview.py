"""The first page: how much is confirmed, by day, by namespace, and since when the ledger is unbroken."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

from aiohttp import web

from chains.errors import ChainsError, UsageError
from chains.index.query.scope import View
from chains.web.answers.overview import LONGEST, Overview, overview_of
from chains.web.keys import FILES, SOURCE
from chains.web.pages.page import page
from chains.web.render.chart import days_svg
from chains.web.trouble import told_to
from chains.web.viewer import VIEWER

LENGTHS: Final = (7, 30, 90, 365)
_FIRST: Final = date.min + timedelta(days=LONGEST)
"""The calendar has no longest overview before an earlier day."""
_DAYS: Final = re.compile(r"[0-9]{1,3}", re.ASCII)


async def show(request: web.Request) -> web.Response:
    """Show the numbers of a time."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    length, until = _length(request), _until(request)
    now = source.clock()

    def work(view: View) -> Overview:
        return overview_of(view, now, length, until)

    found = await source.read(viewer, work)
    confirmed = sum(bar.confirmed for bar in found.bars)
    failed = sum(bar.failed for bar in found.bars)
    undecided = sum(bar.undecided for bar in found.bars)
    title = "Attestations by the day on which their run ended"
    text = (
        f"From {found.since} to {found.until}, without that day: {confirmed:,} confirmed, "
        f"{undecided:,} undecided, {failed:,} not confirmed. The table below has the numbers of each day."
    )
    files = request.app[FILES]
    audit = None
    if files.audits.is_given:
        newest = (await files.audits.value()).at("")
        audit = newest.within(viewer.namespaces) if newest is not None else None
    return page(
        request,
        "overview.html",
        "Overview",
        state=found.state,
        found=found,
        chart=days_svg("days", title, text, found.bars),
        lengths=LENGTHS,
        length=length,
        audit=audit,
        ledger=await _ledger(request),
        totals=(confirmed, undecided, failed),
    )


async def _ledger(request: web.Request) -> tuple[object, str] | None:
    """Return what the ledger says, and what is wrong with it; None without one, or for who may not see it."""
    files = request.app[FILES]
    if not files.ledger.is_given or not request[VIEWER].sees_all:
        return None
    try:
        return await files.ledger.value(), ""
    except ChainsError as error:
        return None, told_to(request, error, "cannot be read now: the log of chains web says more")


def _length(request: web.Request) -> int:
    text = request.query.get("days", "30")
    if not _DAYS.fullmatch(text) or not 1 <= int(text) <= LONGEST:
        raise UsageError(f"days: expected a number from 1 to {LONGEST}")
    return int(text)


def _until(request: web.Request) -> date | None:
    text = request.query.get("until", "")
    if not text:
        return None
    try:
        found = date.fromisoformat(text)
    except ValueError as error:
        raise UsageError("until: expected a day such as 2026-10-31") from error
    if found < _FIRST:
        raise UsageError(f"until: expected a day from {_FIRST} on")
    return found
