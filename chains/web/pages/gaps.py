"""The page of gaps: runs without evidence that verifies, by a stored audit or by the index alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from chains.errors import UsageError
from chains.index.query.detail.runs import Run, runs_of
from chains.index.query.overview import unproven_runs
from chains.index.query.scope import View
from chains.index.query.state import IndexState, state_of
from chains.web.files.audits import NOT_COUNTED, STATES, AuditResult, Audits, Gap
from chains.web.keys import FILES, SOURCE
from chains.web.pages.page import Crumb, page
from chains.web.render import paths
from chains.web.viewer import VIEWER

MOST: Final = 100
"""Runs of one page."""
_PAGE: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
NEXT_STEPS: Final = {
    "no_evidence": "attest it again: chains backfill, or chains attest with its exported record",
    "deleted_without_evidence": "the run is gone: find who deleted it in the audit log of the API server",
    "finalizer_stripped": "find who removed the finalizer in the audit log of the API server",
    "evidence_gone": "find who removed evidence from the store; the ledger says what was there",
    "evidence_invalid": "open the run: its evidence and the reason are on its page",
    "marked_without_evidence": "remove the mark with chains resign, so that it is attested again",
    "attesting_failed": "the log of the controller says why; then chains resign",
    "policy_refused": "chains verify --policy says which requirement is not met",
    "child_unknown": "name a source that has the child run",
}
"""What to do, by the reason of an audit."""


async def show(request: web.Request) -> web.Response:
    """Show runs that are not evidenced."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    files = request.app[FILES]
    every = await files.audits.value() if files.audits.is_given else Audits((), ())
    audits = every.within(viewer.namespaces)
    at = request.query.get("at", "")
    audit = audits.at(at)
    if audit is None and at:
        raise UsageError("at: there is no audit of this time")
    wanted = request.query.get("state", "")
    if wanted and wanted not in STATES:
        raise UsageError(f"state: expected one of {', '.join(STATES)}")
    gaps = _chosen(audit, wanted)
    number = _number(request)
    shown = gaps[number * MOST : (number + 1) * MOST]

    def work(view: View) -> tuple[Sequence[object], dict[str, Run], IndexState]:
        return (
            unproven_runs(view, MOST),
            runs_of(view, [one.uid for one in shown if one.uid]),
            state_of(view),
        )

    unproven, known, state = await source.read(viewer, work)
    return page(
        request,
        "gaps.html",
        "Gaps",
        crumbs=(Crumb("Gaps"),),
        state=state,
        api=_api(audit, at, wanted),
        audit=audit,
        audits=audits,
        is_given=files.audits.is_given,
        states=[name for name in STATES if audit is not None and audit.counts.get(name)],
        wanted=wanted,
        gaps=shown,
        total=len(gaps),
        number=number,
        has_more=len(gaps) > (number + 1) * MOST,
        unproven=unproven,
        known=known,
        next_steps=NEXT_STEPS,
        exemptions=await _exemptions(request),
    )


def _api(audit: AuditResult | None, at: str, wanted: str) -> list[tuple[str, str]]:
    found = [paths.api("/gaps")]
    if audit is not None:
        found.append(("API of the audit", paths.api("/audit", at=at, state=wanted)[1]))
    return found


def _chosen(audit: AuditResult | None, wanted: str) -> list[Gap]:
    if audit is None:
        return []
    if wanted:
        return [one for one in audit.gaps if one.state == wanted]
    first = {name: place for place, name in enumerate(STATES)}
    real = (one for one in audit.gaps if one.state not in NOT_COUNTED)
    return sorted(real, key=lambda one: (first[one.state], one.namespace, one.name))


async def _exemptions(request: web.Request) -> list[object]:
    """Return the exemptions of the policies, for who may see everything."""
    files = request.app[FILES]
    if not files.policies.is_given or not request[VIEWER].sees_all:
        return []
    policies = (await files.policies.value()).policies
    return [one for policy in policies for one in policy.exemptions]


def _number(request: web.Request) -> int:
    text = request.query.get("page", "0")
    if not _PAGE.fullmatch(text):
        raise UsageError("page: expected a number")
    return int(text)
