"""A reverse proxy in front of the API server that gives wrong answers on request.

It runs in a thread, on plain HTTP. Tokens are passed through, watches are streamed.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from aiohttp import web

from tests.testbed.cluster import ApiServer

Json = Any
_LOOK = 0.2
"""Seconds after which a silent stream checks whether it must be cut."""
_DROPPED = {"Transfer-Encoding", "Content-Length", "Content-Encoding", "Connection"}


def status(code: int, reason: str) -> Json:
    """Return the object with which the API server reports an error."""
    return {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": f"{reason} (made up by the test)",
    }  # fmt: skip


@dataclass
class Rule:
    """What happens to matching requests (``METHOD PATH?QUERY``), at most ``times``.

    ``code`` makes up the answer. ``before`` is called with the path before the server is. ``event`` becomes
    the first line of a watch. ``rewrite`` changes path and query. ``seen`` counts matches.
    """

    pattern: str
    times: int = 1
    code: int = 0
    reason: str = ""
    before: Callable[[str], None] | None = None
    event: Json = None
    rewrite: Callable[[str], str] | None = None
    seen: int = 0

    def applies(self, line: str) -> bool:
        """Whether the rule matches this request; counts it."""
        if self.seen >= self.times or not re.search(self.pattern, line):
            return False
        self.seen += 1
        return True


@dataclass
class FaultyApi:
    """The proxy as a test sees it."""

    server: ApiServer
    rules: list[Rule] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    down: bool = False
    """While true, every connection is closed without an answer, open watches included."""

    def on(self, pattern: str, **keywords: Any) -> Rule:
        """Add a rule and return it."""
        rule = Rule(pattern, **keywords)
        self.rules.append(rule)
        return rule

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, by a rule or by the real server."""
        line = f"{request.method} {request.path_qs}"
        self.requests.append(line)
        if self.down:
            return self._cut(request)
        target, event = request.path_qs, None
        for rule in self.rules:
            if not rule.applies(line):
                continue
            if rule.code:
                return web.json_response(status(rule.code, rule.reason), status=rule.code)
            if rule.before is not None:
                await asyncio.to_thread(rule.before, request.path)
            event = rule.event if rule.event is not None else event
            target = rule.rewrite(target) if rule.rewrite is not None else target
        return await self._forward(request, target, event)

    def _cut(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError

    async def _forward(self, request: web.Request, target: str, event: Json) -> web.StreamResponse:
        headers = {
            key: value for key, value in request.headers.items() if key not in {"Host", "Accept-Encoding"}
        }
        context = ssl.create_default_context(cafile=str(self.server.ca_file))
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.request(
                request.method,
                self.server.url + target,
                data=await request.read() or None,
                headers=headers,
                ssl=context,
            ) as answer,
        ):
            kept = {key: value for key, value in answer.headers.items() if key not in _DROPPED}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            if event is not None:
                await response.write(json.dumps(event).encode() + b"\n")
            chunks = answer.content.iter_any()
            while True:
                try:
                    async with asyncio.timeout(_LOOK):
                        chunk = await anext(chunks)
                except TimeoutError:
                    if self.down or request.transport is None:
                        return self._cut(request)
                    chunks = answer.content.iter_any()
                    continue
                except StopAsyncIteration:
                    break
                await response.write(chunk)
            await response.write_eof()
            return response


@contextmanager
def faulty_api(server: ApiServer) -> Iterator[tuple[FaultyApi, ApiServer]]:
    """Run the proxy for the length of the block; yields it and the server as seen through it."""
    proxy, started = FaultyApi(server), threading.Event()
    loop, stop, port = asyncio.new_event_loop(), asyncio.Event(), 0

    async def serve() -> None:
        nonlocal port
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", proxy.answer)
        # no cancellation: asyncio leaves a socket open when a TLS handshake is cancelled
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        started.set()
        await stop.wait()
        proxy.down = True
        await asyncio.sleep(_LOOK * 2)  # streams end by themselves
        await runner.cleanup()
        await asyncio.sleep(_LOOK)  # transports close in the loop's next turns

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield proxy, replace(server, url=f"http://127.0.0.1:{port}")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
