"""The forms in which manifests come: Lists, kustomize's output, exports too large for one document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chains.preflight.inventory import Inventory, from_files
from chains.tekton.workloads import UseKind
from storage.lean_json import MOST_VALUES, values_in
from tests.faults.verify.forge import DIGEST, IMAGE
from tests.unit.chains.policy.made import REF
from tests.unit.chains.preflight.made import inventory_of, pod_spec, workload

Json = Any
KUSTOMIZED = f"""\
apiVersion: v1
kind: Namespace
metadata:
  labels:
    env: prod
  name: shop
---
apiVersion: v1
data:
  image: registry.example.com/no/image-of-a-pod:1
kind: ConfigMap
metadata:
  name: settings
  namespace: shop
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
spec:
  ports:
  - port: 80
---
apiVersion: apps/v1
kind: Deployment
metadata:
  annotations:
    argocd.argoproj.io/tracking-id: shop:apps/Deployment:shop/web
    kustomize.toolkit.fluxcd.io/checksum: 0a1b
  name: web
  namespace: shop
spec:
  template:
    spec:
      containers:
      - image: {REF}
        name: web
      initContainers:
      - image: {IMAGE}:1
        name: init
        restartPolicy: Always
      volumes:
      - image:
          pullPolicy: IfNotPresent
          reference: registry.example.com/team/model:2
        name: model
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: report
  namespace: shop
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
          - image: registry.example.com/team/report:3
            name: report
