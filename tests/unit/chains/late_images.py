"""Runs whose image is pushed late, and where it is pushed to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from storage.base import Store
from storage.record import Failure, Findings, Receipt, Record, Stored
from tests.unit.storage.fake_registry import FakeRegistry, digest_of, serving

Json = Any
IMAGE = json.dumps(
    {"mediaType": "application/vnd.oci.image.manifest.v1+json", "annotations": {"content": "late"}}
).encode()
DIGEST = digest_of(IMAGE)
CONFIG = {
    "artifacts.taskrun.format": "slsa/v2alpha4",
    "artifacts.taskrun.storage": "oci",
    "artifacts.pipelinerun.storage": "oci",
    "storage.oci.encoding-format": "both",
}


def push(registry: FakeRegistry, name: str = "team/app") -> None:
    registry.push_manifest(name, IMAGE)


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


def build(
    host: str, *, ended: float = 0.0, name: str = "build", parent: str = "", repository: str = "team/app"
) -> Json:
    """A TaskRun that says that it built the image, and ended so many seconds ago."""
    owner = [
        {"kind": "PipelineRun", "name": "p", "uid": parent, "controller": True, "apiVersion": "tekton.dev/v1"}
    ]
    return {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {
            "name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": "1",
            **({"ownerReferences": owner} if parent else {}),
        },
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True"}], "completionTime": ago(ended),
            "results": [
                {"name": "IMAGE_URL", "type": "string", "value": f"{host}/{repository}"},
                {"name": "IMAGE_DIGEST", "type": "string", "value": DIGEST},
            ],
        },
    }  # fmt: skip


def serve(work: Callable[[FakeRegistry], Awaitable[None]], **settings: bool) -> None:
    async def go() -> None:
        async with serving(**settings) as registry:
            await work(registry)

    asyncio.run(go())


class Messages(Store):
    """A topic: what is put there a second time is there twice."""

    def __init__(self) -> None:
        self.url, self.records, self.fails = "kafka://x/t", list[Record](), False

    async def put(self, record: Record) -> Stored:
        if self.fails:
            return Stored(failures=(Failure(self.url, "message", "", "away", transient=True),))
        self.records.append(record)
        return Stored((Receipt(self.url, "message", "", "sent", ""),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        return Findings()
