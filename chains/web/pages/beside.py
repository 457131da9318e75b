"""Pages of what was decided and written beside the evidence: policies, reports, controls; and about."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from chains.index.query.answer import FIELDS
from chains.index.query.detail.trust import trusted_of
from chains.index.query.scope import View
from chains.index.query.state import IndexState, state_of
from chains.tekton.raw import objects_at, text_at
from chains.web.files.policies import ShownPolicies
from chains.web.files.reports import Report, Reports
from chains.web.keys import FILES, SETTINGS, SOURCE
from chains.web.pages.attestation import RAW_HEADERS
from chains.web.pages.page import Crumb, page
from chains.web.render import paths
from chains.web.viewer import VIEWER

MOST: Final = 500


async def policies(request: web.Request) -> web.Response:
    """Show the policies, what they demand, and their exemptions."""
    files = request.app[FILES]
    may_see = request[VIEWER].sees_all
    found = ShownPolicies((), {}, ())
    if may_see and files.policies.is_given:
        found = await files.policies.value()
    ledger = await files.ledger.value() if may_see and files.ledger.is_given else None
    kinds = {"exemption", "disposition", "config", "keys"}
    changes = [one for one in ledger.state.others if one.kind.value in kinds] if ledger is not None else []
    return page(
        request,
        "policies.html",
        "Policies and exemptions",
        crumbs=(Crumb("Policies"),),
        found=found,
        is_given=files.policies.is_given and may_see,
        changes=changes[-MOST:][::-1],
        now=request.app[SOURCE].clock(),
    )


async def reports(request: web.Request) -> web.Response:
    """List the reports."""
    found, is_given = await _reports(request)
    return page(
        request,
        "reports.html",
        "Reports",
        crumbs=(Crumb("Reports"),),
        api=(paths.api("/reports"),) if is_given else (),
        found=found,
        is_given=is_given,
    )


async def report(request: web.Request) -> web.Response:
    """Show one report: what it came to, its files, digests and signatures."""
    found = await _report(request)
    return page(
        request,
        "report.html",
        f"Report {found.name}",
        crumbs=(Crumb("Reports", "/reports"), Crumb(found.name)),
        found=found,
        head=found.head,
        frameworks=list(
            dict.fromkeys(text_at(one, "framework") for one in objects_at(found.head, "controls"))
        ),
    )


async def report_file(request: web.Request) -> web.FileResponse:
    """Give a file of a report."""
    found = await _report(request)
    path = found.file(request.match_info["file"])
    if path is None:
        raise web.HTTPNotFound
    safe = "".join(char if char.isalnum() or char in "-_." else "_" for char in path.name)
    headers = {**RAW_HEADERS, "Content-Disposition": f'attachment; filename="{safe}"'}
    return web.FileResponse(path, headers=headers)


async def controls(request: web.Request) -> web.Response:
    """Show what the newest report, or a chosen one, says about the controls of each framework."""
    found, is_given = await _reports(request)
    name = request.query.get("report", "")
    chosen = found.named(name) if name else next(iter(found.reports), None)
    if name and chosen is None:
        raise web.HTTPNotFound
    every: list[Any] = list(objects_at(chosen.head, "controls")) if chosen is not None else []
    frameworks = _frameworks(chosen) if chosen is not None else []
    wanted = request.match_info.get("framework", "") or next(iter(frameworks), "")
    if wanted and frameworks and wanted not in frameworks:
        raise web.HTTPNotFound
    return page(
        request,
        "controls.html",
        "Controls",
        crumbs=(Crumb("Controls", "/controls"), *([Crumb(wanted)] if wanted else [])),
        is_given=is_given,
        chosen=chosen,
        frameworks=frameworks,
        wanted=wanted,
        controls=[one for one in every if text_at(one, "framework") == wanted],
    )


def _frameworks(found: Report) -> list[str]:
    return list(dict.fromkeys(text_at(one, "framework") for one in objects_at(found.head, "controls")))


async def about(request: web.Request) -> web.Response:
    """Say what is proven and what is not, the words, and the language of queries."""

    def work(view: View) -> tuple[IndexState, Any]:
        return state_of(view), trusted_of(view)

    state, trusted = await request.app[SOURCE].read(request[VIEWER], work)
    return page(
        request,
        "about.html",
        "About and help",
        crumbs=(Crumb("About and help"),),
        state=state,
        trusted=trusted,
        fields={key.value: text for key, text in FIELDS.items()},
        settings=request.app[SETTINGS],
    )


async def _reports(request: web.Request) -> tuple[Reports, bool]:
    files = request.app[FILES]
    if not files.reports.is_given or not request[VIEWER].sees_all:
        return Reports((), ()), False
    return await files.reports.value(), True


async def _report(request: web.Request) -> Report:
    found, _ = await _reports(request)
    report_of = found.named(request.match_info["name"])
    if report_of is None:
        raise web.HTTPNotFound
    return report_of
