"""``python -m tests.bench [--runs N] [--cases layout,registry]``: runs a second and peak memory of ``attest``.

Each case generates TaskRuns that built one image each, attests them with the installed command in a process of
its own, and prints a line. ``layout`` runs on one core, ``registry`` writes both forms for images that a local
registry has. A case is repeated, and the best, the median and the worst are shown: shared machines are noisy.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from tests.testbed.servers import registry

CHAINS = Path(sys.executable).with_name("chains")
_AT_ONCE = 32


def hexdigest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(number: int) -> bytes:
    """Return a small image manifest, another one for each number."""
    empty = {"digest": "sha256:" + hashlib.sha256(b"{}").hexdigest(), "size": 2}
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **empty},
            "layers": [],
            "annotations": {"number": str(number)},
        }
    ).encode()


def task_run(number: int, repository: str) -> dict[str, object]:
    """Return a run of about 4 kB that built the image of this number."""
    step = {
        "name": "build",
        "container": "step-build",
        "imageID": f"registry.example.com/buildah@sha256:{hexdigest('b')}",
    }
    script = (
        '#!/bin/sh\nset -eu\nbuildah bud --tag "$(params.image)" .\nbuildah push --digestfile digest\n' * 8
    )
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {
            "name": f"build-{number}",
            "namespace": f"team-{number % 20}",
            "uid": f"00000000-0000-4000-8000-{number:012d}",
            "labels": {"app.kubernetes.io/managed-by": "tekton-pipelines", "tekton.dev/task": "buildah"},
            "annotations": {"pipeline.tekton.dev/release": "v1.15.0"},
        },
        "spec": {
            "params": [{"name": name, "value": f"value of {name} for {number}"} for name in ("image", "context", "revision")],
            "serviceAccountName": "builder",
            "taskRef": {"kind": "Task", "name": "buildah"},
            "timeout": "1h0m0s",
        },
        "status": {
            "podName": f"build-{number}-pod",
            "startTime": "2026-01-02T03:04:05Z",
            "completionTime": "2026-01-02T03:09:05Z",
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded", "lastTransitionTime": "2026-01-02T03:09:05Z"}],
            "results": [
                {"name": "IMAGE_URL", "type": "string", "value": repository},
                {"name": "IMAGE_DIGEST", "type": "string", "value": "sha256:" + hashlib.sha256(manifest(number)).hexdigest()},
                {"name": "CHAINS-GIT_URL", "type": "string", "value": "https://git.example.com/team/app"},
                {"name": "CHAINS-GIT_COMMIT", "type": "string", "value": hexdigest(str(number))[:40]},
            ],
            "steps": [step | {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": "2026-01-02T03:04:06Z", "finishedAt": "2026-01-02T03:09:04Z", "containerID": "containerd://" + hexdigest("c")}}],
            "taskSpec": {
                "params": [{"name": name, "type": "string", "description": "x" * 80} for name in ("image", "context", "revision")],
                "results": [{"name": "IMAGE_URL", "type": "string"}, {"name": "IMAGE_DIGEST", "type": "string"}],
                "steps": [{"name": "build", "image": "registry.example.com/buildah:v1", "script": script}],
            },
        },
    }  # fmt: skip


def write_runs(folder: Path, count: int, repository: str) -> Path:
    items = [task_run(number, repository) for number in range(count)]
    path = folder / "runs.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return path


async def push_images(host: str, name: str, count: int) -> None:
    """Put ``count`` images into the registry."""
    url = f"http://{host}/v2/{name}"
    digest = "sha256:" + hashlib.sha256(b"{}").hexdigest()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_AT_ONCE)) as session:
        async with session.post(f"{url}/blobs/uploads/?digest={digest}", data=b"{}") as answer:
            answer.raise_for_status()
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                body = manifest(number)
                reference = "sha256:" + hashlib.sha256(body).hexdigest()
                kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
                async with session.put(f"{url}/manifests/{reference}", data=body, headers=kind) as put:
                    put.raise_for_status()

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


def measure(command: list[str], folder: Path, *, cores: int) -> tuple[float, float]:
    """Run a command on the first ``cores`` processors; return its seconds and its peak memory in MB."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(ours)[:cores])  # the child inherits it
    started = time.perf_counter()
    with (folder / "output.json").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output)
        os.sched_setaffinity(0, ours)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: see {folder / 'output.json'}")
    return seconds, usage.ru_maxrss / 1024


@contextmanager
def case(name: str, count: int) -> Iterator[tuple[Path, list[str], int]]:
    """Prepare a folder and give it with the command and the number of cores."""
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as text:
        folder = Path(text)
        if name == "layout":
            runs = write_runs(folder, count, "registry.example.com/team/app")
            yield folder, [str(CHAINS), "attest", str(runs), "--output", "json"], 1
            return
        with registry(folder) as server:
            asyncio.run(push_images(server.host, "team/app", count))
            runs = write_runs(folder, count, f"{server.host}/team/app")
            yield folder, [str(CHAINS), "attest", str(runs), "--store", "oci:", "--output", "json"], 2


def main() -> None:
    """Measure the chosen cases and print one line for each."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cases", default="layout,registry")
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {options.runs} TaskRuns, {options.repeat} times"
    )
    print(f"memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    for name in options.cases.split(","):
        speeds, peaks = [], []
        for _ in range(options.repeat):
            with case(name, options.runs) as (folder, command, cores):
                seconds, peak = measure(command, folder, cores=cores)
                speeds.append(options.runs / seconds)
                peaks.append(peak)
        speeds.sort()
        print(
            f"{name}: {speeds[-1]:.0f} runs/s best, {statistics.median(speeds):.0f} median, {speeds[0]:.0f} worst; "
            f"peak {max(peaks):.0f} MB"
        )


if __name__ == "__main__":
    main()
