"""What the benchmarks work on: finished TaskRuns of about 4 kB that built one image each, and those images."""

from __future__ import annotations

import asyncio
import hashlib
import json

import aiohttp

AT_ONCE = 32
"""Requests under way at a time while material is made ready."""


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


async def push_images(host: str, name: str, count: int) -> None:
    """Put ``count`` images into the registry."""
    url = f"http://{host}/v2/{name}"
    digest = "sha256:" + hashlib.sha256(b"{}").hexdigest()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:
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

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
