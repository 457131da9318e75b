"""Hermetic steps on a real node: as root without a network and proven so, as any other user not at all."""

from __future__ import annotations

import pytest

from tests.e2e.manifests import (
    REPORTED,
    SCAI,
    enforced,
    pod_template,
    step,
    task_run,
    told,
    told_of_run,
    written,
)
from tests.testbed.node.chains import NAME, NAMESPACE
from tests.testbed.node.cluster import Node, mark_of
from tests.testbed.node.images import push_shell

pytestmark = pytest.mark.server
HERMETIC = """
apiVersion: tekton.dev/v1
kind: TaskRun
metadata:
  name: as-USER
  annotations: {experimental.tekton.dev/execution-mode: hermetic}
spec:
  podTemplate: {env: [{name: TEKTON_RESOURCE_NAME, value: ""}]}
  taskSpec:
    results: [{name: net}]
    steps:
    - name: look
      image: REGISTRY/busybox:1
      securityContext: {runAsUser: USER}
      script: |
        #!/bin/sh
        if push get http://REGISTRY/v2/; then printf reached; else printf none; fi > $(results.net.path)
"""


def test_a_hermetic_step_has_no_network_as_root_and_cannot_start_as_another_user(node: Node) -> None:
    namespace = node.namespace("hermetic-steps")
    with node.configured({"artifacts.taskrun.storage": "oci,tekton"}):
        for user in ("0", "65532"):
            node.apply(namespace, HERMETIC.replace("USER", user))
        root = node.marked("TaskRun", namespace, "as-0")
        other = node.marked("TaskRun", namespace, "as-65532")

    assert root["status"]["conditions"][0]["status"] == "True"
    assert [each["value"] for each in root["status"]["results"]] == ["none"]
    assert mark_of(root) == "true"
    report = node.statements(root)[SCAI]
    levels = [
        each["conditions"]
        for each in report["predicate"]["attributes"]
        if each["attribute"] == "HERMETIC_LEVEL"
    ]
    assert [each["level"] for each in levels] == ["enforced"], levels

    assert other["status"]["conditions"][0]["status"] == "False"
    pod = other["status"]["podName"]
    said = node.kubectl("-n", namespace, "logs", pod, "-c", "step-look")
    assert "fork/exec" in said
    assert "operation not permitted" in said


LOOK = "if push get http://REGISTRY/v2/ >/dev/null; then printf reached; else printf none; fi"
NOT_HERMETIC = {"metadata": {"name": "not-hermetic"}}
CASES = {
    # what the step found, the run's level, and whether the step was without a network
    "not-hermetic": ("reached", "not-requested", "false"),
    "hermetic": ("none", "enforced", "true"),
    "defeated-by-the-pod": ("reached", "requested-only", "false"),
    "defeated-by-the-image": ("reached", "requested-only", "false"),
    "left-to-the-image": ("none", "enforced", "true"),
    "beside-a-sidecar": ("none", "partly", "true"),
}


def test_what_the_report_says_of_the_network_is_what_the_step_found(node: Node) -> None:
    """In both directions; with ``execution.image-environments``, so that nothing has to be unknown."""
    namespace = node.namespace("network")
    push_shell(node.registry, "defeating", ["TEKTON_RESOURCE_NAME=x"])
    told_in = {"results": [{"name": "net"}]}
    look, unset = step("look", f"{LOOK} > $(results.net.path)"), {"podTemplate": {}}
    runs = [
        task_run("not-hermetic", look, task=told_in) | NOT_HERMETIC,
        task_run("hermetic", look, task=told_in),
        task_run("defeated-by-the-pod", look, task=told_in, podTemplate=pod_template("x")),
        task_run("defeated-by-the-image", {**look, "image": "REGISTRY/defeating:1"}, task=told_in, **unset),
        task_run("left-to-the-image", look, task=told_in, **unset),
        task_run(
            "beside-a-sidecar", look, task=told_in | {"sidecars": [step("side", f"{LOOK}; echo; sleep 600")]}
        ),
    ]
    assert {run["metadata"]["name"] for run in runs} == CASES.keys()
    with node.configured({**REPORTED, "execution.image-environments": "true"}):
        node.apply(namespace, written(*runs))
        ended = {name: node.marked("TaskRun", namespace, name) for name in CASES}

    found = {
        name: (
            run["status"]["results"][0]["value"],
            told_of_run(node, run, "HERMETIC_LEVEL")["level"],
            enforced(node, run)["step/look"],
        )
        for name, run in ended.items()
    }
    assert found == CASES, {name: told(node, run, "HERMETIC_LEVEL") for name, run in ended.items()}
    beside = ended["beside-a-sidecar"]
    assert enforced(node, beside)["sidecar/side"] == "false"
    pod = beside["status"]["podName"]
    assert node.kubectl("-n", namespace, "logs", pod, "-c", "sidecar-side") == "reached\n"


def test_a_configuration_of_a_case_is_taken_back_after_it(node: Node) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/chains-config"
    assert node.api.request("GET", path)["data"]["artifacts.taskrun.storage"] == "oci"
    pods = node.api.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app={NAME}")["items"]
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods] == [0, 0]
