"""The page of a run: what became of it, its tasks, steps, isolation, parameters, and its ledger entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from chains.audit.ledger.state import LedgerRun
from chains.errors import ChainsError
from chains.tekton.snapshot import RunSnapshot
from chains.web.answers.run import RunAnswer, known_runs, run_answer
from chains.web.answers.statements import builds_of, children_of, read_all, record_digest, wanted_of
from chains.web.answers.tasks import TaskGraph, graph_of_record, graph_of_report
from chains.web.files.records import record_in
from chains.web.keys import FILES, SOURCE
from chains.web.pages.attestation import download
from chains.web.pages.page import Crumb, page
from chains.web.raw import Found
from chains.web.render import paths
from chains.web.render.tasks import tasks_svg
from chains.web.trouble import told_to
from chains.web.viewer import VIEWER

LONGEST_UID = 2000


@dataclass(frozen=True, slots=True)
class Ledgered:
    """What the ledger says about a run: its state, its entries by index, and whether that is proven.

    For who sees some namespaces there are no indexes and no head: they say how many entries others have.
    """

    run: Any
    entries: list[tuple[int | None, Any]]
    head: Any
    is_proven: bool
    problem: str = ""


async def show(request: web.Request) -> web.Response:
    """Show a run."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    uid = _uid(request)
    answer: RunAnswer = await source.read(viewer, lambda view: run_answer(view, uid))
    if answer.run is None:
        return page(
            request,
            "run_absent.html",
            "No such run",
            crumbs=(Crumb("Search", "/search"), Crumb("No such run")),
            state=answer.state,
            status=404,
            uid=uid,
        )
    found = await source.raw.fetch(
        viewer,
        [wanted_of(hit, answer.details[hit.position.id]) for hit in answer.main],
        snapshot_of=uid,
    )
    reads = read_all(answer.main, answer.details, found)
    record, origin = await _record(request, uid, found)
    is_confirmed = record is not None and record.digest == record_digest(reads)
    builds, others = builds_of(reads, record if is_confirmed else None)
    uids = children_of(reads)
    known = await source.read(viewer, lambda view: known_runs(view, list(uids.values())))
    levels = [one for build in builds for one in build.facts.hermetic_children]
    graph: TaskGraph | None = None
    if record is not None and record.kind == "PipelineRun":
        graph = graph_of_record(record, levels, origin, is_confirmed=is_confirmed)
    elif levels:
        graph = graph_of_report(levels, uids)
    return page(
        request,
        "run.html",
        f"Run {answer.run.path}",
        crumbs=_crumbs(answer),
        state=answer.state,
        api=(paths.api(paths.run(uid)),),
        answer=answer,
        run=answer.run,
        reads=reads,
        build=builds[0] if builds else None,
        more_builds=builds[1:],
        others=others[:20],
        problems=found.problems,
        graph=graph,
        picture=tasks_svg(graph, frozenset(known)) if graph else "",
        known=frozenset(known),
        ledgered=await _ledgered(request, uid),
        has_ledger=request.app[FILES].ledger.is_given,
    )


async def proof(request: web.Request) -> web.Response:
    """Give the proof that the ledger has the entries of a run."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    uid = _uid(request)
    answer: RunAnswer = await source.read(viewer, lambda view: run_answer(view, uid))
    files = request.app[FILES]
    if answer.run is None or not files.ledger.is_given or not viewer.sees_all:
        # a proof has the size of the log
        raise web.HTTPNotFound
    ledger = await files.ledger.value()
    if not _is_own(request, ledger.run(uid)):
        raise web.HTTPNotFound
    data = await source.aside(viewer, lambda: ledger.proof(uid))
    if data is None:
        raise web.HTTPNotFound
    return download(data, "ledger-proof.json")


def _uid(request: web.Request) -> str:
    uid = request.match_info["uid"]
    if len(uid) > LONGEST_UID:
        raise web.HTTPNotFound
    return uid


def _crumbs(answer: RunAnswer) -> list[Crumb]:
    run = answer.run
    crumbs = [Crumb("Search", "/search")]
    if run is not None and run.namespace:
        crumbs.append(Crumb(run.namespace, paths.namespace(run.namespace)))
    return [*crumbs, Crumb(run.path if run else "")]


async def _record(request: web.Request, uid: str, found: Found) -> tuple[RunSnapshot | None, str]:
    """Return the record of a run and where it is from, in words: of a store, else of the files."""
    files, source = request.app[FILES], request.app[SOURCE]
    if found.snapshot:
        data = found.snapshot
        record = await source.aside(request[VIEWER], lambda: record_in(data, uid))
        if record is not None and request[VIEWER].sees(record.namespace):
            return record, "the record of the run in the store"
    if files.records.is_given:
        given = await files.records.value()
        record = await source.aside(request[VIEWER], lambda: given.run(uid))
        if record is not None and request[VIEWER].sees(record.namespace):
            return record, "the exported record of the run"
    return None, ""


def _is_own(request: web.Request, found: LedgerRun | None) -> bool:
    """Whether a run of the ledger may be seen.

    A statement that nobody trusted signed may name another namespace for a run of others.
    """
    return found is not None and request[VIEWER].sees(found.run.namespace)


async def _ledgered(request: web.Request, uid: str) -> Ledgered | None:
    files = request.app[FILES]
    if not files.ledger.is_given:
        return None
    try:
        ledger = await files.ledger.value()
        run = ledger.run(uid)
        if run is None or not _is_own(request, run):
            return None
        data = await request.app[SOURCE].aside(request[VIEWER], lambda: ledger.proof(uid))
    except ChainsError as error:
        why = "The ledger cannot be read now. Tell whoever runs this page: its log says more."
        return Ledgered(None, [], None, is_proven=False, problem=told_to(request, error, why))
    if data is None:
        return Ledgered(run, [], None, is_proven=False)
    written = orjson.loads(data)
    sees_all = request[VIEWER].sees_all
    entries = [(one["index"] if sees_all else None, orjson.loads(one["entry"])) for one in written["entries"]]
    lines = written["checkpoint"].split("\n")[:3] if sees_all else None
    return Ledgered(run, entries, lines, is_proven=ledger.is_verified and not ledger.state.problems)
