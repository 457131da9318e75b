"""What the API answers from an index. Every statement sees only what the viewer may see."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, TypeVar

from aiohttp import web

from chains.errors import UsageError
from chains.index.errors import IndexUnavailable
from chains.index.query.answer import LONGEST_PAGE, PAGE
from chains.index.query.cursor import cursor_of, read_cursor
from chains.index.query.detail.evidence import details_of, inputs_of, position_of_digest, positions_of_run
from chains.index.query.detail.runs import id_of_uid, run_of, steps_of
from chains.index.query.errors import QueryError
from chains.index.query.overview import unproven_runs
from chains.index.query.parse import parse
from chains.index.query.relatives import collect_relatives
from chains.index.query.rows import hits
from chains.index.query.scope import View
from chains.index.query.state import state_of
from chains.index.query.terms import Key, Moment, Query
from chains.lineage.ancestry import ancestry
from chains.lineage.wanted import names_of
from chains.web.answers.artifact import artifact_of
from chains.web.api import made, shapes
from chains.web.keys import SOURCE
from chains.web.source import SECONDS
from chains.web.viewer import VIEWER

T = TypeVar("T")
MOST_OF_RUN: Final = 200
"""Attestations of one run that are listed."""
DEPTH, DEEPEST = 3, 10
MOST_STATEMENTS: Final = 2_000
"""Statements that are read for one lineage: those of a base image are many."""
MOST_PAGE: Final = 500
"""Rows of one page, of those that are asked for by HTTP."""
_ALGORITHM: Final = re.compile(r"[A-Za-z0-9_.+-]{1,32}")
_VALUE: Final = re.compile(r"[A-Za-z0-9_.+/=-]{1,256}")
_LONGEST_UID: Final = 2000


async def search(request: web.Request) -> shapes.Results:
    """Answer a query."""
    limit = number_in(request, "limit", PAGE, min(MOST_PAGE, LONGEST_PAGE))
    answer = await request.app[SOURCE].ask(
        request[VIEWER],
        request.query.get("q", ""),
        limit=limit,
        cursor=request.query.get("cursor", ""),
    )
    return made.results(answer, limit=limit)


async def artifact(request: web.Request) -> shapes.Artifact:
    """Answer what is known about an artifact."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    digest, now = digest_in(request), request.app[SOURCE].clock()
    found = await source.read(
        viewer, lambda view: artifact_of(view, source.place, digest, now, viewer.namespaces)
    )
    if not found.hits:
        raise web.HTTPNotFound
    return shapes.Artifact(
        digest,
        found.names,
        tuple(map(made.attestation, found.hits)),
        bool(found.answer.cursor),
        tuple(shapes.Input(one.role, one.name, one.digest or None) for one in found.inputs),
        made.index(found.answer.state),
    )


async def run(request: web.Request) -> shapes.Run:
    """Answer what is known about a run."""
    uid = request.match_info["uid"]

    def work(view: View) -> shapes.Run | None:
        found = run_of(view, uid) if len(uid) <= _LONGEST_UID else None
        if found is None:
            return None
        positions = positions_of_run(view, found.id, MOST_OF_RUN)
        return made.run(found, steps_of(view, found), hits(view, positions), state_of(view))

    return _there(await request.app[SOURCE].read(request[VIEWER], work))


async def attestation(request: web.Request) -> shapes.OneAttestation:
    """Answer what is known about an attestation."""
    digest = digest_in(request)

    def work(view: View) -> shapes.OneAttestation | None:
        position = position_of_digest(view, digest) if digest.startswith("sha256:") else None
        if position is None:
            return None
        (hit,) = hits(view, [position])
        details = details_of(view, [position.id])[position.id]
        return made.one_attestation(hit, details, inputs_of(view, [position.id]), state_of(view))

    return _there(await request.app[SOURCE].read(request[VIEWER], work))


async def lineage(request: web.Request) -> shapes.Lineage:
    """Answer what an artifact was made from, and what was made from it."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    digest, depth = digest_in(request), number_in(request, "depth", DEPTH, DEEPEST)

    def work() -> shapes.Lineage | None:
        names = names_of(digest)
        try:
            near = collect_relatives(
                source.place,
                names,
                depth,
                namespaces=viewer.namespaces,
                most=MOST_STATEMENTS,
                seconds=SECONDS,
            )
        except UsageError as error:
            # what is wrong with the URL of the index is no mistake of who asks
            raise IndexUnavailable(str(error)) from error
        found = ancestry(near, digest, depth, is_trusting=True)
        return made.lineage(found) if found.start is not None else None

    return _there(await source.aside(viewer, work))


async def gaps(request: web.Request) -> shapes.Gaps:
    """Answer which runs have no evidence that verified."""
    viewer, limit = request[VIEWER], number_in(request, "limit", PAGE, MOST_PAGE)
    asked = {name: request.query.get(name, "") for name in ("from", "to")}
    since, until = _times(asked)
    own = ("all",) if viewer.namespaces is None else ("of", *sorted(viewer.namespaces))
    filters = ("gaps", *asked.values(), *own)
    cursor = request.query.get("cursor", "")
    begin = read_cursor(cursor, filters) if cursor else None

    def work(view: View) -> shapes.Gaps:
        after = begin.position(lambda name: id_of_uid(view, name)) if begin else None
        found = unproven_runs(view, limit + 1, since=since, until=until, after=after)
        following = None
        if len(found) > limit:
            given = {name: value for name, value in asked.items() if value}
            last = cursor_of(found[limit - 1].end, filters)
            following = made.link("gaps", **given, limit=str(limit), cursor=last)
        return shapes.Gaps(tuple(map(made.gap, found[:limit])), following, made.index(state_of(view)))

    return await request.app[SOURCE].read(viewer, work)


def digest_in(request: web.Request) -> str:
    """Return the digest in the path. What is no digest is not there."""
    algorithm, value = request.match_info["algorithm"], request.match_info["value"]
    if not _ALGORITHM.fullmatch(algorithm) or not _VALUE.fullmatch(value):
        raise web.HTTPNotFound
    return f"{algorithm}:{value}"


def number_in(request: web.Request, name: str, usual: int, most: int) -> int:
    """Return a number of the query. Raises :class:`UsageError`."""
    text = request.query.get(name, str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise UsageError(f"{name}: expected a number from 1 to {most}")
    return int(text)


def _times(asked: dict[str, str]) -> tuple[datetime | None, datetime | None]:
    """Return the beginning and the end of a time, as the query language reads them."""
    query = parse(" ".join(f"{name}:{value}" for name, value in asked.items() if value))
    if any(term.key not in {Key.FROM, Key.TO} or not isinstance(term.value, Moment) for term in query.terms):
        raise QueryError("from and to: expected a month, a day or a time in RFC 3339")
    return _since(query), query.until()


def _since(query: Query) -> datetime | None:
    found = query.of(Key.FROM)
    return found[0].value.start if found and isinstance(found[0].value, Moment) else None


def _there(found: T | None) -> T:
    if found is None:
        raise web.HTTPNotFound
    return found
