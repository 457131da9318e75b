"""Google Cloud Storage's JSON API, as far as its Python and Go clients use it for objects."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from threading import Lock
from urllib.parse import unquote

import google_crc32c

from tests.testbed.clouds.web import Answer, Request, segments, serving


@dataclass
class Bucket:
    """What is stored, and how the service misbehaves."""

    objects: dict[str, bytes] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    fails: int = 0
    """The status of every answer while it is not 0."""
    url: str = ""
    uploads: dict[str, tuple[str, dict[str, str], bytes]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def answer(self, request: Request) -> Answer:
        if self.fails:
            return _error(self.fails)
        with self.lock:
            if request.path.startswith(("/upload/", "/resumable/upload/")):
                return self._upload(request)
            parts = segments(request.path.removeprefix("/download"))
            if parts[:3] == ["storage", "v1", "b"] and len(parts) == 5:
                return self._list(request.query)
            if parts[:3] == ["storage", "v1", "b"] and len(parts) == 4:
                return _json({"kind": "storage#bucket", "name": parts[3], "location": "US"})
            return self._object(request, parts)

    def _object(self, request: Request, parts: list[str]) -> Answer:
        # the Go client reads by the XML API: /BUCKET/OBJECT
        name = unquote(request.path.removeprefix("/download").split("/o/", 1)[1]) if parts[:2] == ["storage", "v1"] else "/".join(parts[1:])  # fmt: skip
        if name not in self.objects:
            return _error(404)
        if request.method == "DELETE":
            del self.objects[name], self.generations[name]
            return Answer(204)
        if request.query.get("alt") == "media" or parts[:2] != ["storage", "v1"]:
            return self._media(name)
        return _json(self._resource(name))

    def _media(self, name: str) -> Answer:
        shown = self._resource(name)
        headers = {
            "x-goog-hash": f"crc32c={shown['crc32c']},md5={shown['md5Hash']}",
            "x-goog-generation": shown["generation"],
            "x-goog-stored-content-length": shown["size"],
            "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
            "Content-Type": "application/octet-stream",
        }
        return Answer(200, self.objects[name], headers)

    def _upload(self, request: Request) -> Answer:
        query = request.query
        if query.get("upload_id"):
            name, asked, start = self.uploads[query["upload_id"]]
            data = start + request.body
            end = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+|\*)", request.headers.get("content-range", ""))
            if end and end[1] != str(len(data)):
                self.uploads[query["upload_id"]] = name, asked, data
                return Answer(308, headers={"Range": f"bytes=0-{len(data) - 1}"})
            return self._write(name, data, asked)
        if query["uploadType"] == "resumable":
            name = query.get("name") or json.loads(request.body)["name"]
            identity = str(len(self.uploads))
            self.uploads[identity] = name, query, b""
            return Answer(200, headers={"Location": f"{self.url}{request.path}?upload_id={identity}"})
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + request.body).get_payload()
        metadata, _ = parts
        # the parser may touch line ends of binary parts, so the media is cut out of the body itself
        mark = re.search(r'boundary="?([^";]+)"?', request.headers["content-type"])
        assert mark is not None
        media = request.body.split(b"--" + mark[1].encode(), 3)[2]
        data = media.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return self._write(json.loads(metadata.get_payload())["name"], data, query)

    def _write(self, name: str, data: bytes, query: dict[str, str]) -> Answer:
        expected = query.get("ifGenerationMatch")
        if expected is not None and int(expected) != self.generations.get(name, 0):
            return _error(412)
        self.generations[name] = max(self.generations.values(), default=1_000_000) + 1
        self.objects[name] = data
        return _json(self._resource(name))

    def _list(self, query: dict[str, str]) -> Answer:
        # of a glob, * is everything but a slash
        glob = re.escape(query.get("matchGlob", "")).replace(r"\*", "[^/]*")
        names = sorted(name for name in self.objects if name.startswith(query.get("prefix", "")))
        if glob:
            names = [name for name in names if re.fullmatch(glob, name, re.DOTALL)]
        start = int(query.get("pageToken") or 0)
        page = names[start : start + 3]
        more = {"nextPageToken": str(start + 3)} if start + 3 < len(names) else {}
        items = [self._resource(name) for name in page]
        return _json({"kind": "storage#objects", "items": items, **more})

    def _resource(self, name: str) -> dict[str, str]:
        data = self.objects[name]
        return {
            "kind": "storage#object",
            "name": name,
            "bucket": "evidence",
            "generation": str(self.generations[name]),
            "metageneration": "1",
            "size": str(len(data)),
            "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
            "crc32c": base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode(),
        }


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _error(status: int) -> Answer:
    body = {"error": {"code": status, "message": "as the test wants", "errors": [{"reason": "test"}]}}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


@contextmanager
def gcs_endpoint() -> Iterator[Bucket]:
    """Serve one bucket under any name; ``url`` is for ``STORAGE_EMULATOR_HOST``."""
    bucket = Bucket()
    with serving(bucket.answer) as url:
        bucket.url = url
        yield bucket
