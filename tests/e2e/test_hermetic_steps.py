"""Hermetic steps on a real node: as root without a network and proven so, as any other user not at all."""

from __future__ import annotations

import pytest

from tests.testbed.node.chains import NAME, NAMESPACE
from tests.testbed.node.cluster import Node, mark_of

pytestmark = pytest.mark.server
SCAI = "https://in-toto.io/attestation/scai/v0.3"
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


def test_a_configuration_of_a_case_is_taken_back_after_it(node: Node) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/chains-config"
    assert node.api.request("GET", path)["data"]["artifacts.taskrun.storage"] == "oci"
    pods = node.api.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app={NAME}")["items"]
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods] == [0, 0]
