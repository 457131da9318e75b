"""``deploy/admission`` on a real node, installed and removed as docs/admission.md says: what the kubelet may start."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.cli.main import run as chains
from tests.interop.attested import run_of
from tests.testbed.node.chains import ROOT, SHIPPED
from tests.testbed.node.cluster import Node
from tests.testbed.node.images import push_shell
from tests.testbed.node.tekton import rollout

pytestmark = pytest.mark.server
Json = Any
DEPLOY = ROOT / "deploy" / "admission"
NAMESPACE = "chains-admission"
WEBHOOKS = "validatingwebhookconfiguration,mutatingwebhookconfiguration"
HELD = "chains.tekton.dev/taskrun"
# the node's registry speaks plain HTTP
REGISTRY = """
- {op: add, path: /spec/template/spec/volumes/-, value: {name: config, configMap: {name: registry-config}}}
- op: add
  path: /spec/template/spec/containers/0/volumeMounts/-
  value: {name: config, mountPath: /etc/chains-config, readOnly: true}
- op: add
  path: /spec/template/spec/containers/0/env/-
  value: {name: CHAINS_CONFIG, value: /etc/chains-config/config.json}
"""


@dataclass(frozen=True)
class Admission:
    """The server of admission on the node, with a signed and an unsigned image."""

    node: Node
    good: str
    bad: str

    def run(self, namespace: str, name: str, image: str) -> None:
        """Create a pod that ends at once. Raises :class:`CalledProcessError` for a denial."""
        self.node.kubectl("-n", namespace, "run", name, "--image", image, "--restart", "Never", "--", "true")

    def ended(self, namespace: str, name: str) -> Json:
        """Wait until the kubelet has run a pod, and return it."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        self.node.wait(
            lambda: self.node.api.request("GET", path)["status"]["phase"] == "Succeeded", f"{name} has run"
        )
        return self.node.api.request("GET", path)


@pytest.fixture(scope="module")
def admission(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admission]:
    folder = tmp_path_factory.mktemp("admission")
    images = {}
    for name in ("good", "bad"):
        digest = push_shell(node.registry, f"admission-{name}", [f"IMAGE={name}"])
        images[name] = f"{node.registry.host}/admission-{name}@{digest}"
    config = {"artifacts.taskrun.format": "slsa/v2alpha4", "storage.oci.repository.insecure": "true"}
    (folder / "config.json").write_text(json.dumps(config | {"artifacts.taskrun.storage": "oci"}))
    repository, _, digest = images["good"].partition("@")
    (folder / "run.json").write_text(json.dumps(run_of(repository, digest)))
    key = folder / "signing.key"
    assert chains(["keys", "generate", str(key)]) == 0
    words = ["attest", str(folder / "run.json"), "--config", str(folder / "config.json"), "--key", str(key)]
    assert chains([*words, "--store", "oci:"]) == 0
    try:
        _install(node, folder)
        yield Admission(node, images["good"], images["bad"])
    finally:
        _remove(node, folder)


def _install(node: Node, folder: Path) -> None:
    node.kubectl("apply", "-f", DEPLOY / "namespace.yaml")
    node.kubectl("apply", "-k", _over(node, folder / "certificates", "certificates"))
    node.kubectl("-n", NAMESPACE, "create", "job", "first", "--from=cronjob/chains-admission-certificates")
    trust = {
        "name": "tekton",
        "signer": {"keys": [{"ref": "signing.pub"}]},
        "builderId": "https://tekton.dev/chains/v2",
        "maxLevel": 2,
    }
    match = {"images": [f"{node.registry.host}/**"], "namespaces": {"matchLabels": {"images": "verified"}}}
    policy = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "production"},
        "spec": {"match": match, "mode": "enforce", "trust": [trust]},
    }
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    made = ("-n", NAMESPACE, "create", "configmap")
    node.kubectl(
        *made, "chains-policies", *(f"--from-file={folder / name}" for name in ("policy.yaml", "signing.pub"))
    )
    node.kubectl(*made, "registry-config", f"--from-file={folder / 'config.json'}")
    node.kubectl("-n", NAMESPACE, "wait", "--for=condition=complete", "job/first", "--timeout=120s")
    node.kubectl("apply", "-k", _over(node, folder / "server", "", REGISTRY))
    rollout(node.kubectl, NAMESPACE, "deployment/chains-admission")
    path = "jsonpath={.data.tls\\.crt}"
    ca = node.kubectl("-n", NAMESPACE, "get", "secret", "chains-admission-ca", "-o", path)
    assert base64.b64decode(ca).startswith(b"-----BEGIN CERTIFICATE")
    webhooks = (DEPLOY / "webhooks" / "webhooks.yaml").read_text().replace("CA_BUNDLE", ca)
    node.kubectl("apply", "-f", "-", text=webhooks)


