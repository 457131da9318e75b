"""The controller's decisions that no real server can be brought to force: a run that breaks our own code."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chains.attest.flow import Flow
from chains.attest.outcome import FAILED, Outcome
from chains.attest.stores import Stores
from chains.cluster.errors import ClusterError, ClusterUnavailable, ObjectGone, ObjectRefused
from chains.config.parse import parse_config
from chains.controller.flow import FlowInForce
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.recorder import Place, Recorder
from chains.controller.metrics import Metrics
from chains.controller.permit import Permit
from chains.controller.reconcile import Controller, HowToWork, SharedParts
from chains.controller.work.worklist import WorkList
from chains.tekton.runs import Job
from signers.keys.keyfile import KeyFileSigner, generate_key
from storage.annotations import AnnotationStore
from storage.base import Store, StoreOptions
from storage.record import Failure, Findings, Receipt, Record, Stored
from tests.owners import owned

Json = Any


class OneRun:
    """An API server that has one run and notes what is sent."""

    def __init__(self, run: Json) -> None:
        self.run, self.patches, self.created = run, [], []
        self.told = asyncio.Event()

    async def get(self, path: str, **_: Any) -> Json:
        return self.run

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        self.patches.append(body["metadata"])

    async def create(self, path: str, body: Mapping[str, Any]) -> None:
        self.created.append(body)
        self.told.set()


RUN: Json = {
    "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
    "metadata": {"name": "r", "namespace": "ns", "uid": "u", "resourceVersion": "7"},
    "spec": {"taskRef": {"name": "t"}},
    "status": {
        "podName": "p", "completionTime": "2026-01-02T03:04:05Z",
        "conditions": [{"type": "Succeeded", "status": "True"}],
    },
}  # fmt: skip
JOB = Job("TaskRun", "ns", "r", "u")


def flow() -> FlowInForce:
    annotations = AnnotationStore("tekton:", StoreOptions())
    config = parse_config({"artifacts.oci.storage": "tekton"})
    signer = KeyFileSigner(load_pem_private_key(generate_key(), None), "test")
    return FlowInForce(Flow(config, signer, Stores({"tekton": [annotations]})), annotations)


def test_a_run_that_breaks_the_controller_is_quarantined_and_hurts_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, in_force = OneRun(RUN), flow()
    work = WorkList()
    controller = Controller(cluster, work, lambda: in_force, Metrics())  # type: ignore[arg-type]

    async def breaks(*_: Any, **__: Any) -> Any:
        raise ValueError("a shape that nobody thought of")

    monkeypatch.setattr(Flow, "attest", breaks)
    monkeypatch.setattr("chains.controller.work.retry.Trouble.delay", lambda self: 0.0)

    async def work_on() -> None:
        work.offer(JOB)
        task = asyncio.create_task(controller.run())
        await cluster.told.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(work_on(), 10))
    (patch,) = cluster.patches
    assert patch["annotations"]["chains.tekton.dev/signed"] == "failed"
    reason = json.loads(patch["annotations"]["chains.tekton.dev/outcome"])["reason"]
    assert reason.startswith("quarantined after 3 attempts: unexpected ValueError")
    assert cluster.created[0]["reason"] == "RunQuarantined"
    assert len(work) == 0


def answers(*found: bool) -> Permit:
    rest = iter(found)
    return lambda: next(rest)


@pytest.mark.parametrize(
    ("permit", "puts", "patches"),
    [(None, 0, 0), (answers(False), 0, 0), (answers(True, False), 1, 0), (answers(True, True), 1, 1)],
    ids=["not admitted", "lost before storing", "lost before the mark", "kept"],
)
def test_a_permit_is_asked_before_storing_and_before_the_mark(
    permit: Permit | None, puts: int, patches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, in_force, work, stored = OneRun(RUN), flow(), WorkList(), set[str]()
    put = in_force.stores.put

    async def counted(payload: str, record: Any, names: Any, **more: Any) -> Any:
        stored.add("run")
        return await put(payload, record, names, **more)

    monkeypatch.setattr(in_force.stores, "put", counted)
    controller = Controller(
        cluster, work, lambda: in_force, Metrics(), HowToWork(workers=1), SharedParts(admit=lambda _: permit)
    )

    async def work_through() -> None:
        work.offer(JOB)
        task = asyncio.create_task(controller.run())
        while len(work) or work.in_work:  # noqa: ASYNC110 - the list tells nobody that it is empty
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(work_through(), 10))
    assert (len(stored), len(cluster.patches)) == (puts, patches)
    assert in_force.annotations.take("u") == {}, "nothing stays behind for a mark that never comes"


class Refusing(OneRun):
    """An API server that cannot be written to at first, while somebody changes the run."""

    def __init__(self, run: Json, refusals: int) -> None:
        super().__init__(run)
        self.refusals = refusals

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        if self.refusals:
            self.refusals -= 1
            metadata = self.run["metadata"] | {"annotations": {"example.com/touched": str(self.refusals)}}
            self.run = self.run | {"metadata": metadata}
            raise ClusterError("the server is away")
        await super().patch(path, body)


def test_what_is_attested_is_marked_later_and_not_attested_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, in_force, work, attested = Refusing(RUN, 2), flow(), WorkList(), []
    attest = Flow.attest

    async def counted(self: Flow, run: Any, *rest: Any, **keywords: Any) -> Any:
        attested.append(run.digest)
        return await attest(self, run, *rest, **keywords)

    monkeypatch.setattr(Flow, "attest", counted)
    monkeypatch.setattr("chains.controller.work.retry.Trouble.delay", lambda self: 0.0)
    controller = Controller(cluster, work, lambda: in_force, Metrics())  # type: ignore[arg-type]

    async def work_through() -> None:
        work.offer(JOB)
        task = asyncio.create_task(controller.run())
        while len(work) or work.in_work:  # noqa: ASYNC110 - the list tells nobody that it is empty
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(work_through(), 10))
    assert len(attested) == 1
    (patch,) = cluster.patches
    assert patch["annotations"]["chains.tekton.dev/signed"] == "true"
    assert "chains.tekton.dev/payload-taskrun-u" in patch["annotations"], "the store's are not lost"


def test_a_run_that_is_deleted_is_tried_again_before_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pauses grow to ten minutes; a deletion waits no longer than that in all."""
    work, in_force = WorkList(), flow()
    pauses: list[float] = []
    monkeypatch.setattr(work, "later", lambda job, seconds, **_: pauses.append(seconds))
    monkeypatch.setattr("chains.controller.work.retry.Trouble.delay", lambda self: 600.0)

    async def fails(*_: Any, **__: Any) -> Outcome:
        return Outcome("r", "u", FAILED, "the registry is away", transient=True)

    monkeypatch.setattr(Flow, "attest", fails)
    for held in (None, 0, 590):
        run: Json = {**RUN, "metadata": dict(RUN["metadata"])}
        if held is not None:
            asked = datetime.now(UTC) - timedelta(seconds=held)
            run["metadata"]["deletionTimestamp"] = asked.isoformat()
        cluster = OneRun(run)
        controller = Controller(cluster, work, lambda: in_force, Metrics())  # type: ignore[arg-type]
        controller._retries._held_since[JOB] = datetime.now(UTC).timestamp() - (held or 0)
        assert asyncio.run(controller.handle(JOB)) is False
    assert pauses[0] == 600
    assert pauses[1] == pytest.approx(600, abs=2)
    assert pauses[2] == pytest.approx(11, abs=2)


