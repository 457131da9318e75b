"""The controller with a real store and a registry in memory: runs wait for their images, and nothing else does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web

from chains.attest.flow import Flow
from chains.attest.stores import Stores
from chains.cluster.errors import ObjectGone
from chains.config.parse import parse_config
from chains.controller.flow import FlowInForce
from chains.controller.metrics import Metrics
from chains.controller.reconcile import Controller
from chains.controller.work import patience
from chains.controller.work.worklist import WorkList
from chains.tekton.runs import Job
from signers.base import Signer
from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair
from signers.sealer import Sealer
from storage.annotations import AnnotationStore
from storage.base import Store, StoreOptions
from storage.errors import StoreUnavailable
from storage.open import open_store
from tests.unit.chains.late_images import CONFIG, DIGEST, Messages, ago, build, push, serve
from tests.unit.storage.fake_registry import FakeRegistry, refused

Json = Any


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("key") / "signing.key"
    write_key_pair(path, generate_key())
    return open_keyfile(str(path))


class Cluster:
    """An API server that has some runs and notes what is sent."""

    def __init__(self, *runs: Json) -> None:
        self.runs = {(run["kind"], run["metadata"]["name"]): run for run in runs}
        self.patches: list[Json] = []
        self.created: list[Json] = []
        self.asked: list[str] = []

    async def get(self, path: str, **_: Any) -> Json:
        self.asked.append(path)
        plural, _, name = path.rpartition("/namespaces/ns/")[2].partition("/")
        kind = {"taskruns": "TaskRun", "pipelineruns": "PipelineRun"}.get(plural, "")
        if (kind, name) not in self.runs:
            raise ObjectGone(path)
        return self.runs[kind, name]

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        self.patches.append(body["metadata"])
        name = path.rpartition("/")[2]
        for (kind, known), run in self.runs.items():
            if known == name:
                metadata = run["metadata"]
                changed = {**metadata.get("annotations", {}), **body["metadata"].get("annotations", {})}
                self.runs[kind, known] = {**run, "metadata": {**metadata, "annotations": changed}}

    async def create(self, path: str, body: Mapping[str, Any]) -> None:
        self.created.append(body)

    @property
    def outcome(self) -> Json:
        return json.loads(self.patches[-1]["annotations"]["chains.tekton.dev/outcome"])


class Parked(WorkList):
    """A work list that notes for how long jobs are put off."""

    def __init__(self) -> None:
        super().__init__()
        self.parked: list[float] = []
        self.put_off: list[float] = []
        self.hastened: list[str] = []

    def park(self, job: Job, seconds: float) -> None:
        self.parked.append(seconds)
        super().park(job, seconds)

    def later(self, job: Job, seconds: float, *, slow: bool = False) -> None:
        self.put_off += [] if job in self._parked else [seconds]
        super().later(job, seconds, slow=slow)

    def hasten(self, job: Job) -> None:
        self.hastened.append(job.name)
        super().hasten(job)


@dataclass
class Rig:
    """One controller with a registry in memory."""

    cluster: Cluster
    work: Parked
    controller: Controller
    metrics: Metrics

    async def look(self, raw: Json) -> bool:
        return await self.controller.handle(job_of(raw))


def job_of(raw: Json) -> Job:
    metadata = raw["metadata"]
    owner = next((one["uid"] for one in metadata.get("ownerReferences", ())), "")
    return Job(raw["kind"], "ns", metadata["name"], metadata["uid"], owner)


def rig(store: Store, signer: Signer, *runs: Json, **config: str) -> Rig:
    cluster, work, metrics = Cluster(*runs), Parked(), Metrics()
    changed = {name.replace("__", "-").replace("_", "."): value for name, value in config.items()}
    annotations = AnnotationStore("tekton:", StoreOptions())
    sealers = {"x509": Sealer(signer)}
    stores = Stores({"oci": [store], "tekton": [annotations]})
    flow = FlowInForce(Flow(parse_config(CONFIG | changed), sealers, stores), annotations)
    controller = Controller(cluster, work, lambda: flow, metrics)  # type: ignore[arg-type]
    return Rig(cluster, work, controller, metrics)


def waiting(metrics: Metrics) -> float:
    return float(metrics.registry.get_sample_value("chains_runs_waiting") or 0)


def test_a_run_waits_without_being_in_trouble_and_is_marked_when_its_image_is_there(signer: Signer) -> None:
    async def work(registry: FakeRegistry) -> None:
        raw = build(registry.host)
        async with open_store("oci:") as store:
            found = rig(store, signer, raw)
            for _ in range(3):
                assert await found.look(raw) is False
            assert (found.work.parked, found.work.put_off) == ([2, 3, 4.5], [])
            assert (len(found.work), waiting(found.metrics)) == (0, 1)
            assert found.controller._retries.troubles == {}
            assert b"chains_store_errors_total{" not in found.metrics.text()
            assert found.cluster.created == []
            (note,) = found.cluster.patches
            assert "chains.tekton.dev/signed" not in note["annotations"]
            assert found.cluster.outcome["state"] == "waiting"
            assert found.cluster.outcome["absent"] == [DIGEST]
            assert found.cluster.outcome["since"] == raw["status"]["completionTime"]
            push(registry)
            assert await found.look(raw) is True
        assert found.cluster.patches[-1]["annotations"]["chains.tekton.dev/signed"] == "true"
        assert {one["form"] for one in found.cluster.outcome["entries"]} == {"att", "sig", "referrer"}
        assert waiting(found.metrics) == 0
        text = found.metrics.text().decode()
        assert "chains_completion_to_mark_seconds_count" not in text, "how long others took is nobody's delay"
        assert "chains_retries_total 0.0" in text

    serve(work)


@pytest.mark.parametrize(("ended", "limit", "words"), [(7210, "1h", "2 h"), (3700, "90s", "1 h 1 min")])
def test_after_the_time_that_counts_from_the_runs_end_the_failure_says_what_was_looked_for(
    signer: Signer, ended: float, limit: str, words: str
) -> None:
    """Also right after a restart: a run whose time is over is not waited for again."""

    async def work(registry: FakeRegistry) -> None:
        raw = build(registry.host, ended=ended)
        async with open_store("oci:") as store:
            found = rig(store, signer, raw, storage_oci_wait__for__image=limit)
            assert await found.look(raw) is True
        (mark,) = found.cluster.patches
        assert mark["annotations"]["chains.tekton.dev/signed"] == "failed"
        reason = found.cluster.outcome["reason"]
        assert f"{registry.host}/team/app does not have {DIGEST}" in reason
        assert f"; it was looked for until {words} after the run's end" in reason
        assert [event["reason"] for event in found.cluster.created] == ["AttestationFailed"]
        assert b'chains_store_errors_total{namespace="ns",store="oci:"} 3.0' in found.metrics.text()

    serve(work)


def test_without_patience_an_absent_image_fails_at_once(signer: Signer) -> None:
    async def work(registry: FakeRegistry) -> None:
        raw = build(registry.host)
        async with open_store("oci:") as store:
            found = rig(store, signer, raw, storage_oci_wait__for__image="0")
            assert await found.look(raw) is True
        assert "was looked for" not in found.cluster.outcome["reason"]

    serve(work)


@pytest.mark.parametrize(("held", "waits"), [(0, True), (595, True), (601, False)])
def test_a_run_that_is_being_deleted_waits_for_ten_minutes_at_most(
    signer: Signer, held: float, waits: bool
) -> None:
    async def work(registry: FakeRegistry) -> None:
        raw = build(registry.host)
        raw["metadata"] |= {"deletionTimestamp": ago(held), "finalizers": ["chains.tekton.dev/taskrun"]}
        async with open_store("oci:") as store:
            found = rig(store, signer, raw)
            # this process has looked at it all the time
            found.controller._retries._held_since[job_of(raw)] = time.time() - held
            for _ in range(20):
                ended = await found.look(raw)
                assert ended is not waits
                if ended:
                    break
        if waits:
            assert max(found.work.parked) <= 601 - held + 1
            return
        (mark,) = found.cluster.patches
        assert mark["finalizers"] == []
        assert ", when its deletion could be held no longer" in found.cluster.outcome["reason"]

    serve(work)


def test_another_run_of_the_pipeline_run_wakes_it_and_their_parent_does_not_wait_for_it(
    signer: Signer,
) -> None:
    async def work(registry: FakeRegistry) -> None:
        raw = build(registry.host, parent="p-uid")
        publish = build(registry.host, parent="p-uid", name="publish")
        publish["status"]["results"] = []
        references = [
            {"kind": "TaskRun", "name": name, "pipelineTaskName": name, "apiVersion": "tekton.dev/v1"}
            for name in ("build", "publish")
        ]
        parent = {
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
            "metadata": {"name": "p", "namespace": "ns", "uid": "p-uid", "resourceVersion": "1"},
            "status": {
                "conditions": [{"type": "Succeeded", "status": "True"}], "completionTime": ago(0),
                "childReferences": references,
            },
        }  # fmt: skip
        async with open_store("oci:") as store:
            found = rig(store, signer, raw, publish, parent)
            assert await found.look(raw) is False
            assert found.work.hastened == []
            assert await found.look(publish) is True
            assert found.work.hastened == ["build"]
            assert await found.look(parent) is True, "the child that waits keeps it from nothing"
            assert found.work.put_off == []
            assert found.work.hastened == ["build", "build"]
            push(registry)
            assert await found.look(raw) is True
        assert found.cluster.patches[-1]["annotations"]["chains.tekton.dev/signed"] == "true"

    serve(work)


@pytest.mark.parametrize(
    ("parent", "waits"),
    [({"status": {}}, True), ({"status": {"conditions": [{"type": "Succeeded", "status": "True"}]}}, False),
     ({"status": {}, "uid": "another"}, False), (None, False)],
    ids=["running", "ended", "another of its name", "gone"],
)  # fmt: skip
def test_a_refusal_is_waited_for_while_the_pipeline_run_goes_on(
    signer: Signer, parent: Json, waits: bool
) -> None:
    async def work(registry: FakeRegistry) -> None:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            return None if request.path == "/v2/" else refused(403, "DENIED")

        registry.fault = fault
        raw = build(registry.host, parent="p-uid")
        runs = [raw]
        if parent is not None:
            metadata = {
                "name": "p",
                "namespace": "ns",
                "uid": parent.get("uid", "p-uid"),
                "resourceVersion": "1",
            }
            runs.append({"kind": "PipelineRun", "metadata": metadata, "status": parent["status"]})
        async with open_store("oci:", StoreOptions(attempts=1)) as store:
            found = rig(store, signer, *runs)
            assert await found.look(raw) is not waits
            if waits:
                assert found.work.parked == [30]
                registry.fault = None
                push(registry)
                assert await found.look(raw) is True
                assert found.cluster.patches[-1]["annotations"]["chains.tekton.dev/signed"] == "true"
            else:
                assert "DENIED" in found.cluster.outcome["reason"]
                assert "was looked for" not in found.cluster.outcome["reason"]

    serve(work)


def test_a_refusal_to_a_run_of_its_own_is_final_at_once(signer: Signer) -> None:
    async def work(registry: FakeRegistry) -> None:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            return None if request.path == "/v2/" else refused(403, "DENIED")

        registry.fault = fault
        raw = build(registry.host)
        async with open_store("oci:", StoreOptions(attempts=1)) as store:
            found = rig(store, signer, raw)
            assert await found.look(raw) is True
        assert not any("pipelineruns" in path for path in found.cluster.asked)

    serve(work)


def test_what_waits_is_attested_as_it_was_though_the_run_has_changed_since(signer: Signer) -> None:
    """Tekton replaces the sidecars of a run half a minute after its end."""

    async def work(registry: FakeRegistry) -> None:
        raw = build(registry.host)
        raw["status"]["sidecars"] = [{"name": "db", "imageID": "registry.example/db@sha256:" + "1" * 64}]
        async with open_store("oci:") as store:
            found = rig(store, signer, raw)
            await found.look(raw)
            blobs = set(registry.blobs)
            changed = replace_sidecar(raw)
            found.cluster.runs["TaskRun", "build"] = changed
            push(registry)
            assert await found.look(changed) is True
        envelopes = [
            json.loads(data)
            for key, data in registry.blobs.items()
            if key in blobs and b"payloadType" in data
        ]
        bundles = [json.loads(data) for key, data in registry.blobs.items() if b"dsseEnvelope" in data]
        assert {one["payload"] for one in envelopes} <= {one["dsseEnvelope"]["payload"] for one in bundles}

    serve(work)


def replace_sidecar(raw: Json) -> Json:
    sidecar = {"name": "db", "imageID": "registry.example/nop@sha256:" + "2" * 64}
    return {**raw, "status": {**raw["status"], "sidecars": [sidecar]}}


def test_too_many_runs_that_wait_do_not_wait_and_say_so(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(registry: FakeRegistry) -> None:
        one, two = build(registry.host, name="one"), build(registry.host, name="two")
        async with open_store("oci:") as store:
            found = rig(store, signer, one, two)
            assert await found.look(one) is False
            assert await found.look(two) is True
        assert ", as too many runs wait for theirs" in found.cluster.outcome["reason"]
        assert waiting(found.metrics) == 1

    kind = patience.Waiting
    monkeypatch.setattr(patience, "Waiting", lambda hasten: kind(hasten, most=1))
    serve(work)


def test_what_a_store_could_not_flush_is_no_receipt_for_the_next_try(signer: Signer) -> None:
    class Unflushed(Messages):
        broken = True

        async def flush(self) -> None:
            if self.broken:
                raise StoreUnavailable("the disk is full")

    async def work(registry: FakeRegistry) -> None:
        raw = build(registry.host)
        topic = Unflushed()
        async with open_store("oci:") as store:
            found = rig(store, signer, raw)
            flow = found.controller._flow()
            stores = Stores({"oci": [store, topic], "tekton": [flow.annotations]})
            in_force = replace(flow, flow=flow.flow.with_stores(stores))
            found.controller._flow = lambda: in_force
            push(registry)
            assert await found.look(raw) is False
            assert len(topic.records) == 3
            topic.broken = False
            assert await found.look(raw) is True
            assert len(topic.records) == 6

    serve(work)
