"""Container Analysis' REST API: notes and occurrences of one project."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from tests.testbed.clouds.web import Answer, Request, segments, serving


@dataclass
class Project:
    """What is stored. While ``fails`` is not 0, it is the status of every answer."""

    notes: dict[str, Any] = field(default_factory=dict)
    occurrences: dict[str, Any] = field(default_factory=dict)
    fails: int = 0
    tokens: set[str] = field(default_factory=set)
    url: str = ""
    lock: Lock = field(default_factory=Lock)

    def answer(self, request: Request) -> Answer:
        self.tokens.add(request.headers.get("authorization", ""))
        if self.fails:
            return _json({"error": {"code": self.fails, "message": "as the test wants"}}, self.fails)
        version, *_, kind = segments(request.path)[:4]
        assert version == "v1"
        name = request.path.removeprefix("/v1/")
        with self.lock:
            if request.method == "POST":
                return self._make(kind, name, request)
            if name in self.occurrences:
                return _json(self.occurrences[name])
            wanted = _wanted(request.query.get("filter", ""))
            found = [
                one for one in self.occurrences.values() if wanted is None or one["resourceUri"] == wanted
            ]
            start = int(request.query.get("pageToken") or 0)
            more = {"nextPageToken": str(start + 2)} if start + 2 < len(found) else {}
            return _json({"occurrences": found[start : start + 2], **more})

    def _make(self, kind: str, name: str, request: Request) -> Answer:
        body = json.loads(request.body)
        if kind == "notes":
            full = f"{name}/{request.query['noteId']}"
            if full in self.notes:
                return _json(
                    {"error": {"code": 409, "message": "it is there", "status": "ALREADY_EXISTS"}}, 409
                )
            self.notes[full] = body
            return _json({"name": full, **body})
        if body["noteName"] not in self.notes:
            return _json({"error": {"code": 404, "message": "there is no such note"}}, 404)
        full = f"{name}/{len(self.occurrences):08d}"
        self.occurrences[full] = {"name": full, **body}
        return _json(self.occurrences[full])


def _wanted(asked: str) -> str | None:
    """Return the URL in a filter (a quoted string with escapes); None without one."""
    quoted = re.fullmatch(r'resourceUrl=(".*")', asked)
    return None if quoted is None else str(json.loads(quoted[1]))


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


@contextmanager
def containeranalysis_endpoint() -> Iterator[Project]:
    project = Project()
    with serving(project.answer) as url:
        project.url = url
        yield project
