"""Runs that Tekton ended before their steps: no pod is believed by chance, and no step that goes on is enforced."""

from __future__ import annotations

from typing import Any

import pytest

from chains.isolation.finding import Level
from chains.isolation.judgement import Isolation, judge_isolation
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import parse_surroundings
from tests.faults.hermetic import objects

Json = Any
REASON = (
    "tekton ended the run before its steps had ended, and recorded no container that would tie a pod to it"
)


def judged(run: Json, pod: Json) -> Isolation:
    surroundings = parse_surroundings(pod=pod) if pod else parse_surroundings()
    return judge_isolation(take_snapshot(run), {"taskrun/ci/build": surroundings})


def ended_by_tekton(step: Json, reason: str) -> None:
    """As ``terminateStepsInPod`` writes it: without a container id."""
    step["terminated"] = {
        "exitCode": 1, "reason": reason, "startedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:09:05Z",
        "message": f"Step {step['name']} terminated as pod build-pod is terminated",
    }  # fmt: skip


@pytest.mark.parametrize("pod_is_there", [True, False])
@pytest.mark.parametrize(
    "reason",
    ["TaskRunCancelled", "TaskRunTimeout", "TaskRunImagePullFailed", "TaskRunResultLargerThanAllowedLimit"],
)
def test_a_run_that_tekton_ended_has_one_reason_whether_its_pod_is_still_there_or_not(
    reason: str, pod_is_there: bool
) -> None:
    found = objects("nothing-wrong")
    run, pod = found["TaskRun"], found["Pod"]
    assert judged(run, pod).level == Level.ENFORCED
    run["status"]["conditions"] = [{"type": "Succeeded", "status": "False", "reason": reason}]
    for step in run["status"]["steps"]:
        ended_by_tekton(step, reason)
    for state in pod["status"]["containerStatuses"]:
        state["state"] = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}
    isolation = judged(run, pod if pod_is_there else None)
    assert isolation.level == Level.UNKNOWN
    assert isolation.reason.endswith(REASON)
    assert {one.enforced.value for one in isolation.containers} == {"unknown"}


@pytest.mark.parametrize("how", ["running", "waiting", "not reported", "ended in the record alone"])
def test_a_step_that_is_not_reported_as_ended_is_not_enforced(how: str) -> None:
    """Another step's end ties the pod to the run: one that was out of memory, or had ended before."""
    found = objects("nothing-wrong")
    run, pod = found["TaskRun"], found["Pod"]
    first = run["status"]["steps"][0]
    second, container = (
        {**first, "name": "second", "container": "step-second"},
        dict(pod["spec"]["containers"][0]),
    )
    container["name"] = "step-second"
    pod["spec"]["containers"].append(container)
    run["status"]["taskSpec"]["steps"].append({**run["status"]["taskSpec"]["steps"][0], "name": "second"})
    state = {**pod["status"]["containerStatuses"][0], "name": "step-second"}
    run["status"]["steps"].append(second)
    pod["status"]["containerStatuses"].append(state)
    assert judged(run, pod).level == Level.ENFORCED
    if how == "not reported":
        pod["status"]["containerStatuses"].pop()
        second.pop("terminated")
    elif how == "ended in the record alone":
        ended_by_tekton(second, "TaskRunCancelled")
    else:
        state["state"] = {how: {"startedAt": "2026-01-02T03:04:05Z"} if how == "running" else {"reason": "x"}}
        ended_by_tekton(second, "TaskRunTimeout")
    isolation = judged(run, pod)
    assert isolation.level == Level.UNKNOWN
    assert isolation.reason == "step/second: the run does not record that it ended by itself"
    values = {one.name: one.enforced.value for one in isolation.containers if one.kind == "step"}
    assert values["second"] == "unknown"
    assert "true" in values.values()


SECOND = {"startedAt": "2026-01-02T03:04:05Z"}
KILLED = {
    **SECOND,
    "finishedAt": "2026-01-02T03:04:08Z",
    "exitCode": 9,
    "reason": "Error",
    "containerID": "containerd://94",
}
"""What the kubelet reports of a step that Tekton's entrypoint killed (``keep-pod-on-cancel``), a second later."""


def two_steps() -> tuple[Json, Json, Json, Json]:
    """Return a run whose first step has ended, its pod, and both records of the second step."""
    found = objects("nothing-wrong")
    run, pod = found["TaskRun"], found["Pod"]
    record = {"name": "second", "container": "step-second", "imageID": run["status"]["steps"][0]["imageID"]}
    state = {
        **pod["status"]["containerStatuses"][0],
        "name": "step-second",
        "containerID": KILLED["containerID"],
    }
    run["status"]["steps"].append(record)
    run["status"]["taskSpec"]["steps"].append({**run["status"]["taskSpec"]["steps"][0], "name": "second"})
    pod["spec"]["containers"].append({**pod["spec"]["containers"][0], "name": "step-second"})
    pod["status"]["containerStatuses"].append(state)
    return run, pod, record, state


@pytest.mark.parametrize("now", [{"running": SECOND}, {"terminated": KILLED}])
@pytest.mark.parametrize("reason", ["TaskRunCancelled", "TaskRunTimeout", "StepOOM"])
def test_a_run_that_did_not_wait_for_its_step_has_one_reason_whenever_its_pod_is_read(
    reason: str, now: Json
) -> None:
    """Statuses as Tekton v1.15.0 wrote them on a node; of ``StepOOM`` the other step goes on in the record."""
    run, pod, record, state = two_steps()
    run["status"]["conditions"] = [{"type": "Succeeded", "status": "False", "reason": reason}]
    if reason == "StepOOM":
        record["running"] = SECOND
    else:
        ended_by_tekton(record, reason)
    state["state"] = now
    isolation = judged(run, pod)
    assert (isolation.level, isolation.reason) == (
        Level.UNKNOWN, "step/second: the run does not record that it ended by itself",
    )  # fmt: skip


def test_a_run_whose_pod_was_evicted_is_enforced_if_the_ends_of_all_its_steps_were_recorded() -> None:
    run, pod, record, state = two_steps()
    killed = {**KILLED, "exitCode": 143}
    record["terminated"], state["state"] = killed, {"terminated": killed}
    run["status"]["conditions"] = [{"type": "Succeeded", "status": "False", "reason": "PodEvicted"}]
    pod["status"] |= {"phase": "Failed", "reason": "Evicted"}
    isolation = judged(run, pod)
    assert (isolation.level, isolation.reason) == (Level.ENFORCED, "no network for 2 of 2 containers")
