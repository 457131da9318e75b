"""Every route of the API, as data: aiohttp and the description are made from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from chains.index.query.answer import PAGE
from chains.web.api import beside, filed, handlers, shapes
from chains.web.api.badge import badge
from chains.web.api.made import BASE
from chains.web.api.openapi import OPENAPI, document, written
from chains.web.api.problems import problems
from chains.web.api.route import Handler, Parameter, Route, tagged
from chains.web.api.verify_now import Trusting, VerifyNow
from chains.web.keys import API

_OF_DIGEST = (
    Parameter("algorithm", "the algorithm of the digest: sha256, sha1, gitCommit", is_path=True),
    Parameter("value", "the digest in hex, whole and in lower case", is_path=True),
)
_CURSOR = Parameter("cursor", "where the page begins: from the link to it")


def _limit(usual: int, most: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": usual}
    return Parameter("limit", "rows of a page", schema)


def routes(verify: Handler) -> Sequence[Route]:
    """Return the routes. ``verify`` answers verifications."""
    depth = {"type": "integer", "minimum": 1, "maximum": handlers.DEEPEST, "default": handlers.DEPTH}
    moment = "a month, a day or a time in RFC 3339"
    return (
        Route(
            f"{BASE}/search",
            "Search attestations",
            "Newest attestations that fit a query, page by page; the language is in docs/evidence-index.md.",
            shapes.Results,
            handlers.search,
            (
                Parameter("q", "the query; everything without it"),
                _limit(PAGE, handlers.MOST_PAGE),
                _CURSOR,
            ),
        ),
        Route(
            f"{BASE}/artifact/{{algorithm}}/{{value}}",
            "One artifact",
            "What attestations say about an artifact.",
            shapes.Artifact,
            handlers.artifact,
            _OF_DIGEST,
            (404,),
        ),
        Route(
            f"{BASE}/run/{{uid}}",
            "One run",
            "What verified statements say about a run.",
            shapes.Run,
            handlers.run,
            (Parameter("uid", "the run's UID", is_path=True),),
            (404,),
        ),
        Route(
            f"{BASE}/attestation/{{algorithm}}/{{value}}",
            "One attestation",
            "An attestation by its own digest, as other answers have it.",
            shapes.OneAttestation,
            handlers.attestation,
            _OF_DIGEST,
            (404,),
        ),
        Route(
            f"{BASE}/lineage/{{algorithm}}/{{value}}",
            "Lineage of an artifact",
            "What an artifact was made from, and what was made from it.",
            shapes.Lineage,
            handlers.lineage,
            (*_OF_DIGEST, Parameter("depth", "runs between, at most", depth)),
            (404,),
        ),
        Route(
            f"{BASE}/gaps",
            "Runs without evidence that verified",
            "Runs that evidence names, and none of it verified. chains audit knows runs without any.",
            shapes.Gaps,
            handlers.gaps,
            (
                Parameter("from", f"runs that ended from then on: {moment}"),
                Parameter("to", f"runs that ended up to then: {moment}"),
                _limit(PAGE, handlers.MOST_PAGE),
                _CURSOR,
            ),
        ),
        Route(
            f"{BASE}/audit",
            "A stored audit",
            "The newest result of chains audit that the server was given, or that of a time.",
            filed.Audit,
            beside.audit,
            (
                Parameter("at", "the time of the result, as others has it"),
                Parameter("state", "runs with this state of chains audit alone"),
                _limit(PAGE, handlers.MOST_PAGE),
                Parameter("cursor", "where the page begins: from the link to it"),
            ),
            (404,),
        ),
        Route(
            f"{BASE}/ledger",
            "The days of the ledger",
            "For viewers of everything: the ledger has the runs of all namespaces.",
            filed.Ledger,
            beside.ledger,
            (),
            (404,),
        ),
        Route(
            f"{BASE}/reports",
            "The reports",
            "For viewers of everything: a report is about all namespaces.",
            filed.Reports,
            beside.reports,
            (),
            (404,),
        ),
        Route(
            f"{BASE}/verify/{{algorithm}}/{{value}}",
            "Verify an artifact now",
            "Reads the evidence of one artifact from the stores of the index and verifies it with what the "
            "server trusts. An answer is kept: 60 seconds if VERIFIED, else 5, and 1 if INDETERMINATE. For a "
            "viewer of some namespaces, the evidence of these that is in the index counts alone.",
            shapes.Verification,
            verify,
            _OF_DIGEST,
        ),
    )


def api(trusting: Trusting) -> Callable[[web.Application], None]:
    """Return the function that adds the API to the application: routes, badge, and problems around them."""

    def extend(application: web.Application) -> None:
        verify = VerifyNow(trusting)
        every = routes(verify.handler)
        described = written(document(every))

        async def describe(request: web.Request) -> web.Response:
            return tagged(request, described, OPENAPI)

        async def close(_: web.Application) -> None:
            await verify.close()

        for route in every:
            application.router.add_get(route.path, route.answered)
        application.router.add_get(f"{BASE}/openapi.json", describe)
        application.router.add_get("/badge/sha256/{file}", badge)
        application.on_cleanup.append(close)
        application[API] = BASE
        application.middlewares.insert(0, problems())

    return extend
