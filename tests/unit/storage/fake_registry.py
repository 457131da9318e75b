"""A registry in memory that keeps the rules of the distribution API, until a test tells it not to."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|referrers)/(?P<rest>.+)")

Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass
class FakeRegistry:
    """``fault`` is asked first: an answer of it is sent instead of the right one."""

    referrers: bool = True
    single_post: bool = True
    tells_digest: bool = True
    tells_subject: bool = False
    lists: bool = True
    """False: the referrers API answers with an empty index, whatever was written."""
    dashes: bool = False
    """Take the tag ``sha256-<hex>`` for the digest, when there is a manifest with it."""
    tags: bool = False
    """Serve the list of tags."""
    etags: bool = False
    """Heed ``If-Match``."""
    fault: Fault | None = None
    host: str = ""
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    """Method and path of every request."""
    headers: list[dict[str, str]] = field(default_factory=list)

    def push_image(self, name: str, content: str = "image") -> str:
        """Store an image and return its digest."""
        data = json.dumps({"mediaType": OCI_MANIFEST, "annotations": {"content": content}}).encode()
        return self.push_manifest(name, data)

    def push_manifest(
        self, name: str, data: bytes, reference: str = "", media_type: str = OCI_MANIFEST
    ) -> str:
        digest = digest_of(data)
        self.manifests[name, digest] = (media_type, data)
        if reference:
            self.manifests[name, reference] = (media_type, data)
        return digest

    def push_blob(self, name: str, data: bytes) -> str:
        self.blobs[name, digest_of(data)] = data
        return digest_of(data)

    def count(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(1 for line in self.seen if re.search(pattern, line))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.raw_path}")
        self.headers.append(dict(request.headers))
        if self.fault is not None:
            answer = await self.fault(request)
            if answer is not None:
                return answer
        return await self.answer(request)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/":
            return web.Response()
        if self.tags and request.path.endswith("/tags/list"):
            name = request.path.removeprefix("/v2/").removesuffix("/tags/list")
            named = [tag for repository, tag in self.manifests if repository == name and ":" not in tag]
            return web.json_response({"name": name, "tags": named or None})
        match = _PATH.fullmatch(request.path)
        if match is None:
            return refused(404, "UNSUPPORTED")
        name, rest = match["name"], match["rest"]
        if match["kind"] == "manifests":
            return await self._manifest(request, name, rest)
        if match["kind"] == "blobs":
            return await self._blob(request, name, rest)
        return self._referrers(name, rest) if self.referrers else refused(404, "NOT_FOUND")

    async def _manifest(self, request: web.Request, name: str, reference: str) -> web.Response:
        there = self.manifests.get((name, reference))
        if self.dashes and request.method != "PUT":
            there = self.manifests.get((name, reference.replace("sha256-", "sha256:"))) or there
        if request.method == "PUT":
            return self._put_manifest(request, name, reference, await request.read())
        if there is None:
            return refused(404, "MANIFEST_UNKNOWN")
        headers = {"Content-Type": there[0]}
        if self.tells_digest:
            headers["Docker-Content-Digest"] = digest_of(there[1])
        if self.etags:
            headers["ETag"] = f'"{digest_of(there[1])}"'
        return web.Response(body=there[1], headers=headers)

    def _put_manifest(self, request: web.Request, name: str, reference: str, data: bytes) -> web.Response:
        there = self.manifests.get((name, reference))
        guard = request.headers.get("If-Match")
        if self.etags and guard and (there is None or guard != f'"{digest_of(there[1])}"'):
            return refused(412, "PRECONDITION")
        document = json.loads(data)
        for blob in (document.get("config"), *(document.get("layers") or [])):
            if blob and (name, blob["digest"]) not in self.blobs:
                return refused(400, "MANIFEST_BLOB_UNKNOWN", blob["digest"])
        digest = self.push_manifest(name, data, reference, request.headers["Content-Type"])
        headers = {"Docker-Content-Digest": digest} if self.tells_digest else {}
        if self.tells_subject and "subject" in document:
            headers["OCI-Subject"] = document["subject"]["digest"]
        return web.Response(status=201, headers=headers)

    async def _blob(self, request: web.Request, name: str, rest: str) -> web.Response:
        if request.method in {"POST", "PUT"}:
            digest = request.query.get("digest", "")
            if request.method == "POST" and not (digest and self.single_post):
                return web.Response(
                    status=202, headers={"Location": f"/v2/{name}/blobs/uploads/1?state=s%3D1"}
                )
            data = await request.read()
            if digest_of(data) != digest:
                return refused(400, "DIGEST_INVALID")
            self.push_blob(name, data)
            return web.Response(status=201)
        data = self.blobs.get((name, rest))
        if data is None:
            return refused(404, "BLOB_UNKNOWN")
        return web.Response(body=data)

    def _referrers(self, name: str, digest: str) -> web.Response:
        found = {}
        for (repository, _), (media_type, data) in self.manifests.items():
            document = json.loads(data)
            if self.lists and repository == name and (document.get("subject") or {}).get("digest") == digest:
                found[digest_of(data)] = {
                    "mediaType": media_type,
                    "digest": digest_of(data),
                    "size": len(data),
                    "artifactType": document.get("artifactType", ""),
                }
        return index_response(list(found.values()))


@asynccontextmanager
async def serving(
    registry: FakeRegistry | None = None,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    **settings: bool,
) -> AsyncIterator[FakeRegistry]:
    """Run the registry on a loopback port, a free one for 0."""
    registry = registry or FakeRegistry(**settings)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", registry.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, address, port, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    registry.host = f"{host}:{port}"
    try:
        yield registry
    finally:
        await runner.cleanup()


def refused(status: int, code: str, message: str = "no", **headers: str) -> web.Response:
    """An error as registries word it."""
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status, headers=headers)


def index_response(manifests: list[dict[str, object]], **headers: str) -> web.Response:
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
    return web.Response(body=body, headers={"Content-Type": OCI_INDEX} | headers)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
