"""Containers that no Task asked for: put into the pod by a mutating webhook, or attached to it while it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.manifests import REPORTED, enforced, images_of, step, task_run, told, told_of_run, written
from tests.testbed.node.cluster import Node
from tests.testbed.node.images import push_shell
from tests.testbed.node.injector import LABEL, injector

pytestmark = pytest.mark.server
Json = Any
PROVENANCE = "https://slsa.dev/provenance/v1"
LOOK = "if push get http://REGISTRY/v2/ >/dev/null; then printf reached; else printf none; fi"
TOLD_IN = {"results": [{"name": "net"}]}
FOREIGN = {
    "name": "proxy",
    "image": "REGISTRY/busybox:1",
    "command": ["sh", "-c", f"{LOOK}; echo; sleep 600"],
}
CASES = {
    # what the step found; level; whether the step had no network, and whether it ran as the Task asked
    "untouched": ("none", "enforced", "true", "true"),
    "container": ("none", "partly", "true", "true"),
    "init": ("none", "partly", "true", "true"),
    "variable": ("reached", "requested-only", "false", "false"),
    "image": ("none", "enforced", "true", "false"),
    "debugged": ("none", "partly", "true", "true"),
}


def changes(registry: str, other: str) -> dict[str, Any]:
    """Return what the webhook does to a pod, by the name of the case."""
    foreign = json.loads(json.dumps(FOREIGN).replace("REGISTRY", registry))
    init = {**foreign, "name": "agent", "command": ["sh", "-c", LOOK.replace("REGISTRY", registry)]}

    def place(pod: Json) -> str:
        names = [each["name"] for each in pod["spec"]["containers"]]
        return f"/spec/containers/{names.index('step-look')}"

    # the last word on the variable by which a step may keep its network
    variable = {"name": "TEKTON_RESOURCE_NAME", "value": "x"}
    return {
        "container": lambda _: [{"op": "add", "path": "/spec/containers/-", "value": foreign}],
        "init": lambda _: [{"op": "add", "path": "/spec/initContainers/-", "value": init}],
        "variable": lambda pod: [{"op": "add", "path": f"{place(pod)}/env/-", "value": variable}],
        "image": lambda pod: [{"op": "replace", "path": f"{place(pod)}/image", "value": other}],
    }


@dataclass(frozen=True, slots=True)
class Intruded:
    node: Node
    runs: dict[str, Json]
    pods: dict[str, Json]
    """As the kubelet reported them when the run was marked."""
    other: str
    """The image that was put in the place of the Task's."""

    def said(self, name: str, container: str) -> str:
        """Return what a container wrote; where Tekton has put its own in its place, what the one before wrote."""
        pod = self.pods[name]["metadata"]
        command = ("-n", pod["namespace"], "logs", pod["name"], "-c", container)
        return self.node.kubectl(*command).strip() or self.node.kubectl(*command, "--previous").strip()


@pytest.fixture(scope="module")
def intruded(node: Node) -> Intruded:
    namespace, registry = node.namespace("intruders"), node.registry.host
    other = f"{registry}/intruder@{push_shell(node.registry, 'intruder', ['INTRUDER=1'])}"
    made = changes(registry, other)
    runs = []
    for name in CASES:
        waits = "until [ -e /tmp/go ]; do sleep 0.1; done; " if name == "debugged" else ""
        run = task_run(name, step("look", f"{waits}{LOOK} > $(results.net.path)"), task=TOLD_IN)
        run["metadata"]["labels"] = {LABEL: name} if name in made else {}
        runs.append(run)
    with node.configured(REPORTED), injector(node.services, made) as asked:
        node.apply(namespace, written(*runs))
        _debug(node, namespace, "debugged")
        ended = {name: node.marked("TaskRun", namespace, name) for name in CASES}
        assert sorted(asked) == sorted(ended[name]["status"]["podName"] for name in made)
    return Intruded(node, ended, {name: node.pod_of(run) for name, run in ended.items()}, other)


def _debug(node: Node, namespace: str, name: str) -> None:
    """Attach a container to a running step, as ``kubectl debug`` does; it looks at its network and frees the step."""
    pods: list[Json] = []

    def running() -> bool:
        run = node.run("TaskRun", namespace, name)
        if not run.get("status", {}).get("podName"):
            return False
        pods[:] = [node.pod_of(run)]
        return any("running" in each["state"] for each in pods[0]["status"].get("containerStatuses", ()))

    node.wait(running, f"{name} runs")
    # the step has processes of its own below Tekton's, and a file system that this container shares with both
    script = f"{LOOK}; echo; touch /proc/1/root/tmp/go; sleep 2"
    script = script.replace("REGISTRY", node.registry.host)
    node.kubectl(
        "-n", namespace, "debug", pods[0]["metadata"]["name"], "--image", f"{node.registry.host}/busybox:1",
        "--container", "debugger", "--target", "step-look", "--profile", "general", "--quiet", "--",
        "sh", "-c", script,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_report_tells_the_network_that_the_step_found_and_whether_it_was_left_alone(
    intruded: Intruded, name: str
) -> None:
    run, node = intruded.runs[name], intruded.node
    found, level, without, observed = CASES[name]
    assert run["status"]["conditions"][0]["status"] == "True", run["status"]["conditions"]
    assert run["status"]["results"][0]["value"] == found
    judged = told_of_run(node, run, "HERMETIC_LEVEL")
    assert judged["level"] == level, judged
    assert enforced(node, run)["step/look"] == without
    facts = told(node, run, "HERMETIC_EXECUTION")["step/look"]
    assert facts["observed"]["value"] == observed, facts


@pytest.mark.parametrize(
    ("name", "kind", "container"),
    [
        ("container", "injected", "proxy"),
        ("init", "injected", "agent"),
        ("debugged", "ephemeral", "debugger"),
    ],
)
def test_a_container_that_nobody_asked_for_is_named_with_the_network_that_it_had(
    intruded: Intruded, name: str, kind: str, container: str
) -> None:
    assert intruded.said(name, container).endswith("reached")
    facts = told(intruded.node, intruded.runs[name], "HERMETIC_EXECUTION")[f"{kind}/{container}"]
    assert facts["enforced"]["value"] == "false", facts
    assert facts["observed"]["value"] == "false", facts
    assert container in told_of_run(intruded.node, intruded.runs[name], "HERMETIC_LEVEL")["reason"]


@pytest.mark.parametrize("name", CASES)
def test_the_report_names_every_container_of_the_pod_with_the_image_that_the_kubelet_ran(
    intruded: Intruded, name: str
) -> None:
    status = intruded.pods[name]["status"]
    groups = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    seen = {each["name"]: each for group in groups for each in status.get(group, ())}
    facts = told(intruded.node, intruded.runs[name], "CONTAINER_FACTS")
    named = {key.partition("/")[2]: value for key, value in facts.items()}
    assert {key.removeprefix("step-") for key in seen} == set(named)
    for key, one in seen.items():
        if key == "proxy":
            continue  # tekton has put its own image in its place
        assert named[key.removeprefix("step-")]["containerId"] == one["containerID"], key


def test_provenance_names_the_image_that_ran_in_the_place_of_the_task_s(intruded: Intruded) -> None:
    run = intruded.runs["image"]
    (ran,) = intruded.pods["image"]["status"]["containerStatuses"]
    assert ran["imageID"] == intruded.other
    definition = intruded.node.statements(run)[PROVENANCE]["predicate"]["buildDefinition"]
    assert images_of(definition) == {intruded.other}
