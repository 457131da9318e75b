"""A finished run that goes before it is attested is counted, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_runs import RUNS
from tests.testbed.cluster import MERGE, free_ports
from tests.testbed.faulty_api import faulty_api

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
HELD = "chains.tekton.dev/taskrun"
DONE = "provenance.chains/done"


def path(running: Running, name: str) -> str:
    return f"{RUNS}/{running.namespace}/taskruns/{name}"


def lost(running: Running) -> float:
    label = f'chains_runs_lost_total{{kind="taskrun",namespace="{running.namespace}"}} '
    found = [line for line in running.ask("/metrics")[1].splitlines() if line.startswith(label)]
    return float(found[0].removeprefix(label)) if found else 0.0


def told(running: Running) -> list[str]:
    events = running.server.request("GET", f"/api/v1/namespaces/{running.namespace}/events")["items"]
    return [event["involvedObject"]["name"] for event in events if event["reason"] == "RunLost"]


def take_away(running: Running, name: str) -> None:
    body = {"metadata": {"finalizers": None}}
    running.server.request("PATCH", path(running, name), body, kind=MERGE)
    running.server.request("DELETE", path(running, name))


def waiting(controller: Callable[..., Running]) -> tuple[Running, str]:
    """Return a controller that holds a run whose registry is away, and that image."""
    running = controller(artifacts_taskrun_storage="oci", artifacts_oci_storage="oci")
    return running, f"127.0.0.1:{free_ports(1)[0]}/team/app"


def test_a_run_whose_finalizer_is_taken_off_and_that_is_deleted_is_counted(
    controller: Callable[..., Running],
) -> None:
    running, nowhere = waiting(controller)
    running.start()
    run = finished(running.namespace, "held", nowhere)
    status = run.pop("status")
    running.server.create_run(run)
    running.wait(lambda: running.run("TaskRun", "held")["metadata"].get("finalizers") == [HELD])
    running.server.request("PATCH", f"{path(running, 'held')}/status", {"status": status}, kind=MERGE)
    running.wait(lambda: "trying again later" in running.log.read_text())
    take_away(running, "held")
    # one of the same name does not hide that the first is gone
    running.server.create_run(finished(running.namespace, "held", nowhere))
    running.wait(lambda: lost(running) == 1)
    running.wait(lambda: told(running) == ["held"])
    assert "a run is lost" in running.log.read_text()
    take_away(running, "held")
    running.wait(lambda: lost(running) == 2)


def test_runs_that_are_marked_or_end_in_another_way_are_not_counted_and_not_asked_for_again(
    controller: Callable[..., Running],
) -> None:
    running = controller(artifacts_oci_storage="tekton", artifacts_taskrun_storage="tekton")
    with faulty_api(running.server) as (api, seen):
        running.seen_as = seen
        for number in range(10):
            running.server.create_run(finished(running.namespace, f"run-{number}"))
        running.start()
        begun = finished(running.namespace, "in-progress")
        del begun["status"]
        running.server.create_run(begun)
        running.wait(lambda: running.run("TaskRun", "in-progress")["metadata"].get("finalizers") == [HELD])
        for number in range(10):
            running.attested(f"run-{number}")
            running.server.request("DELETE", path(running, f"run-{number}"))
        running.server.request("DELETE", path(running, "in-progress"))
        running.server.create_run(finished(running.namespace, "last"))
        running.attested("last")
        running.wait(lambda: running.ask("/metrics")[1].count("chains_backlog_runs 0.0") == 1)
        asked = [line for line in api.requests if "/taskruns/run-" in line]
        last = {line.split("/")[-1]: line.split()[0] for line in asked}
        assert last == {f"run-{number}": "PATCH" for number in range(10)}, "none is asked for after its mark"
        assert (lost(running), told(running)) == (0.0, [])


def test_a_finished_run_that_somebody_labels_as_done_is_attested_and_not_lost(
    controller: Callable[..., Running],
) -> None:
    running, nowhere = waiting(controller)
    running.start()
    running.server.create_run(finished(running.namespace, "hidden", nowhere))
    running.wait(lambda: "trying again later" in running.log.read_text())
    labelled = {"metadata": {"labels": {DONE: "true"}}}
    running.server.request("PATCH", path(running, "hidden"), labelled, kind=MERGE)
    running.configure({"artifacts.taskrun.storage": "tekton", "artifacts.oci.storage": "tekton"})
    assert running.attested("hidden")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    assert (lost(running), told(running)) == (0.0, [])
