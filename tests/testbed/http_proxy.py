"""A plain HTTP proxy in front of one service, which a test can make fail."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.error import HTTPError

from tests.testbed.loopback import Answer, Request, serving

_KEPT = ("content-type", "accept")


@dataclass(slots=True)
class Proxy:
    """A running proxy. ``fails`` is the status that it answers itself; 0 forwards requests."""

    target: str
    url: str = ""
    fails: int = 0
    seen: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        self.seen.append(request)
        if self.fails:
            return Answer(self.fails, {"message": "told to fail"})
        headers = {name: value for name, value in request.headers.items() if name in _KEPT}
        asked = urllib.request.Request(
            self.target + request.path, request.body or None, headers, method=request.method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(asked, timeout=30) as answer:
                kind = answer.headers.get("Content-Type", "")
                return Answer(answer.status, answer.read(), {"Content-Type": kind})
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read())


@contextmanager
def proxy(target: str, *, fails: int = 0) -> Iterator[Proxy]:
    """Run a proxy in front of the service at ``target`` for the length of the block."""
    found = Proxy(target, fails=fails)
    with serving(found.answer) as url:
        found.url = url
        yield found
