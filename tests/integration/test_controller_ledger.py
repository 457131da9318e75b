"""The controller writes a ledger, against a real API server: every run, what became of it, whatever ends the process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chains.assembly.trust import open_listed_keys
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.state import LedgerState, RunState
from chains.cli.main import run as chains
from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_runs import RUNS
from tests.integration.test_replicas import Group, group, telling_registry
from tests.testbed.cluster import MERGE
from tests.testbed.faulty_api import faulty_api, status

__all__ = ["controller", "group", "telling_registry"]
pytestmark = pytest.mark.server
HELD = "chains.tekton.dev/taskrun"
STORES = {"artifacts_oci_storage": "tekton", "artifacts_taskrun_storage": "tekton"}


def with_ledger(controller: Callable[..., Running], folder: Path, **data: str) -> Running:
    """Return a controller with a ledger in ``folder``, signed by a key of its own."""
    assert chains(["keys", "generate", str(folder / "ledger.pem")]) == 0
    return controller(
        **STORES,
        ledger_folder=str(folder / "ledger"),
        ledger_origin="chains.example.com/test",
        ledger_signer=str(folder / "ledger.pem"),
        **data,
    )


def ledger_of(folder: Path) -> LedgerState:
    keys = open_listed_keys([str(folder / "ledger.pub")])
    return read_ledger(folder / "ledger", keys, datetime.now(UTC))


def decided(folder: Path) -> int:
    """Return how many runs are decided in the ledger so far."""
    return sum(file.read_bytes().count(b'"kind":"evidenced"') for file in folder.glob("ledger/*/*.jsonl"))


def written(folder: Path) -> bool:
    """Whether the ledger has begun."""
    return any(folder.glob("ledger/*/*.jsonl"))


def in_progress(running: Running, name: str) -> None:
    run = finished(running.namespace, name)
    del run["status"]
    running.server.create_run(run)


def path(running: Running, name: str) -> str:
    return f"{RUNS}/{running.namespace}/taskruns/{name}"


def finish(running: Running, name: str) -> None:
    status = finished(running.namespace, name)["status"]
    running.server.request("PATCH", f"{path(running, name)}/status", {"status": status}, kind=MERGE)


def uid(running: Running, name: str) -> str:
    return str(running.run("TaskRun", name)["metadata"]["uid"])


def test_the_ledger_has_every_run_and_what_became_of_it(
    controller: Callable[..., Running], tmp_path: Path
) -> None:
    running = with_ledger(controller, tmp_path, filter_skip="example.com/skip")
    with faulty_api(running.server) as (behind, seen):
        running.seen_as = seen
        # the first watch of TaskRuns ends, and a list takes its place
        gone = {"type": "ERROR", "object": status(410, "Gone")}
        behind.on(r"GET .*/taskruns\?.*watch=true", event=gone)
        every_run_is_noted(running, tmp_path)


def every_run_is_noted(running: Running, tmp_path: Path) -> None:
    running.start()
    running.wait(lambda: "began again" in str(ledger_of(tmp_path).gaps) if written(tmp_path) else False)
    for name in ("done", "deleted", "going"):
        in_progress(running, name)
        running.wait(lambda name=name: running.run("TaskRun", name)["metadata"].get("finalizers") == [HELD])
    uids = {name: uid(running, name) for name in ("done", "deleted", "going")}
    finish(running, "done")
    running.attested("done")
    skipped = finished(running.namespace, "skipped")
    skipped["metadata"]["labels"] = {"example.com/skip": "true"}
    running.server.create_run(skipped)
    running.attested("skipped")
    uids["skipped"] = uid(running, "skipped")
    running.server.request("PATCH", path(running, "deleted"), {"metadata": {"finalizers": None}}, kind=MERGE)
    running.server.request("DELETE", path(running, "deleted"))
    running.wait(lambda: ledger_of(tmp_path).runs[uids["deleted"]].state is RunState.REMOVED)
    assert "chains_ledger_open_runs 1.0" in running.ask("/metrics")[1]
    assert running.stop() == 0
    state = ledger_of(tmp_path)
    assert state.problems == ()
    assert {name: state.runs[each].state.value for name, each in uids.items()} == {
        "done": "evidenced",
        "deleted": "removed",
        "going": "open",
        "skipped": "skipped",
    }
    done = state.runs[uids["done"]]
    assert (done.run.namespace, done.run.name, done.succeeded) == (running.namespace, "done", True)
    assert [receipt.store for receipt in done.receipts] != []
    assert "example.com/skip" in state.runs[uids["skipped"]].reason
    assert [entry.kind.value for entry in state.others] == ["config", "keys"]
    # a watch that is cut off is a gap, and the end of a process in order is none
    assert {gap.reason.partition("/apis")[0] for gap in state.gaps} == {"the watch of "}
    assert any("/taskruns began again with a list" in gap.reason for gap in state.gaps)


def test_a_controller_that_is_killed_in_the_middle_of_its_work_loses_no_run(
    controller: Callable[..., Running], tmp_path: Path
) -> None:
    running = with_ledger(controller, tmp_path)
    expected: dict[str, str] = {}
    for number in range(30):
        name = f"run-{number}"
        running.server.create_run(finished(running.namespace, name))
        expected[name] = uid(running, name)
        if number in {9, 19}:
            before = decided(tmp_path)
            running.launch()
            # killed while runs are in work: some are in the ledger and marked, some are not
            running.wait(lambda before=before: decided(tmp_path) > before)
            running.stop(signal.SIGKILL)
    running.start()
    in_progress(running, "seen")
    expected["seen"] = uid(running, "seen")
    running.wait(lambda: running.run("TaskRun", "seen")["metadata"].get("finalizers") == [HELD])
    running.stop(signal.SIGKILL)
    # while no controller runs, a run that the ledger knows is finished and deleted
    running.server.request("PATCH", path(running, "seen"), {"metadata": {"finalizers": None}}, kind=MERGE)
    running.server.request("DELETE", path(running, "seen"))
    running.start()
    for number in range(30):
        running.attested(f"run-{number}")
    running.wait(lambda: ledger_of(tmp_path).runs[expected["seen"]].state is RunState.REMOVED)
    assert running.stop() == 0
    state = ledger_of(tmp_path)
    assert state.problems == ()
    found = {name: state.runs[each].state.value for name, each in expected.items() if each in state.runs}
    assert found == {**{f"run-{number}": "evidenced" for number in range(30)}, "seen": "removed"}
    # also those that were in work when it was killed, which another process attests and marks
    assert not any(each.is_from_mark for each in state.runs.values())
    assert [gap.reason.partition(";")[0] for gap in state.gaps] == ["the ledger was not written"] * 3


def test_a_configuration_whose_ledger_key_signs_runs_is_refused(
    controller: Callable[..., Running], tmp_path: Path
) -> None:
    running = with_ledger(controller, tmp_path)
    running.configure({"ledger.signer": str(running.keys / "x509.pem")})
    running.start(503)
    running.wait(lambda: "which signs runs" in running.log.read_text())
    running.configure({"ledger.signer": str(tmp_path / "ledger.pem")})
    running.wait(lambda: running.ask("/readyz")[0] == 200)


def test_the_log_of_a_share_goes_with_it_to_the_replica_that_takes_the_share(
    group: Group, tmp_path: Path
) -> None:
    assert chains(["keys", "generate", str(tmp_path / "ledger.pem")]) == 0
    data = {
        "ledger.folder": str(tmp_path / "ledger"),
        "ledger.origin": "chains.example.com/test",
        "ledger.signer": str(tmp_path / "ledger.pem"),
    }
    configuration = f"/api/v1/namespaces/{group.system}/configmaps/chains-config"
    group.server.request("PATCH", configuration, {"data": data}, kind=MERGE)
    first, second = group.start(0), group.start(1)
    group.wait(lambda: (first.held, second.held) == (1, 1))
    group.create(20)
    group.wait(lambda: second.metric("chains_runs_total") > 0 and group.signed() == 20)
    second.end(signal.SIGKILL)
    group.create(10)
    group.wait(lambda: group.signed() == 30)
    assert first.end(signal.SIGTERM) == 0
    state = ledger_of(tmp_path)
    assert state.problems == ()
    uids = {run["metadata"]["uid"] for run in group.runs()}
    assert {uid for uid, run in state.runs.items() if run.state is RunState.EVIDENCED} == uids
    assert {day.log.rpartition("/")[2] for day in state.days} == {"share-0-of-2", "share-1-of-2"}
    # shares may move once more at the start, but the killed replica's share has surely moved
    assert "share-1-of-2" in {gap.log.rpartition("/")[2] for gap in state.gaps}
