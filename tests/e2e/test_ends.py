"""Every way in which Tekton ends a run: the report's outcome and level, and no step enforced that may go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.manifests import (
    HERMETIC,
    REPORTED,
    enforced,
    pipeline_run,
    step,
    task_run,
    told,
    told_of_run,
    written,
)
from tests.testbed.cluster import MERGE, ApiError
from tests.testbed.node.cluster import PLURALS, Node, mark_of

pytestmark = pytest.mark.server
Json = Any
FIRST, SECOND = step("first", "true"), step("second", "sleep 600")
HUNGRY = {"limits": {"memory": "32Mi"}, "requests": {"memory": "32Mi"}}
NO_CONTAINER = (
    "tekton ended the run before its steps had ended, and recorded no container that would tie a pod to it"
)
NOT_BY_ITSELF = "the run does not record that it ended by itself"
FLAGS = "/api/v1/namespaces/tekton-pipelines/configmaps/feature-flags"


class Ends:
    """Runs that have ended, or are about to, in one namespace."""

    def __init__(self, node: Node) -> None:
        self.node, self.namespace = node, node.namespace("ends")

    def start(self, *runs: Json) -> None:
        self.node.apply(self.namespace, written(*runs))

    def step_of(self, name: str, step: str) -> Json:
        """Return what the record of a TaskRun says of a step; nothing while there is none."""
        try:
            run = self.node.run("TaskRun", self.namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise
            return {}
        steps = run.get("status", {}).get("steps", ())
        return next((one for one in steps if one["name"] == step), {})

    def wait_for(self, name: str, step: str, state: str) -> None:
        self.node.wait(lambda: state in self.step_of(name, step), f"step {step} of {name} is {state}")

    def change(self, kind: str, name: str, spec: Json) -> None:
        path = f"/apis/tekton.dev/v1/namespaces/{self.namespace}/{PLURALS[kind]}/{name}"
        self.node.api.request("PATCH", path, {"spec": spec}, kind=MERGE)

    def marked(self, name: str, kind: str = "TaskRun") -> Json:
        run = self.node.marked(kind, self.namespace, name)
        assert mark_of(run) == "true", run["metadata"]["annotations"]
        return run

    def evict(self, name: str) -> None:
        """Evict a run's pod through the API; it can be read until it is let go."""
        pod = self.node.run("TaskRun", self.namespace, name)["status"]["podName"]
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}"
        # else it is gone a moment after its steps have ended, and whether it was read in time is chance
        self.node.api.request("PATCH", path, {"metadata": {"finalizers": ["tests.example/held"]}}, kind=MERGE)
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        self.node.api.request("POST", f"{path}/eviction", eviction)

    def judged(self, name: str, kind: str = "TaskRun") -> tuple[str, str, str, str]:
        """Return outcome and reason, level and reason of a run's report."""
        run = self.marked(name, kind)
        outcome, level = (told_of_run(self.node, run, one) for one in ("RUN_OUTCOME", "HERMETIC_LEVEL"))
        return outcome["outcome"], outcome["reason"], level["level"], level["reason"]

    def enforced(self, name: str) -> dict[str, str]:
        return enforced(self.node, self.marked(name))


@pytest.fixture(scope="module")
def ends(node: Node) -> Iterator[Ends]:
    """Runs in all ways to end: what is done to them is done at once, and most of them end meanwhile."""
    made = Ends(node)
    one, two = {**SECOND, "name": "only"}, (FIRST, SECOND)
    again = step("only", "[ $(context.task.retry-count) -ge 1 ]")
    annotated = {"metadata": {"annotations": HERMETIC}}
    with node.configured(REPORTED):
        made.start(
            task_run("cancelled", one),
            task_run("timed-out", one, timeout="10s"),
            task_run("never-began", one, status="TaskRunCancelled"),
            task_run("retried", step("only", "exit 1"), retries=1),
            task_run("second-time", again, retries=1),
            task_run("evicted", *two),
            task_run(
                "hungry", step("first", "head -c 200m /dev/zero | tail", computeResources=HUNGRY), SECOND
            ),
            pipeline_run(
                "pipe",
                {"name": "a", "taskSpec": {"steps": [FIRST], **annotated}},
                {"name": "b", "taskSpec": {"steps": [SECOND], **annotated}, "runAfter": ["a"]},
                {"name": "c", "taskSpec": {"steps": [FIRST], **annotated}, "runAfter": ["b"]},
            ),
        )
        made.wait_for("cancelled", "only", "running")
        made.change("TaskRun", "cancelled", {"status": "TaskRunCancelled"})
        made.wait_for("evicted", "first", "terminated")
        made.evict("evicted")
        made.wait_for("pipe-b", "second", "running")
        made.change("PipelineRun", "pipe", {"status": "Cancelled"})
        for name in ("cancelled", "timed-out", "pipe-b"):
            node.ended("TaskRun", made.namespace, name)
        node.api.request("PATCH", FLAGS, {"data": {"keep-pod-on-cancel": "true"}}, kind=MERGE)
        try:
            made.start(task_run("kept", *two), task_run("kept-late", *two, timeout="30s"))
            made.wait_for("kept", "first", "terminated")
            made.change("TaskRun", "kept", {"status": "TaskRunCancelled"})
            for name in ("kept", "kept-late"):
                node.ended("TaskRun", made.namespace, name)
        finally:
            node.api.request("PATCH", FLAGS, {"data": {"keep-pod-on-cancel": "false"}}, kind=MERGE)
        yield made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cancelled", ("cancelled", "TaskRunCancelled", "unknown", f"step/only: {NO_CONTAINER}")),
        ("timed-out", ("timed-out", "TaskRunTimeout", "unknown", f"step/only: {NO_CONTAINER}")),
        ("never-began", ("cancelled", "TaskRunCancelled", "unknown", "the run names no pod")),
        ("kept", ("cancelled", "TaskRunCancelled", "unknown", f"step/second: {NOT_BY_ITSELF}")),
        ("kept-late", ("timed-out", "TaskRunTimeout", "unknown", f"step/second: {NOT_BY_ITSELF}")),
        ("hungry", ("failed", "StepOOM", "unknown", f"step/second: {NOT_BY_ITSELF}")),
        ("evicted", ("failed", "StepFailed", "enforced", "no network for 2 of 2 containers")),
        ("retried", ("failed", "StepFailed", "enforced", "no network for 1 of 1 containers")),
        ("second-time", ("succeeded", "Succeeded", "enforced", "no network for 1 of 1 containers")),
    ],
)
def test_the_report_tells_how_a_run_ended_and_whether_its_steps_are_known_to_have(
    ends: Ends, name: str, expected: tuple[str, str, str, str]
) -> None:
    assert ends.judged(name) == expected


