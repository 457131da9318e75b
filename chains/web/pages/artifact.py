"""The page of an artifact."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from chains.index.query.detail.trust import Trusted, trusted_of
from chains.index.query.rows import Hit
from chains.index.query.scope import View
from chains.web.answers.artifact import Artifact, artifact_of
from chains.web.answers.lineage import Made, made_with
from chains.web.keys import SOURCE
from chains.web.pages.page import Crumb, page
from chains.web.render import paths
from chains.web.render.commands import Command, commands_for
from chains.web.render.family import family_svg
from chains.web.render.text import short
from chains.web.viewer import VIEWER

_ALGORITHM: Final = re.compile(r"[a-zA-Z0-9]{2,16}", re.ASCII)
_VALUE: Final = re.compile(r"[0-9a-f]{32,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """A time on the way of an artifact: what happened, when, and who says so."""

    what: str
    time: int
    source: str


async def show(request: web.Request) -> web.Response:
    """Show everything that is known about an artifact."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    digest = digest_in(request)
    now = source.clock()

    def work(view: View) -> tuple[Artifact, Trusted, Made]:
        found = artifact_of(view, source.place, digest, now, viewer.namespaces)
        return found, trusted_of(view), made_with(view, digest, now)

    found, trusted, made = await source.read(viewer, work)
    name = found.names[0] if found.names else ""
    return page(
        request,
        "artifact.html",
        f"{name}@{short(digest)}" if name else short(digest),
        crumbs=(Crumb("Search", "/search"), Crumb(name or short(digest))),
        state=found.answer.state,
        status=200 if found.hits else 404,
        api=(paths.api(paths.artifact(digest)),) if found.hits else (),
        found=found,
        digest=digest,
        name_of=name,
        moments=_moments(found),
        commands=_commands(found, trusted, name, digest),
        made=made,
        picture=family_svg(digest, name, found.inputs, made) if found.main else "",
    )


def _moments(found: Artifact) -> list[Moment]:
    """Return what happened in the order of time, as far as confirmed statements and the index say."""
    told: list[Moment] = []
    run = found.run
    if run is not None:
        told += [
            Moment("run created", run.created or 0, "the record of the run"),
            Moment("run started", run.started or 0, "the execution report"),
            Moment("run ended", run.finished, "the execution report" if run.started else "the provenance"),
        ]
    elif found.main is not None:
        told.append(Moment("run ended", found.main.finished, "the provenance"))
    for hit in found.confirmed:
        for one in found.details[hit.position.id].times:
            told.append(Moment("signature existed", one.time, one.authority))
    if found.main is not None:
        told.append(Moment("confirmed", found.main.checked, "this index"))
    known = [one for one in told if one.time]
    return sorted(dict.fromkeys(known), key=lambda one: one.time)


def _commands(found: Artifact, trusted: Trusted, name: str, digest: str) -> Sequence[Command]:
    main: Hit | None = found.main
    if main is None:
        return ()
    stores = [copy.store for hit in found.hits for copy in found.details[hit.position.id].copies]
    return commands_for(name, digest, main, trusted, list(dict.fromkeys(stores))[:3])


def digest_in(request: web.Request) -> str:
    """Return the digest in the path. Raises an answer of HTTP for what is none."""
    algorithm, value = request.match_info["algorithm"], request.match_info["value"]
    if not _ALGORITHM.fullmatch(algorithm) or not _VALUE.fullmatch(value):
        raise web.HTTPNotFound
    return f"{algorithm}:{value}"
