"""The benchmark's own connection to the cluster: makes finished runs, and sees by one watch which are signed."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.bench.workload import AT_ONCE, task_run
from tests.testbed.cluster import MERGE, ApiServer

METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
STALLED_SECONDS = 120.0
_SIGNED = "chains.tekton.dev/signed"
_LOOKED_EVERY = 1.0
_RETRIED_EVERY = 0.2
_GOODBYE_SECONDS = 0.25


class BenchmarkError(Exception):
    """The measured work was not done, or not as it should be: there is no figure."""


@dataclass(slots=True)
class Marks:
    """When each run got its mark, in seconds of ``time.monotonic``, as the watch saw it."""

    seen: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Runs marked with anything but ``true``."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    awaited: int = 0
    watching: asyncio.Task[None] | None = None

    def note(self, line: bytes) -> str:
        """Take over one event of the watch; return the version to go on from."""
        event = json.loads(line)
        metadata = event["object"]["metadata"]
        if event["type"] == "ERROR":
            raise BenchmarkError(f"the watch of the benchmark failed: {event['object']}")
        name, value = metadata.get("name", ""), metadata.get("annotations", {}).get(_SIGNED)
        if value is not None and name not in self.seen:
            self.seen[name] = time.monotonic()
            if value != "true":
                self.failed[name] = value
            if self.failed or len(self.seen) >= self.awaited:
                self.changed.set()
        return str(metadata["resourceVersion"])

    async def wait(self, count: int, what: str, process: subprocess.Popen[bytes]) -> None:
        """Wait until ``count`` runs are marked.

        Raises :class:`BenchmarkError` when nothing happens any more, ``process`` has ended, or a run failed.
        """
        moved, seen, shown = time.monotonic(), len(self.seen), sys.stderr.isatty()
        self.awaited = count
        while len(self.seen) < count and not self.failed:
            self.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOKED_EVERY):
                    await self.changed.wait()
            if len(self.seen) > seen:
                moved, seen = time.monotonic(), len(self.seen)
            if self.watching is not None and self.watching.done():
                self.watching.result()
            ended = process.poll()
            if ended is not None or time.monotonic() - moved > STALLED_SECONDS:
                state = f"no more for {STALLED_SECONDS:g} s" if ended is None else f"it ended with {ended}"
                raise BenchmarkError(f"{what}: {seen} of {count} runs are signed, {state}")
            if shown:
                sys.stderr.write(f"\r{what}: {seen}/{count} signed\x1b[K")
                sys.stderr.flush()
        if shown:
            sys.stderr.write("\r\x1b[K")
        for name, value in self.failed.items():
            raise BenchmarkError(
                f"{what}: {len(self.failed)} runs are not signed; {name} is marked {value!r}"
            )


class BenchCluster:
    """A session with the API server as its administrator."""

    def __init__(self, server: ApiServer, session: aiohttp.ClientSession) -> None:
        self._server, self._session = server, session

    async def request(
        self, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> Any:
        """Send a request and return the answer's JSON. Raises :class:`BenchmarkError`."""
        headers = {
            "Content-Type": kind,
            "Accept": "application/json" if method == "GET" else f"{METADATA},application/json",
        }
        data = None if body is None else json.dumps(body).encode()
        async with self._session.request(
            method, self._server.url + path, data=data, headers=headers
        ) as answer:
            text = await answer.read()
            if not answer.ok:
                raise BenchmarkError(f"{method} {path}: {answer.status} {text[:300]!r}")
            return json.loads(text)

    async def create_namespace(self, name: str) -> None:
        """Create a namespace."""
        await self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})

    async def create_config_map(self, namespace: str, name: str, data: dict[str, str]) -> None:
        """Create a ConfigMap."""
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        await self.request("POST", path, {"metadata": {"name": name}, "data": data})

    async def create(self, namespace: str, number: int, repository: str) -> tuple[str, dict[str, Any]]:
        """Create a run that has not ended; return its name and the status of its end."""
        body = task_run(number, repository)
        status = body.pop("status")
        metadata = body["metadata"]
        assert isinstance(metadata, dict)
        assert isinstance(status, dict)
        metadata["namespace"] = namespace
        del metadata["uid"]
        await self.request("POST", _runs(namespace), body)
        return metadata["name"], status

    async def end(self, namespace: str, name: str, status: object) -> None:
        """Write a run's status, as Tekton's controller does at its end."""
        await self.request("PATCH", f"{_runs(namespace)}/{name}/status", {"status": status}, MERGE)

    async def create_finished(self, namespace: str, numbers: Iterable[int], repository: str) -> None:
        """Create finished runs, many at a time."""
        left = iter(numbers)

        async def work() -> None:
            for number in left:
                name, status = await self.create(namespace, number, repository)
                await self.end(namespace, name, status)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    @asynccontextmanager
    async def marks(self, namespace: str) -> AsyncIterator[Marks]:
        """Watch the marks of a namespace's runs for the length of the block."""
        found = Marks()
        version = (await self.request("GET", f"{_runs(namespace)}?limit=1"))["metadata"]["resourceVersion"]
        watching = found.watching = asyncio.create_task(self._watch(namespace, version, found))
        try:
            yield found
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, namespace: str, version: str, marks: Marks) -> None:
        """Feed ``marks`` until cancelled; a watch that ends is taken up where it was."""
        while True:
            query = f"watch=1&allowWatchBookmarks=true&resourceVersion={version}"
            url = f"{self._server.url}{_runs(namespace)}?{query}"
            async with self._session.get(url, headers={"Accept": METADATA}) as answer:
                if not answer.ok:
                    # a resource that is new is not served at once
                    await asyncio.sleep(_RETRIED_EVERY)
                    continue
                rest = b""
                async for part in answer.content.iter_any():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        version = marks.note(line)


@asynccontextmanager
async def open_cluster(server: ApiServer) -> AsyncIterator[BenchCluster]:
    """Open the connection for the length of the block."""
    context = ssl.create_default_context(cafile=str(server.ca_file))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=2 * AT_ONCE, ssl=context),
        headers={"Authorization": f"Bearer {server.token}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
    ) as session:
        yield BenchCluster(server, session)
    # TLS connections say goodbye after the session is closed
    await asyncio.sleep(_GOODBYE_SECONDS)


def _runs(namespace: str) -> str:
    return f"/apis/tekton.dev/v1/namespaces/{namespace}/taskruns"
