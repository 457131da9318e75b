"""``python3 dev.py bench preflight``: seconds, memory and requests of ``chains preflight`` over many pods.

A local registry has the images and the evidence about them, in both forms. ``file`` reads the pods from an
export, ``cluster`` from a real API server, where they run. Each pod names its image by digest and runs it.
``indexes`` is ``file`` with images that are indexes of two platforms; each pod runs a platform's image. Every
request is counted in the registry's log. The benchmark exits with 1 if an image does not pass, or if
something was requested twice: each digest must be verified once.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.attest import CHAINS, measure, write_runs
from tests.bench.workload import AT_ONCE, hexdigest, manifest, push_images
from tests.testbed.cluster import ApiServer, api_server
from tests.testbed.images import Registry
from tests.testbed.servers import registry

Json = Any
NAME = "team/app"
CASES = ("file", "indexes", "cluster")
INDEX = "application/vnd.oci.image.index.v1+json"
PLATFORMS = ("amd64", "arm64")
_NAMESPACES = 20
_REQUESTS = ("GET /", "HEAD /", "POST /", "PUT /", "PATCH /")


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement: seconds and MB of the process, and the requests that the registry got."""

    seconds: float
    peak: float
    requests: Counter[str]
    printed: str

    @property
    def twice(self) -> list[str]:
        """The requests that were made more than once."""
        return [request for request, number in self.requests.items() if number > 1]


