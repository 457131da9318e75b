"""Whether a run is tried again, marked as it is, or left to somebody else."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chains.attest.flow import Flow
from chains.attest.outcome import FAILED, Outcome
from chains.attest.stores import Stores
from chains.cluster.errors import ObjectChanged
from chains.config.parse import parse_config
from chains.controller import reconcile as module
from chains.controller.metrics import Metrics
from chains.controller.reconcile import Controller, HowToWork
from chains.controller.work.worklist import WorkList
from chains.tekton.runs import Job
from storage.base import Store
from storage.errors import StoreUnavailable
from storage.record import Failure, Findings, Receipt, Record, Stored
from tests.unit.chains.controller.test_reconcile import JOB, RUN, OneRun, flow

Json = Any
SIGNED, OUTCOME = "chains.tekton.dev/signed", "chains.tekton.dev/outcome"
CONFIG = {"artifacts.taskrun.storage": "oci", "artifacts.oci.signer": "none"}


class Shelf(Store):
    """A store that answers as it is told."""

    def __init__(self, url: str = "shelf:") -> None:
        self.url = url
        self.stored: list[bytes] = []
        self.failure: Failure | None = None
        self.flush_error = ""
        self.changed = True

    async def put(self, record: Record) -> Stored:
        if self.failure is not None:
            return Stored(failures=(self.failure,))
        self.stored.append(record.payload)
        return Stored((Receipt(self.url, "dsse", "", "there", "sha256:1", self.changed),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        return Findings()

    async def flush(self) -> None:
        if self.flush_error:
            raise StoreUnavailable(self.flush_error)


def fails(shelf: Shelf, *, transient: bool) -> None:
    reason = "the service is away" if transient else "refused for good"
    shelf.failure = Failure(shelf.url, "dsse", "", reason, transient=transient)


def controlled(cluster: OneRun, *shelves: Shelf, **more: Json) -> tuple[Controller, list[float]]:
    """A controller with these stores, and the pauses that it takes."""
    in_force = flow()
    if shelves:
        attesting = Flow(parse_config(CONFIG), in_force.flow.sealers, Stores({"oci": shelves}))
        in_force = replace(in_force, flow=attesting)
    work, pauses = WorkList(), list[float]()
    work.later = lambda job, seconds, **_: pauses.append(seconds)  # type: ignore[method-assign]
    return Controller(cluster, work, lambda: in_force, Metrics(), HowToWork(**more)), pauses  # type: ignore[arg-type]


def handled(controller: Controller, job: Job = JOB) -> bool:
    return asyncio.run(controller.handle(job))


def told(cluster: OneRun) -> tuple[str, Json]:
    (patch,) = cluster.patches
    return patch["annotations"][SIGNED], json.loads(patch["annotations"][OUTCOME])


def deleted(seconds: float) -> Json:
    """The run, which somebody asked to delete so long ago."""
    asked = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    held = {"deletionTimestamp": asked, "finalizers": ["chains.tekton.dev/taskrun"]}
    return {**RUN, "metadata": {**RUN["metadata"], **held}}


@pytest.mark.parametrize("before", [0, 300, 601, 3600])
def test_a_deletion_is_held_for_ten_minutes_of_attempts_and_then_let_go_with_the_reason(
    before: float,
) -> None:
    """The time in which no controller ran is no attempt: a registry that is away just then costs no evidence."""
    shelf, cluster = Shelf(), OneRun(deleted(before))
    fails(shelf, transient=True)
    controller, pauses = controlled(cluster, shelf)
    for passed in (0, min(before, 590)):
        controller._retries._held_since.setdefault(JOB, time.time())
        controller._retries._held_since[JOB] -= passed
        assert handled(controller) is False
    assert (len(pauses), cluster.patches) == (2, [])
    cluster.run = deleted(before + 602)
    controller._retries._held_since[JOB] = time.time() - 602
    asyncio.run(controller.look_at(JOB))
    state, outcome = told(cluster)
    assert (state, outcome["state"]) == ("failed", "failed")
    assert outcome["reason"] == "provenance in shelf:: the service is away (and 1 more)"
    assert cluster.patches[0]["finalizers"] == [], "nobody is kept from deleting it any more"
    assert len(pauses) == 2
    assert controller._retries._held_since == {}


def test_a_run_deleted_while_no_controller_ran_is_stored_when_the_registry_is_back() -> None:
    shelf, cluster = Shelf(), OneRun(deleted(7200))
    fails(shelf, transient=True)
    controller, pauses = controlled(cluster, shelf)
    assert handled(controller) is False
    shelf.failure = None
    assert handled(controller) is True
    assert (told(cluster)[0], len(pauses)) == ("true", 1)


@pytest.mark.parametrize("held", [0, 3600])
def test_a_deletion_is_no_reason_to_leave_a_run_without_its_evidence(held: float) -> None:
    shelf, cluster = Shelf(), OneRun(deleted(held))
    controller, _ = controlled(cluster, shelf)
    assert handled(controller) is True
    assert told(cluster)[0] == "true"
    assert len(shelf.stored) == 2


def test_a_run_is_given_up_when_it_was_tried_for_as_long_as_the_configuration_says() -> None:
    shelf, cluster = Shelf(), OneRun(RUN)
    fails(shelf, transient=True)
    controller, pauses = controlled(cluster, shelf, retry_for=10_000)
    assert handled(controller) is False
    controller._retries.troubles[JOB].since -= 5_000
    assert handled(controller) is False
    assert len(pauses) == 2
    (note,) = cluster.patches
    assert SIGNED not in note["annotations"]
    assert json.loads(note["annotations"][OUTCOME])["state"] == "retrying"
    cluster.patches.clear()
    controller._retries.troubles[JOB].since -= 6_000
    assert handled(controller) is True
    assert told(cluster)[0] == "failed"
    assert len(pauses) == 2


@pytest.mark.parametrize("order", [1, -1])
def test_a_permanent_failure_beside_a_transient_one_does_not_end_the_tries(order: int) -> None:
    full, away = Shelf("full:"), Shelf("away:")
    fails(full, transient=False)
    fails(away, transient=True)
    cluster = OneRun(RUN)
    controller, pauses = controlled(cluster, *(full, away)[::order])
    assert handled(controller) is False
    assert (len(pauses), cluster.patches) == (1, [])
    away.failure = None
    assert handled(controller) is True
    assert len(away.stored) == 2, "the store that was away got everything"
    state, outcome = told(cluster)
    assert state == "failed"
    assert {(entry["store"], entry["state"]) for entry in outcome["entries"]} == {
        ("full:", "failed"),
        ("away:", "stored"),
    }
    assert outcome["reason"] == "provenance in full:: refused for good (and 1 more)"


def test_what_is_refused_for_good_alone_is_marked_at_once() -> None:
    shelf, cluster = Shelf(), OneRun(RUN)
    fails(shelf, transient=False)
    controller, pauses = controlled(cluster, shelf)
    assert handled(controller) is True
    assert (told(cluster)[0], pauses) == ("failed", [])


def test_a_key_that_is_away_is_asked_again_and_one_that_refuses_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for transient in (True, False):

        async def attest(*_: Any, is_away: bool = transient, **__: Any) -> Outcome:
            return Outcome("taskrun/ns/r", "u", FAILED, "the key", transient=is_away)

        monkeypatch.setattr(Flow, "attest", attest)
        cluster = OneRun(RUN)
        controller, pauses = controlled(cluster, Shelf())
        assert handled(controller) is not transient
        assert (len(pauses), len(cluster.patches)) == ((1, 0) if transient else (0, 1))


@pytest.mark.parametrize("changed", [True, False])
def test_a_receipt_counts_only_after_the_store_flushed_whatever_it_says(changed: bool) -> None:
    """A store that says "unchanged" may mean what it wrote a moment ago and could not make findable."""
    shelf, other, cluster = Shelf(), Shelf("other:"), OneRun(RUN)
    shelf.changed, shelf.flush_error = changed, "the index cannot be written"
    controller, pauses = controlled(cluster, shelf, other, retry_for=10_000)
    assert handled(controller) is False
    assert (len(pauses), cluster.patches) == (1, [])
    controller._retries.troubles[JOB].since -= 10_001
    assert handled(controller) is True
    state, outcome = told(cluster)
    assert state == "failed"
    assert outcome["reason"] == "provenance in shelf:: the index cannot be written (and 1 more)"
    assert {(entry["store"], entry["state"], entry["detail"]) for entry in outcome["entries"]} == {
        ("shelf:", "failed", "the index cannot be written"),
        ("other:", "stored", "there"),
    }


def test_what_a_store_took_and_could_not_flush_is_attested_alike_the_next_time() -> None:
    """It may be there all the same, and a statement about a changed run would stand beside it."""
    shelf, cluster = Shelf(), OneRun(RUN)
    shelf.flush_error = "the index cannot be written"
    controller, _ = controlled(cluster, shelf)
    assert handled(controller) is False
    shelf.flush_error = ""
    cluster.run = {**RUN, "metadata": {**RUN["metadata"], "labels": {"late": "1"}, "resourceVersion": "8"}}
    assert handled(controller) is True
    assert len(set(shelf.stored)) == 2
    assert told(cluster)[0] == "true"


def test_a_store_that_cannot_flush_fails_no_run_that_has_nothing_in_it() -> None:
    shelf, idle, cluster = Shelf(), Shelf("idle:"), OneRun(RUN)
    idle.flush_error = "the index cannot be written"
    base = flow()
    stores = Stores({"oci": [shelf], "gcs": [idle]})
    in_force = replace(base, flow=Flow(parse_config(CONFIG), base.flow.sealers, stores))
    controller = Controller(cluster, WorkList(), lambda: in_force, Metrics())  # type: ignore[arg-type]
    assert handled(controller) is True
    assert told(cluster)[0] == "true"


def test_a_new_run_of_the_same_name_is_not_attested_under_the_old_ones_job() -> None:
    shelf = Shelf()
    cluster = OneRun({**RUN, "metadata": {**RUN["metadata"], "uid": "v"}})
    controller, pauses = controlled(cluster, shelf)
    controller._retries.trouble(JOB)
    controller._marker._unwritten[JOB] = Outcome("taskrun/ns/r", "u", "signed"), {}
    assert handled(controller) is True
    assert (shelf.stored, cluster.patches, pauses) == ([], [], [])
    assert JOB not in controller._retries.troubles
    assert controller._marker.unwritten(JOB) is None, "the old run's mark is not for the new one"
    assert handled(controller, replace(JOB, uid="v")) is True
    assert told(cluster)[1]["uid"] == "v"


def test_a_new_run_of_the_same_name_is_not_held_under_the_old_ones_job() -> None:
    running = {**RUN, "metadata": {**RUN["metadata"], "uid": "v"}, "status": {}}
    cluster = OneRun(running)
    controller, _ = controlled(cluster, Shelf())
    assert handled(controller) is True
    assert cluster.patches == []
    assert handled(controller, replace(JOB, uid="v")) is True
    assert [patch["finalizers"] for patch in cluster.patches] == [["chains.tekton.dev/taskrun"]]


def test_a_run_that_somebody_else_marked_while_it_was_attested_is_looked_at_again_and_let_go() -> None:
    class Marked(OneRun):
        async def patch(self, path: str, body: Mapping[str, Any]) -> None:
            await super().patch(path, body)
            if body["metadata"]["resourceVersion"] != "8":
                metadata = {**RUN["metadata"], "resourceVersion": "8", "annotations": {SIGNED: "failed"}}
                self.run = {**RUN, "metadata": metadata}
                raise ObjectChanged("409")

    shelf, cluster = Shelf(), Marked(RUN)
    controller, pauses = controlled(cluster, shelf)
    asyncio.run(controller._look_at(JOB))
    assert len(pauses) == 1
    assert pauses[0] <= 0.5
    assert handled(controller) is True
    first, second = cluster.patches
    assert first["annotations"][SIGNED] == "true"
    assert second == {"resourceVersion": "8", "labels": {"provenance.chains/done": "true"}}
    assert len(shelf.stored) == 2, "it is not attested a second time"
    assert controller._marker.unwritten(JOB) is None


def test_the_stores_of_the_flow_are_flushed_before_the_mark() -> None:
    seen: list[str] = []

    class Noted(Shelf):
        async def flush(self) -> None:
            seen.append("flush")

    class Noting(OneRun):
        async def patch(self, path: str, body: Mapping[str, Any]) -> None:
            seen.append("mark")
            await super().patch(path, body)

    controller, _ = controlled(Noting(RUN), Noted())
    assert handled(controller) is True
    assert seen == ["flush", "mark"]


@pytest.mark.parametrize(("weight", "thread"), [(0, "MainThread"), (1024 * 1024, "json_0")])
def test_a_large_run_is_frozen_aside_from_the_loop_and_an_ordinary_one_at_once(
    monkeypatch: pytest.MonkeyPatch, weight: int, thread: str
) -> None:
    frozen: list[str] = []
    take_snapshot = module.take_snapshot

    def freeze(*given: Any) -> Any:
        frozen.append(threading.current_thread().name)
        return take_snapshot(*given)

    monkeypatch.setattr(module, "take_snapshot", freeze)
    monkeypatch.setattr(module.heap, "trim", lambda: frozen.append("freed memory is given back"))
    cluster = OneRun(RUN)
    controller, _ = controlled(cluster, Shelf())
    if weight:
        controller._large.note(JOB, weight)
    assert handled(controller)
    assert frozen == (["freed memory is given back", thread] if weight else [thread])
    assert told(cluster)[0] == "true"