def test_while_the_api_server_is_away_pauses_stay_short(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, in_force, work = OneRun(RUN), flow(), WorkList()
    pauses: list[float] = []

    waited = asyncio.Event()

    async def get(path: str, **_: Any) -> Json:
        raise ClusterUnavailable("away")

    def later(job: Job, seconds: float, **_: bool) -> None:
        pauses.append(seconds)
        waited.set()

    async def work_on() -> None:
        work.offer(JOB)
        task = asyncio.create_task(controller.run())
        await waited.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    monkeypatch.setattr(cluster, "get", get)
    monkeypatch.setattr(work, "later", later)
    monkeypatch.setattr("chains.controller.work.retry.Trouble.delay", lambda self: 600.0)
    controller = Controller(cluster, work, lambda: in_force, Metrics())  # type: ignore[arg-type]
    asyncio.run(asyncio.wait_for(work_on(), 10))
    assert pauses == [30]


def test_what_is_attested_from_annotations_that_do_not_fit_is_no_receipt() -> None:
    class Full(OneRun):
        async def patch(self, path: str, body: Mapping[str, Any]) -> None:
            await super().patch(path, body)
            if any("payload-" in name for name in body["metadata"].get("annotations", {})):
                raise ObjectRefused("422 may not be more than 262144 bytes")

    cluster, in_force = Full(RUN), flow()
    controller = Controller(cluster, WorkList(), lambda: in_force, Metrics())  # type: ignore[arg-type]
    assert asyncio.run(controller.handle(JOB)) is True
    refused, written = cluster.patches
    assert refused["annotations"]["chains.tekton.dev/signed"] == "true"
    assert written["annotations"]["chains.tekton.dev/signed"] == "failed"
    told = json.loads(written["annotations"]["chains.tekton.dev/outcome"])
    assert told["entries"] == []
    assert told["reason"].startswith("the run cannot hold its evidence: 422")
    assert [event["reason"] for event in cluster.created] == ["AttestationFailed"]


def test_what_is_remembered_of_a_lost_share_is_not_written_when_it_comes_back() -> None:
    """Another replica may have marked the run meanwhile, and somebody have taken that mark off again."""

    class Away(OneRun):
        async def patch(self, path: str, body: Mapping[str, Any]) -> None:
            raise ClusterUnavailable("away")

    cluster, in_force = Away(RUN), flow()
    controller = Controller(cluster, WorkList(), lambda: in_force, Metrics())  # type: ignore[arg-type]
    with pytest.raises(ClusterUnavailable):
        asyncio.run(controller.handle(JOB))
    marker = controller._marker
    assert marker.unwritten(JOB) is not None
    controller.forget(lambda uid: uid == "other")
    assert marker.unwritten(JOB) is not None
    controller.forget(lambda uid: uid == "u")
    assert marker.unwritten(JOB) is None


def controlled(cluster: OneRun, work: WorkList) -> Controller:
    in_force = flow()
    return Controller(cluster, work, lambda: in_force, Metrics())  # type: ignore[arg-type]


def test_the_first_failure_is_remembered_though_the_api_server_was_away_at_the_restart() -> None:
    noted = {"state": "retrying", "since": "2026-02-01T00:00:00Z", "attempts": 7}
    metadata = {**RUN["metadata"], "annotations": {"chains.tekton.dev/outcome": json.dumps(noted)}}
    controller = controlled(OneRun(RUN), WorkList())
    assert controller._retries.trouble(JOB).attempts == 0
    found = controller._retries.trouble(JOB, {**RUN, "metadata": metadata})
    assert found.attempts == 7
    assert datetime.fromtimestamp(found.since, UTC).month == 2
    assert controller._retries.trouble(JOB) is found


@pytest.mark.parametrize("error", [MemoryError(), OSError("files"), RuntimeError("can't start new thread")])
def test_want_of_memory_files_or_threads_is_not_held_against_a_run_at_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = controlled(OneRun(RUN), WorkList())

    async def breaks(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(Flow, "attest", breaks)
    for attempt in range(1, 15):
        asyncio.run(controller._look_at(JOB))
        assert controller._retries.trouble(JOB).crashes == max(0, min(attempt - 10, 3))
        if controller._retries.trouble(JOB).is_poison:
            break


def test_a_mark_whose_answer_was_lost_wakes_the_parent_and_keeps_the_child() -> None:
    owner = {"ownerReferences": owned("p")}

    class Lost(OneRun):
        async def patch(self, path: str, body: Mapping[str, Any]) -> None:
            marked = {**RUN["metadata"], **owner, "annotations": body["metadata"]["annotations"]}
            self.run = {**RUN, "metadata": {**marked, "labels": body["metadata"]["labels"]}}
            raise ClusterUnavailable("the connection was closed")

    controller = controlled(Lost({**RUN, "metadata": {**RUN["metadata"], **owner}}), WorkList())
    woken: list[str] = []
    assert controller._child_runs.waits_for(("ns", "p"), {("r", "u")}, lambda: woken.append("p"))
    with pytest.raises(ClusterUnavailable):
        asyncio.run(controller.handle(JOB))
    assert asyncio.run(controller.handle(JOB)) is True
    assert woken == ["p"]
    assert controller._child_runs.kept_bytes > 0


def test_what_is_stored_in_one_place_is_stored_in_the_other_though_the_run_changed_meanwhile() -> None:
    """A label that comes between two tries makes another statement, which would stand beside the first."""

    class Notes(Store):
        def __init__(self, *, fails: int) -> None:
            self.url, self.fails, self.stored = f"notes:{fails}", fails, list[bytes]()

        async def put(self, record: Record) -> Stored:
            if self.fails:
                self.fails -= 1
                return Stored(failures=(Failure(self.url, "", "", "away", transient=True),))
            self.stored.append(record.payload)
            return Stored((Receipt(self.url, "dsse", "", "there", ""),))

        async def find(self, digest: str, reference: str = "") -> Findings:
            return Findings()

    up, down, base = Notes(fails=0), Notes(fails=2), flow()
    config = parse_config({"artifacts.taskrun.storage": "oci", "artifacts.oci.signer": "none"})
    in_force = replace(base, flow=Flow(config, base.flow.sealers, Stores({"oci": [up, down]})))
    cluster = OneRun(RUN)
    controller = Controller(cluster, WorkList(), lambda: in_force, Metrics())  # type: ignore[arg-type]
    assert asyncio.run(controller.handle(JOB)) is False
    labels = {"results.tekton.dev/record": "1"}
    cluster.run = {**RUN, "metadata": {**RUN["metadata"], "labels": labels, "resourceVersion": "8"}}
    assert asyncio.run(controller.handle(JOB)) is True
    assert len(set(up.stored)) == 2  # provenance and execution report, each of them twice the same
    assert set(down.stored) == set(up.stored)
    (patch,) = cluster.patches
    assert patch["resourceVersion"] == "8"
    assert patch["annotations"]["chains.tekton.dev/signed"] == "true"


def test_trouble_before_the_run_was_read_counts_from_its_beginning() -> None:
    controller = Controller(OneRun(RUN), WorkList(), flow, Metrics())  # type: ignore[arg-type]
    before = controller._retries.trouble(JOB)
    before.since -= 100
    assert controller._retries.trouble(JOB, RUN).since == before.since


def test_a_run_that_leaves_the_watch_while_it_is_in_work_is_asked_for_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics, in_force = Metrics(), flow()
    cluster = OneRun(RUN)
    controller = Controller(cluster, WorkList(), lambda: in_force, metrics)  # type: ignore[arg-type]

    async def attest(*_: Any, **__: Any) -> Outcome:
        assert controller.left(JOB, RUN)
        return Outcome("r", "u", FAILED, "the registry is away", transient=True)

    monkeypatch.setattr(Flow, "attest", attest)
    asyncio.run(controller._look_at(JOB))
    assert "chains_runs_lost_total{" not in metrics.text().decode()

    async def gone(path: str, **_: Any) -> Json:
        raise ObjectGone(path)

    monkeypatch.setattr(cluster, "get", gone)
    asyncio.run(controller._look_at(JOB))
    assert 'chains_runs_lost_total{kind="taskrun",namespace="ns"} 1.0' in metrics.text().decode()
    assert [event["reason"] for event in cluster.created] == ["RunLost"]


def test_a_run_that_goes_while_it_is_marked_is_not_lost_where_its_evidence_is_stored() -> None:
    class Going(OneRun):
        async def patch(self, path: str, body: Mapping[str, Any]) -> None:
            raise ObjectGone(path)

    for refused, count in ((False, 0), (True, 1)):
        metrics, in_force, run = Metrics(), flow(), dict(RUN)
        if refused:
            run = {**RUN, "spec": {"params": "not a list"}}
        controller = Controller(Going(run), WorkList(), lambda used=in_force: used, metrics)  # type: ignore[arg-type, misc]
        asyncio.run(controller._look_at(JOB))
        assert metrics.text().decode().count("chains_runs_lost_total{") == count


class LooksAtLedger(OneRun):
    """An API server that notes at each mark whether the ledger has the run's end already."""

    def __init__(self, run: Json, folder: Path) -> None:
        super().__init__(run)
        self.folder, self.noted = folder, list[bool]()

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        found = b"".join(file.read_bytes() for file in self.folder.glob("share-0-of-1/*.jsonl"))
        self.noted.append(b'"kind":"evidenced"' in found)
        await super().patch(path, body)


def test_a_run_is_marked_after_its_end_is_in_the_ledger_and_never_while_it_cannot_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster, in_force, work, attested = LooksAtLedger(RUN, tmp_path), flow(), WorkList(), []
    attest, blocked = Flow.attest, tmp_path / "share-0-of-1"
    blocked.write_text("a file where a folder has to be")

    async def counted(self: Flow, run: Any, *rest: Any, **keywords: Any) -> Any:
        attested.append(run.digest)
        return await attest(self, run, *rest, **keywords)

    monkeypatch.setattr(Flow, "attest", counted)
    monkeypatch.setattr("chains.controller.work.retry.Trouble.delay", lambda self: 0.0)
    monkeypatch.setattr("chains.controller.ledger.recorder._PAUSE", 0.0)

    async def work_through() -> None:
        recorder = Recorder()
        recorder.move(Place(tmp_path, "chains.example.com/test", 1), ())
        ledger = Ledger(recorder)
        ledger.is_on = True
        shared = SharedParts(ledger=ledger)
        controller = Controller(cluster, work, lambda: in_force, Metrics(), None, shared)  # type: ignore[arg-type]
        work.offer(JOB)
        task = asyncio.create_task(controller.run())
        while not recorder.trouble:  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0)
        assert cluster.patches == []
        blocked.unlink()
        while len(work) or work.in_work:  # noqa: ASYNC110 - the list tells nobody that it is empty
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await recorder.close()

    asyncio.run(asyncio.wait_for(work_through(), 60))
    assert len(attested) == 1, "what was attested is kept until the ledger has it"
    assert cluster.noted == [True]
    (patch,) = cluster.patches
    assert patch["annotations"]["chains.tekton.dev/signed"] == "true"
