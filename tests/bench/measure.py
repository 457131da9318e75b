"""One measurement of one controller: a batch of finished runs, or runs that end while somebody watches."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.bench_cluster import BenchCluster, BenchmarkError, Marks
from tests.bench.processes import Usage, usage, usages
from tests.bench.sides import PEER_MAPS, SAME_WORK, Place, controller
from tests.bench.workload import AT_ONCE, manifest, push_images
from tests.testbed.cluster import ApiServer
from tests.testbed.images import Registry, digest_of

_CALM_SECONDS = 2.0
_AHEAD = 2
"""So many live runs are in progress at a time: none ends right after its creation."""
_FORM_A, _BUNDLE = (".sig", ".att"), "application/vnd.dev.sigstore.bundle.v0.3+json"


@dataclass(frozen=True, slots=True)
class Result:
    """What one controller did. Milliseconds of CPU are for each run, from its start to the last mark."""

    side: str
    mode: str
    runs: int
    per_second: float
    """Runs between the first and the last mark."""
    from_start: float
    """Runs a second from the start of the process to the last mark."""
    first_mark: float
    """Seconds from the start of the process to the first mark."""
    cpu: Mapping[str, float]
    peak: float
    """MB, children included."""
    processes: int
    attestations: int
    """Counted in the registry afterwards."""
    latency: list[float] = field(default_factory=list)
    """Seconds from the write of the status to the mark, of every run that ended while it was watched."""


@dataclass(slots=True)
class Bench:
    """The servers that both sides share, and the folder of the whole benchmark."""

    server: ApiServer
    registry: Registry
    cluster: BenchCluster
    folder: Path
    far: str = ""
    """The registry's address through a proxy that delays it; empty for none."""

    @asynccontextmanager
    async def place(self, side: str, config: Mapping[str, str]) -> AsyncIterator[tuple[Place, Marks]]:
        """Give a side new namespaces with its ConfigMap, and the marks of its runs."""
        namespace = f"bench-{secrets.token_hex(3)}-{side}"
        folder = self.folder / namespace
        folder.mkdir()
        place = Place(self.server, f"{namespace}-system", namespace, folder)
        for name in (place.namespace, place.system):
            await self.cluster.create_namespace(name)
        await self.cluster.create_config_map(place.system, "chains-config", dict(config))
        for name in PEER_MAPS:
            await self.cluster.create_config_map(place.system, name, {})
        async with self.cluster.marks(namespace) as marks:
            try:
                yield place, marks
            except BenchmarkError as error:
                log = place.log.read_text(errors="replace")[-3000:] if place.log.exists() else ""
                raise BenchmarkError(f"{error}\n{log}") from error

    def repository(self, place: Place) -> str:
        """Return where the images of a place are."""
        return f"{self.far or self.registry.host}/{place.namespace}"

    @property
    def servers(self) -> dict[str, int]:
        """Process ids of what is used by both sides."""
        return {**self.server.pids, "registry": self.registry.pid}

    async def prepare(self, place: Place, finished: int, images: int) -> None:
        """Create finished runs, and images for them and for those to come."""
        say(f"{place.namespace}: creating {finished} finished runs and {images} images")
        await push_images(self.registry.host, place.namespace, images)
        await self.cluster.create_finished(place.namespace, range(finished), self.repository(place))
        await asyncio.sleep(_CALM_SECONDS)

    async def count_attestations(self, place: Place, runs: int, config: Mapping[str, str]) -> int:
        """Return how many attestations and signatures the registry has for the images of a place.

        Raises :class:`BenchmarkError` unless each image has exactly what the configuration asks for.
        """
        host = f"http://{self.registry.host}/v2/{place.namespace}"
        records = 3 if config.get("execution.report") == "true" else 2
        both = config["storage.oci.encoding-format"] == "both"
        numbers, total = iter(range(runs)), 0

        async def work(session: aiohttp.ClientSession) -> None:
            nonlocal total
            for number in numbers:
                digest = digest_of(manifest(number))
                found = 0
                for form in _FORM_A:
                    found += await _entries(
                        session, f"{host}/manifests/{digest.replace(':', '-')}{form}", "layers"
                    )
                if both:
                    found += await _entries(session, f"{host}/referrers/{digest}", "manifests")
                expected = records * (2 if both else 1)
                if found != expected:
                    text = f"the registry has {found} attestations and signatures, expected {expected}"
                    raise BenchmarkError(f"{place.namespace}: {digest}: {text}")
                total += found

        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(work(session) for _ in range(AT_ONCE)))
        return total