def _over(node: Node, folder: Path, part: str, patch: str = "") -> Path:
    """Write a kustomization over a part of ``deploy/admission`` with the node's image, as a user would."""
    folder.mkdir()
    kustomization: Json = {
        "resources": [os.path.relpath(DEPLOY / part, folder)],
        "images": [{"name": SHIPPED, "newName": f"{node.registry.host}/provenance-chains"}],
    }
    if patch:
        kustomization["patches"] = [{"target": {"kind": "Deployment"}, "patch": patch}]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


def _remove(node: Node, folder: Path) -> None:
    node.kubectl("delete", WEBHOOKS, "chains-admission", "--ignore-not-found")
    for part in ("certificates", "server"):
        if (folder / part).exists():
            with suppress(subprocess.CalledProcessError):  # a part that was not applied
                node.kubectl("delete", "-k", folder / part, "--ignore-not-found", "--wait=false")


def test_the_kubelet_starts_the_signed_image_and_never_sees_the_unsigned_one(admission: Admission) -> None:
    node = admission.node
    pods = node.api.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app=chains-admission")[
        "items"
    ]
    assert len(pods) == 2
    for each in pods:
        (container,), (status,) = each["spec"]["containers"], each["status"]["containerStatuses"]
        assert (status["ready"], status["restartCount"]) == (True, 0)
        assert container["securityContext"]["readOnlyRootFilesystem"] is True

    guarded, free = node.namespace("admission-guarded"), node.namespace("admission-free")
    node.kubectl("label", "namespace", guarded, "images=verified")

    def is_refused() -> bool:
        try:
            node.kubectl("-n", guarded, "run", "probe", "--image", admission.bad, "--dry-run=server")
        except subprocess.CalledProcessError as error:
            return "denied by policy production: evidence (no_evidence)" in error.stderr
        return False

    node.wait(is_refused, "the label and the webhooks count")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        admission.run(guarded, "bad", admission.bad)
    assert "denied by policy production: evidence (no_evidence)" in caught.value.stderr
    admission.run(free, "bad", admission.bad)
    # a tag, which the mutating webhook pins
    repository, _, digest = admission.good.partition("@")
    admission.run(guarded, "good", f"{repository}:1")
    node.kubectl(
        "-n", guarded, "create", "deployment", "web", "--image", admission.good, "--", "sleep", "1000"
    )
    rollout(node.kubectl, guarded, "deployment/web")
    admission.ended(free, "bad")
    good = admission.ended(guarded, "good")
    assert good["spec"]["containers"][0]["image"] == f"{repository}:1@{digest}"
    assert good["status"]["containerStatuses"][0]["imageID"].endswith(digest)
    names = [
        each["metadata"]["name"]
        for each in node.api.request("GET", f"/api/v1/namespaces/{guarded}/pods")["items"]
    ]
    assert "bad" not in names

    told = node.kubectl(
        "-n", guarded, "get", "events", "--field-selector", "reason=ImageDenied", "-o", "json"
    )
    assert "denied by policy production" in json.loads(told)["items"][0]["message"]
    # removed in the order of docs/admission.md: everything runs again, and nothing asks a server that is gone
    node.kubectl("delete", WEBHOOKS, "chains-admission")
    node.wait(lambda: not is_refused(), "nobody is asked")
    node.kubectl("delete", "-k", DEPLOY, "--wait=false")
    admission.run(guarded, "late", admission.bad)


def test_runs_that_the_api_server_holds_are_run_by_tekton_attested_and_released(node: Node) -> None:
    overlay = ROOT / "deploy" / "overlays" / "hold-at-creation"
    namespace = node.namespace("held-at-creation")
    run = """
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {generateName: held-}
spec: {taskSpec: {steps: [{name: a, image: "REGISTRY/busybox:1", script: "true"}]}}
"""
    node.kubectl("apply", "-k", overlay)
    try:
        made: list[Json] = []

        def is_held() -> bool:
            made[:] = node.apply(namespace, run)
            return HELD in made[0]["metadata"].get("finalizers", ())

        node.wait(is_held, "runs are held")
        name = made[0]["metadata"]["name"]
        marked = node.marked("TaskRun", namespace, name)
        assert marked["status"]["conditions"][0]["status"] == "True"
        assert HELD not in marked["metadata"].get("finalizers", ())
        node.kubectl("-n", namespace, "delete", "taskrun", name, "--timeout=60s")
    finally:
        node.kubectl("delete", "-k", overlay)
