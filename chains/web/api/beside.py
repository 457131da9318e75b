"""What the API answers from files beside the index: audits, the ledger, reports.

The ledger and reports are about all namespaces, so they are there only for who sees everything.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from aiohttp import web

from chains.audit.ledger.state import LedgerDay
from chains.errors import UsageError
from chains.index.query.answer import PAGE
from chains.text import rfc3339, told
from chains.web.api import filed
from chains.web.api.handlers import MOST_PAGE, number_in
from chains.web.api.made import link
from chains.web.files.audits import STATES, AuditResult, Gap
from chains.web.files.ledger import days_of
from chains.web.keys import FILES
from chains.web.viewer import VIEWER

MOST_DAYS: Final = 400
_MOST: Final = 10_000_000


async def audit(request: web.Request) -> filed.Audit:
    """Answer a stored audit, narrowed to what the viewer may see."""
    files, viewer = request.app[FILES], request[VIEWER]
    limit = number_in(request, "limit", PAGE, MOST_PAGE)
    at, state = request.query.get("at", ""), request.query.get("state", "")
    if state and state not in STATES:
        raise UsageError(f"state: expected one of {', '.join(STATES)}")
    begin = number_in(request, "cursor", 1, _MOST) - 1
    if not files.audits.is_given:
        raise web.HTTPNotFound
    every = (await files.audits.value()).within(viewer.namespaces)
    found = every.at(at)
    if found is None:
        raise web.HTTPNotFound
    runs = [one for one in found.gaps if not state or one.state == state]
    following = None
    if len(runs) > begin + limit:
        given = {"at": found.at, "limit": str(limit), "cursor": str(begin + limit + 1)}
        following = link("audit", **given, **({"state": state} if state else {}))
    return filed.Audit(
        at=found.at,
        since=found.since or None,
        until=found.until or None,
        finished=found.finished,
        states=_counts(found),
        namespaces=tuple(
            filed.NamespaceCounts(
                name, tuple(filed.StateCount(kind, number) for kind, number in sorted(counts.items()))
            )
            for name, counts in sorted(found.namespaces.items())
        ),
        others=tuple(one.at for one in every.results),
        runs=tuple(map(_gap, runs[begin : begin + limit])),
        next=following,
    )


async def ledger(request: web.Request) -> filed.Ledger:
    """Answer the days of the ledger."""
    files = request.app[FILES]
    if not files.ledger.is_given or not request[VIEWER].sees_all:
        raise web.HTTPNotFound
    found = await files.ledger.value()
    state = found.state
    return filed.Ledger(
        found.is_verified,
        rfc3339(state.since) if state.since else None,
        rfc3339(state.until) if state.until else None,
        tuple(map(_day, days_of(state)[:MOST_DAYS])),
        tuple(told(str(one)) for one in state.problems),
    )


async def reports(request: web.Request) -> filed.Reports:
    """Answer which reports there are, with the digests of their files."""
    files = request.app[FILES]
    if not files.reports.is_given or not request[VIEWER].sees_all:
        raise web.HTTPNotFound
    found = await files.reports.value()
    return filed.Reports(
        tuple(
            filed.Report(
                one.name,
                f"sha256:{one.digest}",
                tuple(
                    filed.ReportFile(
                        file.name,
                        file.size,
                        f"sha256:{file.digest}",
                        f"/reports/{quote(one.name, safe='')}/{quote(file.name, safe='')}",
                    )
                    for file in one.files
                ),
            )
            for one in found.reports
        ),
        tuple(map(told, found.problems)),
    )


def _counts(found: AuditResult) -> tuple[filed.StateCount, ...]:
    return tuple(filed.StateCount(state, number) for state, number in sorted(found.counts.items()))


def _gap(one: Gap) -> filed.NotEvidenced:
    return filed.NotEvidenced(
        one.state,
        one.reason,
        one.words,
        one.kind or None,
        one.namespace or None,
        one.name or None,
        one.uid or None,
        one.finished or None,
    )


def _day(one: LedgerDay) -> filed.LedgerDay:
    return filed.LedgerDay(
        one.log,
        one.day.isoformat(),
        one.is_closed,
        one.verified,
        one.entries,
        one.size,
        one.root,
        one.signer or None,
        rfc3339(one.signed) if one.signed else None,
    )
