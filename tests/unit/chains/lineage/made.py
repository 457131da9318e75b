"""Runs that make artifacts from one another, attested by the flow into real stores, and evidence made to order."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chains
from chains.lineage.ancestry import Ancestry, ancestry
from chains.lineage.blast_radius import BlastRadius, Window, blast_radius
from chains.lineage.collect import Collected, collect
from chains.lineage.signing import Judge, Searched, Trust
from chains.lineage.wanted import Wanted, dependency_wanted
from storage.base import Store
from storage.errors import StoreError
from storage.open import open_store
from storage.parts import Part
from storage.record import Evidence, Findings, Record, Skipped, Stored

Json = Any
NOW = datetime(2026, 11, 20, tzinfo=UTC)
CATALOG = "git+https://git.example.com/platform/catalog.git"
COMMIT = "a" * 40
ALPINE = "registry.example.com/mirror/alpine"


def digest(name: str) -> str:
    """Return the digest of an image by digest, else one that stands for an artifact of this name."""
    return name.partition("@")[2] or f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def bare(image: str) -> str:
    """Return an image without its digest."""
    return image.partition("@")[0]


def run_of(
    name: str,
    *images: str,
    made_from: Sequence[str] = (),
    steps: Sequence[str] = (ALPINE,),
    git: tuple[str, str] | None = None,
    bundle: str = "",
    task: str = "",
    ended: str = "2026-11-18T09:15:11Z",
) -> Json:
    """Return a TaskRun that built ``images`` from ``made_from``, in steps with these images.

    Images are repositories, whose digests are those of their names, or images by digest. ``bundle`` is the bundle that the Task came
    from, ``task`` the name of a Task of the cluster.
    """
    results = [
        {"name": f"a{number}-IMAGE_URL", "type": "string", "value": bare(image)}
        for number, image in enumerate(images)
    ]
    results += [
        {"name": f"a{number}-IMAGE_DIGEST", "type": "string", "value": digest(image)}
        for number, image in enumerate(images)
    ]
    results += [
        {
            "name": f"i{number}-ARTIFACT_INPUTS",
            "type": "object",
            "value": {"uri": bare(image), "digest": digest(image)},
        }
        for number, image in enumerate(made_from)
    ]
    if git:
        results += [
            {"name": "CHAINS-GIT_URL", "type": "string", "value": git[0]},
            {"name": "CHAINS-GIT_COMMIT", "type": "string", "value": git[1]},
        ]
    status: Json = {
        "completionTime": ended,
        "startTime": "2026-11-18T09:00:00Z",
        "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}],
        "podName": f"{name}-pod",
        "results": results,
        "steps": [
            {
                "name": f"s{number}",
                "container": f"step-s{number}",
                "imageID": f"{bare(image)}@{digest(image)}",
            }
            for number, image in enumerate(steps)
        ],
        "taskSpec": {
            "steps": [{"name": f"s{number}", "image": image} for number, image in enumerate(steps)],
        },
    }
    reference: Json = {"name": task or "build"}
    if bundle:
        reference = {
            "resolver": "bundles",
            "params": [{"name": "bundle", "value": f"{bundle}:1"}, {"name": "name", "value": "deploy"}],
        }
        source = {"uri": bundle, "digest": {"sha256": digest(bundle)[7:]}, "entryPoint": "deploy"}
        status["provenance"] = {"refSource": source}
    uid = hashlib.sha256(f"uid {name}".encode()).hexdigest()
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": name, "namespace": "ci", "uid": f"{uid[:8]}-{uid[8:12]}-4000-8000-{uid[12:24]}"},
        "spec": {"taskRef": reference},
        "status": status,
    }


def attest(
    folder: Path,
    store: str,
    *runs: Json,
    key: str = "signing.key",
    form: str = "slsa/v2alpha4",
    builder: str = "",
    encoding: str = "both",
) -> None:
    """Attest runs into a store, with a key of the folder."""
    config = folder / f"config-{form.replace('/', '-')}-{len(builder)}-{encoding}.yaml"
    settings = {
        "artifacts.taskrun.format": form,
        "builder.id": builder or "https://ci.example.com/tekton",
        "storage.oci.encoding-format": encoding,
    }
    config.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "data": settings}))
    path = folder / f"runs-{hashlib.sha256(json.dumps(runs).encode()).hexdigest()[:12]}.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(runs)}))

    async def work() -> list[chains.Outcome]:
        settings = chains.load_config(str(config))
        read = chains.read_runs(str(path))
        async with chains.open_flow(settings, stores=[store], signer=str(folder / key)) as flow:
            return [await flow.attest(run, read.surroundings(run)) for run in read]

    outcomes = asyncio.run(work())
    assert [outcome.state for outcome in outcomes] == ["signed"] * len(runs), [
        outcome.reason for outcome in outcomes
    ]


class Whole(Store):
    """A store that gives what it is made with, all of it at once, and then fails if ``error`` says so."""

    def __init__(
        self,
        *held: Evidence,
        skipped: Sequence[Skipped] = (),
        error: StoreError | None = None,
        url: str = "whole:",
    ) -> None:
        self.url = url
        self._findings, self._error = Findings(held, tuple(skipped)), error

    async def put(self, record: Record) -> Stored:
        raise NotImplementedError

    async def find(self, digest: str, reference: str = "") -> Findings:
        raise NotImplementedError

    async def scan(self) -> AsyncIterator[Part]:
        yield Part(self._findings, 1)
        if self._error is not None:
            raise self._error


def asked(
    wanted: Wanted,
    *stores: Store | str,
    trust: Trust = Trust(),  # noqa: B008 - frozen
    window: Window = Window(),  # noqa: B008 - frozen
    now: datetime = NOW,
) -> BlastRadius:
    """Return the answer from open stores or URLs."""

    async def work() -> BlastRadius:
        opened = [open_store(one) if isinstance(one, str) else one for one in stores]
        try:
            judge = Judge(trust, wanted.signers, now)
            collected = await collect(opened, wanted, judge, lambda url, total, failed: None)
        finally:
            for store in opened:
                await store.close()
        return blast_radius(collected, wanted, window)

    return asyncio.run(work())


def family(
    digest: str,
    *stores: Store | str,
    trust: Trust = Trust(),  # noqa: B008 - frozen
    depth: int = 5,
) -> Ancestry:
    """Return the lineage of an artifact from open stores or URLs."""

    async def work() -> Collected:
        opened = [open_store(one) if isinstance(one, str) else one for one in stores]
        wanted = Wanted(dependencies=[dependency_wanted(digest)])
        try:
            judge = Judge(trust, Searched(), NOW)
            return await collect(opened, wanted, judge, lambda url, total, failed: None, keeps_inputs=True)
        finally:
            for store in opened:
                await store.close()

    return ancestry(asyncio.run(work()), digest, depth, is_trusting=trust.is_given)


def states(found: BlastRadius) -> dict[str, str]:
    """Return the state of each artifact that is touched, by its first name."""
    return {one.names[0]: one.state.value for one in found.artifacts}


def distances(found: BlastRadius) -> dict[str, int]:
    """Return the distance of each artifact that is touched, by its first name."""
    return {one.names[0]: one.distance for one in found.artifacts}