async def batch(
    bench: Bench, side: str, mode: str, runs: int, *, tuned: bool, config: Mapping[str, str] = SAME_WORK
) -> Result:
    """Measure how fast a controller signs ``runs`` runs that are finished when it starts."""
    async with bench.place(side, config) as (place, marks):
        await bench.prepare(place, runs, runs)
        before, started = usages(bench.servers), time.monotonic()
        with controller(side, place, tuned=tuned) as process:
            await marks.wait(runs, f"{mode}, {side}", process)
            own, after = usage(process.pid), usages(bench.servers)
        return Result(
            side=side, mode=mode, runs=runs, per_second=_speed(marks, runs),
            from_start=runs / (max(marks.seen.values()) - started),
            first_mark=min(marks.seen.values()) - started, cpu=_cpu(own, before, after, runs),
            peak=own.peak, processes=own.processes,
            attestations=await bench.count_attestations(place, runs, config),
        )  # fmt: skip


async def live(bench: Bench, side: str, *, backlog: int, seconds: float, per_second: float = 2.0) -> Result:
    """Measure how soon a run is signed after its status was written, on top of ``backlog`` finished runs.

    With a backlog only runs that ended before it was done are counted.
    """
    mode = f"live on a backlog of {backlog}" if backlog else "live"
    most = int(seconds * per_second)
    async with bench.place(side, SAME_WORK) as (place, marks):
        # one more, to see that the controller is at work
        old = max(backlog, 1)
        await bench.prepare(place, old, old + most)
        before, started = usages(bench.servers), time.monotonic()
        with controller(side, place, tuned=True) as process:
            await marks.wait(1, f"{mode}, {side}", process)
            ended: dict[str, float] = {}
            begun = time.monotonic()
            running: deque[tuple[str, dict[str, Any]]] = deque()
            for turn in range(most + _AHEAD):
                await asyncio.sleep(begun + turn / per_second - time.monotonic())
                if turn < most:
                    repository = bench.repository(place)
                    running.append(await bench.cluster.create(place.namespace, old + turn, repository))
                if turn < _AHEAD:
                    continue
                if backlog and len(marks.seen) >= backlog + len(ended):
                    break
                name, status = running.popleft()
                status["completionTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                ended[name] = time.monotonic()
                await bench.cluster.end(place.namespace, name, status)
            total = old + len(ended)
            await marks.wait(total, f"{mode}, {side}", process)
            own, after = usage(process.pid), usages(bench.servers)
        return Result(
            side=side, mode=mode, runs=total, per_second=_speed(marks, total),
            from_start=total / (max(marks.seen.values()) - started),
            first_mark=min(marks.seen.values()) - started, cpu=_cpu(own, before, after, total),
            peak=own.peak, processes=own.processes,
            attestations=await bench.count_attestations(place, total, SAME_WORK),
            latency=sorted(marks.seen[name] - end for name, end in ended.items()),
        )  # fmt: skip


def say(text: str) -> None:
    """Tell the person at the terminal what is going on."""
    print(text, file=sys.stderr, flush=True)


async def _entries(session: aiohttp.ClientSession, url: str, key: str) -> int:
    async with session.get(url) as answer:
        if not answer.ok:
            return 0
        return len(json.loads(await answer.read()).get(key) or [])


def _speed(marks: Marks, runs: int) -> float:
    took = max(marks.seen.values()) - min(marks.seen.values())
    return (runs - 1) / took if took else 0.0


def _cpu(own: Usage, before: Mapping[str, Usage], after: Mapping[str, Usage], runs: int) -> dict[str, float]:
    spent = {name: after[name].cpu - before[name].cpu for name in before}
    return {name: 1000 * seconds / runs for name, seconds in {"controller": own.cpu, **spent}.items()}
