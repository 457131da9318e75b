"""Archivista's HTTP API: upload, download and the query for a subject's envelopes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.testbed.clouds.web import Answer, Request, serving


@dataclass
class Envelopes:
    """What is stored, by gitoid. While ``fails`` is not 0, it is the status of every answer."""

    stored: dict[str, bytes] = field(default_factory=dict)
    fails: int = 0
    missing: int = 500
    """The status for an absent envelope; Archivista's file store answers 500."""
    lost: list[str] = field(default_factory=list)
    """Gitoids that only the index still has."""
    url: str = ""

    def answer(self, request: Request) -> Answer:
        if self.fails:
            return Answer(self.fails, b"as the test wants")
        if (request.method, request.path) == ("POST", "/upload"):
            gitoid = hashlib.sha256(b"blob %d\0" % len(request.body) + request.body).hexdigest()
            self.stored[gitoid] = request.body
            return Answer(200, json.dumps({"gitoid": gitoid}).encode())
        if (request.method, request.path) == ("POST", "/query"):
            return self._query(json.loads(request.body)["variables"])
        found = self.stored.get(request.path.removeprefix("/download/"))
        return Answer(self.missing, b"open: no such file") if found is None else Answer(200, found)

    def _query(self, asked: dict[str, str | int | None]) -> Answer:
        named = [gitoid for gitoid, data in sorted(self.stored.items()) if _is_about(data, asked)] + self.lost
        start = int(asked["after"] or 0)
        end = start + 2
        page = {"hasNextPage": end < len(named), "endCursor": str(end)}
        edges = [{"node": {"gitoidSha256": gitoid}} for gitoid in named[start:end]]
        return Answer(200, json.dumps({"data": {"dsses": {"edges": edges, "pageInfo": page}}}).encode())


def _is_about(data: bytes, asked: dict[str, str | int | None]) -> bool:
    statement = json.loads(base64.b64decode(json.loads(data)["payload"]))
    return any(one["digest"].get(asked["algo"]) == asked["digest"] for one in statement["subject"])


@contextmanager
def archivista_endpoint() -> Iterator[Envelopes]:
    envelopes = Envelopes()
    with serving(envelopes.answer) as url:
        envelopes.url = url
        yield envelopes