"""


def read(*paths: Path) -> Inventory:
    found = Inventory()
    from_files(list(map(str, paths)), found)
    return found


def test_the_rendered_output_of_argo_cd_and_flux_is_a_stream_or_a_folder(tmp_path: Path) -> None:
    stream = tmp_path / "rendered.yaml"
    stream.write_text(KUSTOMIZED)
    folder = tmp_path / "rendered" / "shop"
    folder.mkdir(parents=True)
    for at, document in enumerate(KUSTOMIZED.split("---\n")):
        (folder / f"apps_v1_object_{at}.yaml").write_text(document)
    one, many = read(stream), read(tmp_path / "rendered")
    for found in (one, many):
        assert found.problems == []
        assert found.objects == 5
        assert {(use.name, use.container, use.image) for use in found.uses} == {
            ("Deployment/shop/web", "web", REF),
            ("Deployment/shop/web", "init", f"{IMAGE}:1"),
            ("Deployment/shop/web", "volume model", "registry.example.com/team/model:2"),
            ("CronJob/shop/report", "report", "registry.example.com/team/report:3"),
        }
        assert found.namespaces["shop"].labels == {"kubernetes.io/metadata.name": "shop", "env": "prod"}


def test_applications_and_kustomizations_name_no_image_themselves(tmp_path: Path) -> None:
    path = tmp_path / "apps.yaml"
    path.write_text(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec: {project: default}\n"
        "---\n"
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: b}\nspec: {path: x}\n"
    )
    found = read(path)
    assert (found.uses, found.problems, found.objects) == ([], [], 2)


def test_what_kustomize_has_not_rendered_is_told(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nimages: [{name: app, newTag: '2'}]\n"
    )
    (tmp_path / "pod.json").write_text(json.dumps(workload("Pod", f"{IMAGE}:1")))
    found = read(tmp_path)
    told = "is input of kustomize: name its output (kustomize build)"
    assert found.problems == [f"{tmp_path / 'kustomization.yaml'} {told}"]
    component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nmetadata: {name: c}\n"
    (tmp_path / "kustomization.yaml").rename(tmp_path / "other.txt")
    (tmp_path / "component.yaml").write_text(component)
    assert read(tmp_path).problems == [f"{tmp_path / 'component.yaml'}: Component/c {told}"]


def test_labels_of_a_namespace_count_where_all_say_the_same() -> None:
    def space(**labels: Json) -> Json:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}}

    assert inventory_of(space(env="prod")).namespaces["shop"].labels == {
        "kubernetes.io/metadata.name": "shop",
        "env": "prod",
    }
    assert inventory_of(space(env="prod"), space(env="prod")).namespaces["shop"].labels is not None
    assert inventory_of(space(env="dev"), space(env="prod")).namespaces["shop"].labels is None
    odd = inventory_of(space(env=5))
    assert odd.namespaces["shop"].labels is None
    assert odd.problems == ["Namespace/shop: labels are no mapping of texts"]
    bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    assert inventory_of(bare).namespaces["shop"].labels == {"kubernetes.io/metadata.name": "shop"}


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (
            {"kind": "deployment", "metadata": {"name": "a"}},
            "deployment/a: kind 'deployment', expected Deployment",
        ),
        ({"kind": "Pod ", "metadata": {"name": "a"}}, "Pod /a: kind 'Pod ', expected Pod"),
        ({"kind": ["Pod"], "spec": {}}, "an object without a kind, of apiVersion 'None'"),
        ({"apiVersion": "v1", "spec": {}}, "an object without a kind, of apiVersion 'v1'"),
    ],
)
def test_a_kind_that_hides_a_workload_is_told(item: Json, told: str) -> None:
    found = inventory_of(item)
    assert (found.uses, found.problems) == ([], [told])


def test_what_is_no_object_of_kubernetes_is_left_out() -> None:
    found = inventory_of({"replicas": 2, "image": "x"}, {"kind": "Podcast", "metadata": {"name": "a"}})
    assert (found.uses, found.problems) == ([], [])


def test_lists_may_stand_in_lists_and_leave_out_the_kind_of_their_items(tmp_path: Path) -> None:
    pods = {
        "apiVersion": "v1",
        "kind": "PodList",
        "items": [{"metadata": {"name": "p", "namespace": "shop"}, "spec": pod_spec(REF)}],
    }
    spaces = {
        "apiVersion": "v1",
        "kind": "NamespaceList",
        "items": [{"metadata": {"name": "shop", "labels": {"env": "prod"}}}],
    }
    whole = {"apiVersion": "v1", "kind": "List", "items": [pods, spaces, workload("Job", REF)]}
    (tmp_path / "list.json").write_text(json.dumps(whole))
    (tmp_path / "array.json").write_text(json.dumps([workload("DaemonSet", REF)]))
    found = read(tmp_path)
    assert {use.name for use in found.uses} == {"Pod/shop/p", "Job/shop/web", "DaemonSet/shop/web"}
    assert found.namespaces["shop"].labels == {"kubernetes.io/metadata.name": "shop", "env": "prod"}
    assert found.problems == []
    assert {use.workload.api_version for use in found.uses if use.workload.kind == "Pod"} == {"v1"}


def test_a_list_with_more_values_than_one_document_may_have_is_read(tmp_path: Path) -> None:
    labels = {f"label-{at}": "x" for at in range(200)}
    items = []
    for at in range(1100):
        item = workload("Pod", REF, name=f"p{at}")
        item["metadata"]["labels"] = labels
        items.append(item)
    data = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()
    assert values_in(data) > MOST_VALUES
    (tmp_path / "pods.json").write_bytes(data)
    found = read(tmp_path / "pods.json")
    assert (len(found.uses), found.problems) == (1100, [])


def test_init_and_ephemeral_containers_and_volumes_count_where_they_run() -> None:
    item = workload("Pod", REF)
    item["spec"]["initContainers"] = [{"name": "i", "image": "r.example.com/i:1"}]
    item["spec"]["ephemeralContainers"] = [{"name": "e", "image": "r.example.com/e:1"}]
    item["spec"]["volumes"] = [{"name": "v", "image": {"reference": "r.example.com/v:1"}}]
    item["status"] = {
        "initContainerStatuses": [{"name": "i", "imageID": f"r.example.com/i@{DIGEST}"}],
        "ephemeralContainerStatuses": [
            {"name": "e", "imageID": f"docker-pullable://r.example.com/e@{DIGEST}"}
        ],
    }
    found = inventory_of(item)
    assert {(use.container, use.image, use.kind) for use in found.uses if use.container != "c0"} == {
        ("i", "r.example.com/i:1", UseKind.DESIRED),
        ("e", "r.example.com/e:1", UseKind.DESIRED),
        ("volume v", "r.example.com/v:1", UseKind.DESIRED),
        ("i", f"r.example.com/i@{DIGEST}", UseKind.RUNNING),
        ("e", f"r.example.com/e@{DIGEST}", UseKind.RUNNING),
    }


def test_models_in_registries_that_kserve_would_mount_are_images() -> None:
    predictor = {
        "model": {"modelFormat": {"name": "sklearn"}, "storageUri": "oci://r.example.com/model:1"},
        "storageUris": [{"uri": "oci+native://r.example.com/adapter:2"}, {"uri": "s3://models/x"}, 7],
        "containers": [{"name": "kserve-container", "image": "r.example.com/server:1"}, {"name": "no-image"}],
        "volumes": [{"name": "v", "image": {"reference": "r.example.com/v:1"}}],
        "workerSpec": {"containers": [{"name": "worker", "image": "r.example.com/worker:1"}]},
    }
    served = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "churn", "namespace": "ml"},
        "spec": {
            "predictor": predictor,
            "transformer": {"containers": [{"name": "t", "image": "r.example.com/t:1"}]},
        },
    }
    language = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": "chat", "namespace": "ml"},
        "spec": {
            "model": {"uri": "oci://r.example.com/llm:1"},
            "template": {"containers": [{"name": "main", "image": "r.example.com/vllm:1"}]},
            "prefill": {"template": {"containers": [{"name": "main", "image": "r.example.com/prefill:1"}]}},
        },
    }
    found = inventory_of(served, language)
    assert found.problems == []
    assert {(use.name, use.container, use.image) for use in found.uses} == {
        ("InferenceService/ml/churn", "predictor model", "r.example.com/model:1"),
        ("InferenceService/ml/churn", "predictor storageUris", "r.example.com/adapter:2"),
        ("InferenceService/ml/churn", "kserve-container", "r.example.com/server:1"),
        ("InferenceService/ml/churn", "volume v", "r.example.com/v:1"),
        ("InferenceService/ml/churn", "worker", "r.example.com/worker:1"),
        ("InferenceService/ml/churn", "t", "r.example.com/t:1"),
        ("LLMInferenceService/ml/chat", "model", "r.example.com/llm:1"),
        ("LLMInferenceService/ml/chat", "main", "r.example.com/vllm:1"),
        ("LLMInferenceService/ml/chat", "main", "r.example.com/prefill:1"),
    }


@pytest.mark.parametrize("spec", [None, "x", [], {"predictor": 7}, {"predictor": {"containers": "x"}}])
def test_odd_objects_of_kserve_are_told_or_name_nothing(spec: Any) -> None:
    kind = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    found = inventory_of({**kind, "metadata": {"name": "odd"}, "spec": spec})
    assert found.uses == []
    assert bool(found.problems) is (spec is not None)
    # another project's kind of that name is not KServe's
    assert inventory_of({**kind, "apiVersion": "example.com/v1", "spec": spec}).problems == []
