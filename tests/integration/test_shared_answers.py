"""Several processes of ``chains admission`` on one port, and one real registry that counts what it is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.admission import Server, load, review, serving
from tests.bench.preflight import NAME, digest_of, prepared, requests_since
from tests.bench.workload import manifest

pytestmark = pytest.mark.server
PROCESSES, CONNECTIONS = 4, 64


def samples(server: Server, name: str) -> list[float]:
    """Return a metric of each process."""
    with urlopen(f"http://127.0.0.1:{server.health}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return [sample.value for family in families for sample in family.samples if sample.name == name]


def test_an_image_that_four_processes_are_asked_about_at_once_is_verified_once() -> None:
    with prepared(3) as (folder, registry), serving(folder, PROCESSES) as server:
        place = f"{registry.host}/{NAME}"
        # the way to the registry is found by the first image
        for number, times in ((0, 1), (1, CONNECTIONS), (2, CONNECTIONS)):
            before, misses = registry.log.stat().st_size, samples(server, "chains_admission_cache_misses")
            request = review(number, f"{place}@{digest_of(manifest(number))}")
            asyncio.run(load(server, [request] * times, times, allowed=True))
            asked = requests_since(registry, before)
            assert asked, number
            assert {request: count for request, count in asked.items() if count > 1} == {}, number
            now = samples(server, "chains_admission_cache_misses")
            missed = [after - one for after, one in zip(now, misses, strict=True)]
            assert sum(bool(one) for one in missed) > (times > 1), "more than one process was asked"
        shared = sum(samples(server, "chains_admission_cache_shared"))
        assert 2 <= shared <= 2 * (PROCESSES - 1)
        # no other process has a way to the answers: the sockets between them have no name
        for pid in server.processes:
            for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
                inode, *name = line.split()[6:]
                if f"socket:[{inode}]" in _sockets(pid):
                    assert not name, name


def _sockets(pid: int) -> set[str]:
    return {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}
