"""A small application behind the gate, and a browser without a screen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from chains.web.access.gate import Gate
from chains.web.access.log import AccessLog
from chains.web.access.reading import read_access
from chains.web.access.settings import Access
from chains.web.viewer import VIEWER

T = TypeVar("T")
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@dataclass
class Lines:
    """An access log in memory; ``is_full`` as a disk is."""

    written: list[bytes] = field(default_factory=list)
    is_full: bool = False

    def write(self, line: bytes) -> None:
        if self.is_full:
            raise OSError("no space left")
        self.written.append(line)

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.written]


@dataclass
class Clock:
    """The time of day and of the machine, which a test moves. The first is the real one, moved."""

    moved: float = 0.0

    def now(self) -> float:
        return datetime.now(UTC).timestamp() + self.moved

    def machine(self) -> float:
        return self.moved


@dataclass
class Server:
    """The application at work."""

    url: str
    gate: Gate
    lines: Lines
    clock: Clock
    session: aiohttp.ClientSession

    async def get(self, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        return await self._ask("GET", path, headers or {}, **more)

    async def post(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self._ask("POST", path, headers or {})

    async def _ask(
        self, method: str, path: str, headers: Any, session: aiohttp.ClientSession | None = None
    ) -> Answer:
        asking = session or self.session
        # as it is: nothing of the path is normalised
        url = URL(f"{self.url}{path}", encoded=True)
        async with asking.request(method, url, headers=headers, allow_redirects=False) as response:
            return Answer(response.status, await response.text(), dict(response.headers), response.cookies)


@dataclass
class Answer:
    """What the server answered."""

    status: int
    text: str
    headers: dict[str, str]
    cookies: SimpleCookie

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def shown(self) -> Any:
        """Whom the application saw: name and namespaces."""
        return json.loads(self.text)


class Browser:
    """Keeps cookies as a browser does over TLS, and goes where it is sent on this server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.cookies: dict[str, str] = {}

    async def get(self, path: str) -> Answer:
        return self._took(await self._server.get(path, self._headers()))

    async def post(self, path: str, **headers: str) -> Answer:
        return self._took(await self._server.post(path, {**self._headers(), **headers}))

    def _headers(self) -> dict[str, str]:
        return (
            {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
            if self.cookies
            else {}
        )

    def _took(self, answer: Answer) -> Answer:
        for name, morsel in answer.cookies.items():
            if morsel["max-age"] in {"0", 0}:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value
        return answer


async def _show(request: web.Request) -> web.Response:
    viewer = request[VIEWER]
    return web.json_response([viewer.name, viewer.namespaces])


def served(access: Access | None, work: Callable[[Server], Awaitable[T]], path: Path | None = None) -> T:
    """Run ``work`` on an application behind the gate; ``path`` is the access file, if it may change."""

    async def run() -> T:
        lines, clock = Lines(), Clock()
        log = AccessLog(lines, lambda: NOW)
        gate = Gate(access, log, path=path, now=clock.now, clock=clock.machine)
        application = web.Application(middlewares=list(gate.viewers()))
        gate.extend(application)
        application.router.add_get("/{rest:.*}", _show)
        async with (
            TestServer(application) as server,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        ):
            url = str(server.make_url("")).rstrip("/")
            return await work(Server(url, gate, lines, clock, session))

    return asyncio.run(run())


def access_of(folder: Path, text: str) -> Access:
    """Return the access file with this text."""
    path = folder / "access.yaml"
    path.write_text(text)
    return read_access(path, NOW)