def digest_of(data: bytes) -> str:
    """Return ``sha256:hex``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def index(number: int, images: int) -> bytes:
    """Return the index of this number: its image of the same number, and one that no pod runs."""
    listed = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest_of(manifest(number + at * images)),
            "size": len(manifest(number + at * images)),
            "platform": {"os": "linux", "architecture": name},
        }
        for at, name in enumerate(PLATFORMS)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()


def pod(number: int, images: int, repository: str, *, indexes: bool = False) -> Json:
    """Return a pod of about 4 kB as an API server has it."""
    running = f"{repository}@{digest_of(manifest(number % images))}"
    reference = f"{repository}@{digest_of(index(number % images, images))}" if indexes else running
    labels = {"app": f"app-{number}", "pod-template-hash": hexdigest(str(number))[:10]}
    fields = {f"f:{name}": {} for name in ("image", "name", "resources", "env", "ports")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"app-{number}",
            "namespace": f"bench-{number % _NAMESPACES}",
            "labels": labels,
            "annotations": {"note": "x" * 1500},
            "managedFields": [
                {"manager": "bench", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {f"f:{at}": fields for at in range(8)}}}
            ],
        },
        "spec": {
            "containers": [
                {"name": "app", "image": reference, "env": [{"name": f"VARIABLE_{at}", "value": str(at)} for at in range(10)]}
            ],
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {"name": "app", "image": reference, "imageID": running, "ready": True, "restartCount": 0}
            ],
        },
    }  # fmt: skip


@contextmanager
def prepared(images: int, *, indexes: bool = False) -> Iterator[tuple[Path, Registry]]:
    """Give a folder with a policy, and a registry with images and the evidence that the policy wants.

    Of ``indexes``, the index alone has evidence.
    """
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as name:
        folder = Path(name)
        with registry(folder, quiet=False) as server:
            asyncio.run(push_images(server.host, NAME, images * (len(PLATFORMS) if indexes else 1)))
            runs = write_runs(folder, images, f"{server.host}/{NAME}")
            if indexes:
                text = runs.read_text()
                for number in range(images):
                    server.push_manifest(NAME, index(number, images), INDEX)
                    text = text.replace(digest_of(manifest(number)), digest_of(index(number, images)))
                runs.write_text(text)
            subprocess.run(
                [CHAINS, "attest", runs, "--store", "oci:"],
                cwd=folder,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            entry = {
                "name": "ours",
                "signer": {"keys": [{"ref": ".chains/signing.pub"}]},
                "builderId": "https://tekton.dev/chains/v2",
                "maxLevel": 2,
            }
            spec = {"match": {"images": [f"{server.host}/{NAME}"]}, "trust": [entry]}
            policy = {
                "apiVersion": "provenance.chains/v1",
                "kind": "Policy",
                "metadata": {"name": "bench"},
                "spec": {**spec, "require": {"level": 2, "outcome": "succeeded"}},
            }
            (folder / "policy.json").write_text(json.dumps(policy))
            yield folder, server


def export(folder: Path, pods: Sequence[Json]) -> list[str]:
    """Write the pods as an exported List, and return the arguments that name it."""
    (folder / "pods.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
    return ["pods.json"]


async def create(server: ApiServer, pods: Sequence[Json]) -> None:
    """Create the pods in their namespaces, with their status."""
    headers = {"Authorization": f"Bearer {server.token}"}
    waiting = iter(pods)
    merge = {"Content-Type": "application/merge-patch+json"}

    async def work(session: aiohttp.ClientSession) -> None:
        for one in waiting:
            body = {**one, "metadata": {**one["metadata"], "managedFields": None}}
            path = f"{server.url}/api/v1/namespaces/{one['metadata']['namespace']}/pods"
            async with session.post(path, json=body) as answer:
                answer.raise_for_status()
            target, status = f"{path}/{one['metadata']['name']}/status", {"status": one["status"]}
            async with session.patch(target, json=status, headers=merge) as answer:
                answer.raise_for_status()

    connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=False)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        for number in range(_NAMESPACES):
            body = {"metadata": {"name": f"bench-{number}"}}
            async with session.post(f"{server.url}/api/v1/namespaces", json=body) as answer:
                answer.raise_for_status()
        await asyncio.gather(*(work(session) for _ in range(AT_ONCE)))


def run(folder: Path, server: Registry, arguments: Sequence[str]) -> Result:
    """Run preflight in a process of its own and count what it asks the registry."""
    before = server.log.stat().st_size
    command = [str(CHAINS), "preflight", "policy.json", *arguments]
    seconds, peak = measure(command, folder, cores=2)
    found = requests_since(server, before)
    return Result(seconds, peak, found, (folder / "output.json").read_text().strip())


def requests_since(server: Registry, before: int) -> Counter[str]:
    """Return the requests, ``METHOD PATH``, that a registry got after its log had so many bytes."""
    with server.log.open("rb") as log:
        log.seek(before)
        lines = log.read().decode(errors="replace").splitlines()
    asked = [line.partition(" ")[2].partition(" ")[2] for line in lines]
    return Counter(" ".join(line.split()[:2]) for line in asked if line.startswith(_REQUESTS))


def measured(case: str, pods: int, images: int, repeat: int = 1) -> list[Result]:
    """Measure one case."""
    with ExitStack() as stack:
        is_index = case == "indexes"
        folder, server = stack.enter_context(prepared(images, indexes=is_index))
        made = [pod(number, images, f"{server.host}/{NAME}", indexes=is_index) for number in range(pods)]
        if case != "cluster":
            arguments = export(folder, made)
        else:
            (folder / "cluster").mkdir()
            cluster = stack.enter_context(api_server(folder / "cluster"))
            asyncio.run(create(cluster, made))
            arguments = ["--cluster", "--kubeconfig", str(cluster.kubeconfig(folder))]
        del made
        return [run(folder, server, arguments) for _ in range(repeat)]


def main(arguments: Sequence[str]) -> int:
    """Measure the chosen cases and print a line for each."""
    parser = argparse.ArgumentParser(prog="dev.py bench preflight", description=__doc__)
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cases", default=",".join(CASES))
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    code = 0
    for case in options.cases.split(","):
        results = measured(case, options.pods, options.images, options.repeat)
        seconds = sorted(result.seconds for result in results)
        last = results[-1]
        number = sum(last.requests.values())
        print(
            f"{case}: {options.pods} pods of {options.images} images: {seconds[0]:.1f} s best, "
            f"{statistics.median(seconds):.1f} s median, {seconds[-1]:.1f} s worst, "
            f"peak {max(result.peak for result in results):.0f} MB, {number} requests, "
            f"{number / options.images:.1f} for each image, {len(last.twice)} of them twice; load {os.getloadavg()[0]:.1f}"
        )
        expected = f"of {2 * options.pods} uses: ", "pass, 0 fail, 0 undecided, 0 skip"
        for result in results:
            if result.twice or any(words not in result.printed for words in expected):
                print(f"{case}: asked twice: {result.twice[:3]}; printed: {result.printed[-200:]}")
                code = 1
    return code
