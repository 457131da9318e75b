"""A registry whose answers are as harmful as the protocol allows, as a separate program.

``python -m tests.testbed.hostile`` prints ``HOST:PORT`` and serves until its input ends. The first part of a
repository's name selects the harm, one of :data:`KINDS`. The digest of an image in it is that of
:func:`image`. Every write is accepted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

from aiohttp import web

MIB = 1024 * 1024
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
_PART = 64 * 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def image() -> bytes:
    """Return the manifest of the image that every repository has."""
    return json.dumps({"mediaType": MANIFEST, "layers": []}).encode()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@cache
def lists() -> bytes:
    """As many empty lists as fit into a manifest."""
    return b'{"mediaType":"%b","layers":[{}%b]}' % (MANIFEST.encode(), b",[]" * (4 * MIB // 3 - 100))


@cache
def fitting() -> bytes:
    """The most values that are still read, in layers that others may have written."""
    many = b",".join(b'"%x":""' % number for number in range(190_000))
    layer = b'{"digest":"%b","annotations":{%b}}' % (digest_of(b"x").encode(), many)
    return b'{"mediaType":"%b","layers":[%b]}' % (MANIFEST.encode(), layer)


@cache
def shared() -> bytes:
    """Annotations of the manifest, which count for each of a thousand layers."""
    notes = {f"dev.sigstore.{number:06}": "x" * 20 for number in range(50_000)}
    layers = [
        {"mediaType": DSSE, "digest": digest_of(b"%d" % number), "size": 36 * MIB} for number in range(1000)
    ]
    return json.dumps({"mediaType": MANIFEST, "layers": layers, "annotations": notes}).encode()[: 4 * MIB]


@cache
def large() -> bytes:
    """A bundle with an unsigned payload, a long list of empty lists."""
    import base64

    payload = base64.b64encode(b"[" + b"[]," * (19 * MIB // 3) + b"[]]").decode()
    return json.dumps(
        {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "dsseEnvelope": {
                "payload": payload,
                "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": "AAAA", "keyid": ""}],
            },
        }
    ).encode()


@cache
def referrer(number: int) -> bytes:
    """The manifest of one of many large bundles with different digests."""
    layer = {"mediaType": BUNDLE, "digest": blob(number)[0], "size": len(blob(number)[1])}
    return json.dumps(
        {"mediaType": MANIFEST, "artifactType": BUNDLE, "layers": [layer], "n": number}
    ).encode()


@cache
def blob(number: int) -> tuple[str, bytes]:
    data = large() + b" " * number
    return digest_of(data), data


def descriptors(first: int, many: int) -> bytes:
    """A page of a list of referrers."""
    listed = [
        {"mediaType": MANIFEST, "digest": digest_of(b"%d" % number), "size": 1, "artifactType": BUNDLE}
        for number in range(first, first + many)
    ]
    return json.dumps({"mediaType": INDEX, "manifests": listed}).encode()


@cache
def platforms() -> bytes:
    """An index of images of the largest allowed size."""
    listed = [{"digest": digest_of(lists()), "platform": {"os": "linux"}} for _ in range(32)]
    return json.dumps({"mediaType": INDEX, "manifests": listed}).encode()


@cache
def config_lists() -> bytes:
    return b'{"config":{"Env":[""%b]}}' % (b',""' * (4 * MIB // 3 - 100))


KINDS = ("lists", "fitting", "shared", "referrers", "pages", "errors", "endless", "tokens", "platforms")
_MANIFESTS: dict[str, Callable[[], bytes]] = {
    "lists": lists,
    "fitting": fitting,
    "shared": shared,
    "platforms": platforms,
}
_BUNDLES = 12


class Hostile:
    """Counts requests by kind of harm."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @web.middleware
    async def note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the request."""
        self.seen.append(f"{request.method} {request.path}")
        return await handler(request)

    async def count(self, _: web.Request) -> web.StreamResponse:
        """Return the number of requests."""
        return web.json_response(len(self.seen))

    async def token(self, _: web.Request) -> web.StreamResponse:
        """Return a token that is too long."""
        return web.Response(body=b'{"token":"' + b"A" * 64 * MIB + b'"}', content_type="application/json")

    async def write(self, request: web.Request) -> web.StreamResponse:
        """Accept any write."""
        if challenge := _challenge(request):
            return challenge
        await request.read()
        return web.Response(status=201)

    async def read(self, request: web.Request) -> web.StreamResponse:
        """Return what is requested, or something harmful."""
        kind, what, name = (request.match_info[part] for part in ("kind", "what", "name"))
        if challenge := _challenge(request):
            return challenge
        if kind == "errors":
            return web.Response(status=400, body=b"[" + b"[]," * (16 * MIB))
        if what == "manifests":
            return await self._manifest(request, kind, name)
        return await self._referrers(request, kind) if what == "referrers" else self._blob(name)

    async def _manifest(self, request: web.Request, kind: str, name: str) -> web.StreamResponse:
        if name == digest_of(image()) and kind != "platforms":
            return manifest(image())
        known = _MANIFESTS.get(kind)
        if known is not None and (not name.startswith("sha256:") or name == digest_of(known())):
            return manifest(known(), INDEX if kind == "platforms" else MANIFEST)
        if kind == "referrers":
            for number in range(_BUNDLES):
                if name == digest_of(referrer(number)):
                    return manifest(referrer(number))
        if kind == "endless":
            return await endless(request)
        if kind == "pages" and name.startswith("sha256:"):
            return manifest(lists())
        return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)

    async def _referrers(self, request: web.Request, kind: str) -> web.StreamResponse:
        if kind == "referrers":
            listed = [
                {"mediaType": MANIFEST, "digest": digest_of(referrer(number)), "artifactType": BUNDLE}
                for number in range(_BUNDLES)
            ]
            return manifest(json.dumps({"mediaType": INDEX, "manifests": listed}).encode(), INDEX)
        if kind == "pages":
            page = int(request.query.get("page", "0"))
            answer = manifest(descriptors(page * 20, 20), INDEX)
            answer.headers["Link"] = f'<{request.path}?page={page + 1}>; rel="next"'
            return answer
        if kind == "endless":
            return await endless(request)
        body = lists().replace(b"layers", b"manifests").replace(MANIFEST.encode(), INDEX.encode())
        return manifest(body, INDEX)

    @staticmethod
    def _blob(name: str) -> web.StreamResponse:
        for number in range(_BUNDLES):
            if name == blob(number)[0]:
                return web.Response(body=blob(number)[1])
        return web.json_response({"errors": [{"code": "BLOB_UNKNOWN"}]}, status=404)


def _challenge(request: web.Request) -> web.Response | None:
    if request.match_info["kind"] != "tokens":
        return None
    challenge = f'Bearer realm="http://{request.host}/token"'
    return web.Response(status=401, headers={"WWW-Authenticate": challenge})


def manifest(data: bytes, kind: str = MANIFEST) -> web.Response:
    return web.Response(body=data, headers={"Content-Type": kind, "Docker-Content-Digest": digest_of(data)})


async def endless(request: web.Request) -> web.StreamResponse:
    """A body without a length that continues as long as it is read."""
    answer = web.StreamResponse(headers={"Content-Type": INDEX})
    await answer.prepare(request)
    with suppress(ConnectionError):  # whoever reads has had enough
        for _ in count():
            await answer.write(b"[]," * (_PART // 3))
    return answer


async def serve() -> None:
    """Serve on a free port of the loopback network until standard input ends."""
    hostile = Hostile()
    application = web.Application(client_max_size=64 * MIB, middlewares=[hostile.note])
    reads = "/v2/{kind}/{repository:.*}/{what:manifests|referrers|blobs}/{name}"
    application.router.add_get("/v2/", hostile.count)
    application.router.add_get("/seen", hostile.count)
    application.router.add_get("/token", hostile.token)
    application.router.add_get(reads, hostile.read)
    for method in ("POST", "PUT"):
        application.router.add_route(method, "/v2/{kind}/{path:.*}", hostile.write)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


@contextmanager
def hostile_registry() -> Iterator[str]:
    """Run the program; yields its ``HOST:PORT``."""
    command = [sys.executable, "-m", "tests.testbed.hostile"]
    here = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=here, text=True) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        try:
            yield one.stdout.readline().strip()
        finally:
            one.stdin.close()
            one.wait(20)


if __name__ == "__main__":
    asyncio.run(serve())
