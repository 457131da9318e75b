"""The shipped image under the shipped manifests becomes ready on a real node, attests, and can be verified."""

from __future__ import annotations

import io
import json
import tarfile
from base64 import b64decode
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from tests.e2e.manifests import images_of
from tests.testbed.cosign import Cosign
from tests.testbed.node.chains import NAME, NAMESPACE, REPLICAS
from tests.testbed.node.cluster import Node, mark_of
from tests.testbed.node.shipped_image import shipped_image

pytestmark = pytest.mark.server
BUILD = """
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: build}
spec:
  params: [{name: image, value: "REGISTRY/team/app:v1"}]
  taskSpec:
    params: [{name: image}]
    results: [{name: IMAGE_URL}, {name: IMAGE_DIGEST}]
    steps:
    - name: compile
      image: REGISTRY/busybox:1
      workingDir: /workspace
      script: |
        #!/bin/sh
        mkdir srv && echo "built by $(hostname)" > srv/app.txt && tar -cf layer.tar srv
    - name: push
      image: REGISTRY/crane:1
      workingDir: /workspace
      script: |
        #!/bin/sh -e
        pushed=$(crane append --base REGISTRY/busybox:1 --new_layer layer.tar --new_tag $(params.image))
        printf $(params.image) > $(results.IMAGE_URL.path)
        printf ${pushed#*@} > $(results.IMAGE_DIGEST.path)
"""


def test_the_node_is_up_in_less_than_two_minutes(node: Node) -> None:
    print(f"the node with Tekton and the controller was ready after {node.seconds:.0f} s")
    assert node.seconds < 120


def test_both_pods_run_as_they_are_shipped_and_nothing_was_added(node: Node) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    pods = node.api.request("GET", f"{path}?labelSelector=app={NAME}")["items"]
    assert len(pods) == REPLICAS
    (shipped,) = json.loads((shipped_image() / "index.json").read_bytes())["manifests"]
    for pod in pods:
        (container,), (status,) = pod["spec"]["containers"], pod["status"]["containerStatuses"]
        assert status["ready"]
        assert status["restartCount"] == 0
        assert status["imageID"].endswith(f"@{shipped['digest']}")
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["spec"]["securityContext"]["runAsUser"] == 65532
        assert "hostAliases" not in pod["spec"]
        assert {each["name"] for each in container["env"]}.isdisjoint({"USER", "LOGNAME"})


def test_the_doctor_finds_nothing_wrong_in_the_pod(node: Node) -> None:
    command = ["exec", f"{NAME}-0", "--", "chains", "doctor", "--output", "json"]
    report = json.loads(node.kubectl("-n", NAMESPACE, *command))
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert "failed" not in states.values(), report["checks"]
    assert states["cluster"] == states["rights on runs"] == states["key"] == "ok"
    details = {check["name"]: check["detail"] for check in report["checks"] if check["state"] == "ok"}
    assert details["user"] == "uid 65532, chains"
    assert details["home folder"] == details["temporary files"] == "/tmp"
    assert details["name server"] == "no name needs to be resolved"


def test_an_image_that_a_task_run_builds_and_pushes_is_attested_and_cosign_verifies_it(
    node: Node, cosign: Cosign, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = node.namespace("shipped-build")
    node.apply(namespace, BUILD)
    run = node.marked("TaskRun", namespace, "build")

    assert mark_of(run) == "true", run["metadata"]["annotations"]
    results = {each["name"]: each["value"] for each in run["status"]["results"]}
    digest = results["IMAGE_DIGEST"]
    manifest = node.registry.manifest("team/app", digest)
    assert node.registry.manifest("team/app", "v1") == manifest
    layer = node.registry.blob("team/app", json.loads(manifest)["layers"][-1]["digest"])
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        built = archive.extractfile("srv/app.txt")
        assert built is not None
        assert built.read().decode() == f"built by {run['status']['podName']}\n"
    image = f"{node.registry.host}/team/app@{digest}"

    key = ["--key", node.public_key, "--insecure-ignore-tlog=true"]
    direct = {"NO_PROXY": "*"}
    told = cosign("verify-attestation", *key, "--type", "slsaprovenance1", image, env=direct).stdout
    statement = json.loads(b64decode(json.loads(told.splitlines()[0])["payload"]))
    assert statement["subject"] == [
        {"name": f"{node.registry.host}/team/app", "digest": {"sha256": digest.removeprefix("sha256:")}}
    ]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["runSpec"]["params"] == run["spec"]["params"]
    # what the kubelet says that it ran
    ran = {each["imageID"] for each in node.pod_of(run)["status"]["containerStatuses"]}
    assert {name.partition("@")[0] for name in ran} == {
        f"{node.registry.host}/{name}" for name in ("busybox", "crane")
    }
    assert images_of(definition) == ran
    cosign("verify", *key, image, env=direct)
    cosign("verify", *key, "--new-bundle-format=false", image, env=direct)

    config = tmp_path / "config.json"
    config.write_text(json.dumps({"storage.oci.repository.insecure": "true"}))
    command = ["verify", image, "--key", str(node.public_key), "--store", "oci:", "--config", str(config)]
    assert chains(command) == 0
    assert "VERIFIED" in capsys.readouterr().out