def test_a_cancelled_pipeline_run_is_as_unknown_as_the_task_that_went_on(ends: Ends) -> None:
    why = f"step/second: {NO_CONTAINER}"
    expected = ("cancelled", "Cancelled", "unknown", f"taskrun pipe-b: {why}")
    assert ends.judged("pipe", "PipelineRun") == expected
    children = told(ends.node, ends.marked("pipe", "PipelineRun"), "HERMETIC_CHILD_LEVEL")
    assert {name: (one["level"], one["reason"]) for name, one in children.items()} == {
        f"taskrun/{ends.namespace}/pipe-a": ("enforced", "no network for 1 of 1 containers"),
        f"taskrun/{ends.namespace}/pipe-b": ("unknown", why),
    }
    assert ends.judged("pipe-a")[2] == "enforced"
    assert ends.judged("pipe-b") == ("cancelled", "TaskRunCancelled", "unknown", why)


def test_only_steps_with_a_recorded_end_of_their_container_are_enforced(ends: Ends) -> None:
    """Whatever the pod reports: of what Tekton ended in the record alone nobody knows when it really did."""
    found = {}
    for name in (
        "cancelled",
        "timed-out",
        "kept",
        "kept-late",
        "hungry",
        "evicted",
        "retried",
        "second-time",
    ):
        steps = ends.marked(name)["status"]["steps"]
        expected = {
            f"step/{one['name']}": "true" if one.get("terminated", {}).get("containerID") else "unknown"
            for one in steps
        }
        assert ends.enforced(name) == expected, name
        found[name] = list(expected.values())
    assert found == {
        "cancelled": ["unknown"],
        "timed-out": ["unknown"],
        "kept": ["true", "unknown"],
        "kept-late": ["true", "unknown"],
        "hungry": ["true", "unknown"],
        "evicted": ["true", "true"],
        "retried": ["true"],
        "second-time": ["true"],
    }


@pytest.mark.parametrize("name", ["kept", "kept-late"])
def test_a_pod_that_tekton_keeps_is_there_and_reports_another_end_than_the_record(
    ends: Ends, name: str
) -> None:
    """Tekton's entrypoint kills the step a moment after the run has ended, so that is when it really did."""
    run = ends.marked(name)

    def reported() -> Json:
        states = ends.node.pod_of(run)["status"]["containerStatuses"]
        return next(one for one in states if one["name"] == "step-second")["state"].get("terminated")

    ends.node.wait(reported, "the kubelet reports the step's end")
    assert (reported()["exitCode"], '"value":"Cancelled"' in reported()["message"]) == (9, True)
    assert ends.node.pod_of(run)["metadata"]["annotations"]["tekton.dev/cancel"] == "CANCEL"


@pytest.mark.parametrize("name", ["retried", "second-time"])
def test_a_retried_run_is_judged_by_its_last_attempt_and_names_the_one_before(ends: Ends, name: str) -> None:
    run = ends.marked(name)
    (before,) = run["status"]["retriesStatus"]
    assert before["podName"] != run["status"]["podName"]
    assert told_of_run(ends.node, run, "RUN_FACTS")["earlierAttempts"] == [before["podName"]]
    assert told_of_run(ends.node, run, "RUN_OUTCOME")["podName"] == run["status"]["podName"]
