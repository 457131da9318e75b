"""The API over an index, asked as a viewer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from chains.index.database import Place
from chains.web.api.routes import api
from chains.web.api.verify_now import Trusting
from chains.web.application import application
from chains.web.settings import WebSettings
from chains.web.source import Source
from chains.web.viewer import Viewer
from tests.unit.chains.web.world import seen_by

T = TypeVar("T")
EVERYTHING = Viewer("auditor", None)


@dataclass(frozen=True)
class Told:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Get = Callable[..., Awaitable[Told]]


def asked(
    place: Place,
    work: Callable[[Get], Awaitable[T]],
    *,
    viewer: Viewer = EVERYTHING,
    trusting: Trusting | None = None,
    settings: WebSettings | None = None,
) -> T:
    """Run ``work`` with a function that asks the whole application, pages too."""

    async def run() -> T:
        source = Source(place, clock=lambda: datetime(2026, 11, 29, tzinfo=UTC))
        app = application(
            source,
            settings or WebSettings(place),
            viewers=(seen_by(viewer),),
            extend=[api(trusting or Trusting())],
        )
        try:
            async with TestClient(TestServer(app)) as client:

                async def get(path: str, method: str = "GET", **headers: str) -> Told:
                    named = {name.replace("_", "-"): value for name, value in headers.items()}
                    url = URL(path, encoded=True)
                    async with client.request(method, url, headers=named, allow_redirects=False) as answer:
                        return Told(answer.status, answer.headers, await answer.read())

                return await work(get)
        finally:
            await source.close()

    return asyncio.run(run())


def get_all(place: Place, paths: Sequence[str], viewer: Viewer = EVERYTHING, **more: Any) -> list[Told]:
    """Return the answers to some paths, in their order."""

    async def work(get: Get) -> list[Told]:
        return [await get(path) for path in paths]

    return asked(place, work, viewer=viewer, **more)


def routes_of(app: web.Application) -> list[str]:
    """Return the path of every route that answers GET."""
    return sorted({resource.canonical for resource in app.router.resources()})
