"""The paths of the pages."""

from __future__ import annotations

from aiohttp import web

from chains.web.cache import cached
from chains.web.pages import artifact, search


def add(application: web.Application) -> None:
    """Add the routes of all pages."""
    router = application.router
    router.add_get("/", cached(search.start))
    router.add_get("/search", cached(search.results))
    router.add_get("/search.csv", search.as_csv)
    router.add_get("/search.json", search.as_json)
    router.add_get("/artifact/{algorithm}/{value}", cached(artifact.show))
