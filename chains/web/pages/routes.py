"""The paths of the pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from chains.web.cache import cached
from chains.web.pages import (
    artifact,
    attestation,
    beside,
    gaps,
    ledger,
    listing,
    origins,
    overview,
    run,
    search,
    signers,
)

PAGES: Final = (
    ("/", overview.show),
    ("/search", search.results),
    ("/artifact/{algorithm}/{value}", artifact.show),
    ("/run/{uid}", run.show),
    ("/attestation/sha256/{value}", attestation.show),
    ("/commit/{value}", origins.commit),
    ("/input/{algorithm}/{value}", origins.used),
    ("/pipeline/{name}", listing.pipeline),
    ("/namespace/{name}", listing.namespace),
    ("/signers", signers.every),
    ("/signer/{signer}", signers.one),
    ("/gaps", gaps.show),
    ("/policies", beside.policies),
    ("/ledger", ledger.days),
    ("/ledger/{day}", ledger.one),
    ("/reports", beside.reports),
    ("/reports/{name}", beside.report),
    ("/controls", beside.controls),
    ("/controls/{framework}", beside.controls),
    ("/about", beside.about),
)
"""Pages of HTML. They are kept until what they are made of changes."""
DOWNLOADS: Final[Sequence[tuple[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]]] = (
    ("/search.csv", search.as_csv),
    ("/search.json", search.as_json),
    ("/attestation/sha256/{value}/statement", attestation.statement),
    ("/attestation/sha256/{value}/copy/{copy}", attestation.copy),
    ("/run/{uid}/ledger-proof", run.proof),
    ("/signer/{signer}/key", signers.key),
    ("/ledger/{day}/checkpoint/{log}", ledger.checkpoint),
    ("/reports/{name}/{file}", beside.report_file),
)
"""What a browser saves."""


def add(application: web.Application) -> None:
    """Add the routes of all pages."""
    for path, handler in PAGES:
        application.router.add_get(path, cached(handler))
    for path, give in DOWNLOADS:
        application.router.add_get(path, give)
