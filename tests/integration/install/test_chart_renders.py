"""The chart renders the objects that kustomize builds from the same manifests, and refuses what makes no sense."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.testbed.commands import Command
from tests.testbed.kustomize import identity

pytestmark = pytest.mark.server
Json = Any
Key = tuple[str, str, str]
DEPLOY = Path(__file__).parents[3] / "deploy"
HELM = DEPLOY / "helm"
CHART = HELM / "provenance-chains"
"""The chart of the controller."""
KEEP, WRITTEN, HOOK = "helm.sh/resource-policy", "provenance.chains/written-by-chart", "helm.sh/hook"
HOOKS = {"tekton-chains-uninstall", "tekton-chains-doctor"}

CONTROLLER, ADMISSION, WEB = "provenance-chains", "chains-admission", "chains-web"
SYSTEMS = {CONTROLLER: "tekton-chains", ADMISSION: ADMISSION, WEB: WEB}
"""The namespace of each chart's manifests."""
OVERLAYS = {
    **{
        name: (CONTROLLER, [f"overlays/{name}"], ["--values", str(HELM / "values" / f"{name}.yaml")])
        for name in ("s3", "kms", "keyless", "index", "ledger")
    },
    "from-tekton-chains": (CONTROLLER, ["overlays/from-tekton-chains"], ["--set", "config.create=false"]),
    "namespaced": (CONTROLLER, ["overlays/namespaced"], ["--set", "namespaces={ci}"]),
    "tenant-credentials": (
        CONTROLLER,
        ["base", "overlays/tenant-credentials"],
        ["--set", "tenantCredentials.namespaces={ci}"],
    ),
    "hold-at-creation": (
        CONTROLLER,
        ["base", "overlays/hold-at-creation"],
        ["--set", "holdAtCreation=true"],
    ),
    "monitoring": (
        CONTROLLER,
        ["base", "overlays/monitoring"],
        ["--set", "monitoring.serviceMonitor=true,monitoring.alerts=true,monitoring.dashboard=true"],
    ),
    "admission-pull-secrets": (
        ADMISSION,
        ["overlays/admission-pull-secrets", "admission/certificates"],
        ["--set", "pullSecrets.namespaces={shop},pullSecrets.secrets={registry}"],
    ),
    "admission-recheck": (
        ADMISSION,
        ["overlays/admission-recheck", "admission/certificates"],
        ["--set", "recheck.enabled=true"],
    ),
    "admission-recheck-reports": (
        ADMISSION,
        ["overlays/admission-recheck-reports", "admission/certificates"],
        ["--set", "recheck.enabled=true,recheck.reports=true"],
    ),
    "admission-monitoring": (
        ADMISSION,
        ["admission", "admission/certificates", "overlays/admission-monitoring"],
        ["--set", "monitoring.serviceMonitor=true,monitoring.alerts=true,monitoring.dashboard=true"],
    ),
    "web-monitoring": (
        WEB,
        ["web", "overlays/web-monitoring"],
        ["--set", "monitoring.serviceMonitor=true,monitoring.alerts=true,monitoring.dashboard=true"],
    ),
}
"""Each overlay: the folders of kustomize and the values of a chart that mean the same."""
CASES = {
    "base": (CONTROLLER, ["base"], []),
    **OVERLAYS,
    "admission": (ADMISSION, ["admission"], ["--set", "certificates=none"]),
    "admission-certificates": (ADMISSION, ["admission", "admission/certificates"], []),
    "admission-webhooks": (
        ADMISSION,
        ["admission", "admission/certificates", "admission/webhooks"],
        ["--set", "webhooks.enabled=true,webhooks.caBundle=Q0E="],
    ),
    "admission-cert-manager": (
        ADMISSION,
        ["admission", "admission/cert-manager", "admission/cert-manager/webhooks"],
        ["--set", "certificates=cert-manager,webhooks.enabled=true"],
    ),
    "web": (WEB, ["web"], []),
}


def template(helm: Command, *options: str, chart: str = CONTROLLER) -> list[Json]:
    """Return the documents that a chart renders for the namespace of its manifests."""
    text = helm("template", "chains", HELM / chart, "--namespace", SYSTEMS[chart], *options).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def objects(documents: Sequence[Json]) -> dict[Key, Json]:
    """Return documents by identity, without hooks and without Helm's own annotations."""
    found = {}
    for document in documents:
        metadata = document["metadata"]
        annotations = metadata.get("annotations", {})
        if HOOK in annotations:
            assert metadata["name"] in HOOKS
            continue
        for name in (KEEP, WRITTEN):
            annotations.pop(name, None)
        if not annotations:
            metadata.pop("annotations", None)
        assert identity(document) not in found
        found[identity(document)] = _read(document)
    return found


def _read(document: Json) -> Json:
    """Return a document in which the file of who may log in is read, since its text may be written in two ways."""
    data = document.get("data", {})
    if "access.yaml" in data:
        data["access.yaml"] = yaml.safe_load(data["access.yaml"])
    return document


def built(kustomize: Command, folders: Sequence[str]) -> dict[Key, Json]:
    text = "\n---\n".join(kustomize("kustomize", DEPLOY / folder).stdout for folder in folders)
    documents = yaml.safe_load_all(text.replace("CA_BUNDLE", "Q0E="))
    return {identity(document): _read(document) for document in documents if document}


@pytest.mark.parametrize("case", CASES)
def test_the_chart_renders_what_kustomize_builds(helm: Command, kustomize: Command, case: str) -> None:
    chart, folders, options = CASES[case]
    theirs = built(kustomize, folders)
    assert objects(template(helm, *options, "--set", "namespace.create=true", chart=chart)) == theirs
    without = objects(template(helm, *options, chart=chart))
    assert set(theirs) - set(without) == {("Namespace", "", SYSTEMS[chart])}


def test_every_overlay_is_among_them() -> None:
    assert {path.name for path in (DEPLOY / "overlays").iterdir()} == set(OVERLAYS)


def test_the_charts_pass_the_strict_linter_with_every_set_of_values(helm: Command) -> None:
    for chart, _, options in CASES.values():
        helm("lint", "--strict", HELM / chart, "--namespace", SYSTEMS[chart], *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("image.digest=sha256:1", "image/digest"),
        ("image.repository=https://registry.example.com/x", "image/repository"),
        (r"config.data.transparency\.enabled=true", "config/data/transparency.enabled"),
        ("ledger.enabled=true", "ledger/origin"),
        ("replicas=0", "replicas"),
        ("namespaces={Upper}", "namespaces/0"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_it(helm: Command, options: str, message: str) -> None:
    done = helm("template", "chains", CHART, "--set", options, check=False)
    assert done.returncode != 0
    assert message in done.stderr


def test_what_users_set_is_where_kubernetes_looks(helm: Command) -> None:
    given = {
        "image": {
            "repository": "registry.example.org/chains",
            "digest": "sha256:" + "ab" * 32,
            "pullPolicy": "Always",
            "pullSecrets": [{"name": "pull"}],
        },
        "replicas": 7,
        "secrets": {"signing": "our-key", "registry": "our-registry"},
        "config": {"data": {"artifacts.oci.storage": None, "builder.id": "https://ci.example.com"}},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
        "resources": {"limits": {"memory": "1Gi"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [],
        "priorityClassName": "important",
        "podLabels": {"azure.workload.identity/use": "true"},
        "podAnnotations": {"team": "a"},
        "extraArgs": ["--workers=8"],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraEnvFrom": [{"secretRef": {"name": "cloud"}}],
        "namespaces": ["ci", "cd"],
        "uninstall": {"releaseRuns": False},
        "protectMarks": False,
        "networkPolicy": {"enabled": False},
    }
    found = objects(template(helm, "--values", str(written(helm.home / "given.yaml", given))))
    workload = next(each for (kind, *_), each in found.items() if kind == "StatefulSet")
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert workload["spec"]["replicas"] == 7
    assert container["image"] == "registry.example.org/chains@sha256:" + "ab" * 32
    assert container["imagePullPolicy"] == "Always"
    assert container["args"] == ["controller", "--namespace=ci,cd", "--workers=8"]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["CHAINS_REPLICAS"] == "7"
    assert environment["HTTPS_PROXY"] == "http://proxy:3128"
    assert container["envFrom"] == given["extraEnvFrom"]
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each] == [
        "our-key",
        "our-registry",
    ]
    for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert pod[name] == given[name]
    assert "topologySpreadConstraints" not in pod
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    metadata = workload["spec"]["template"]["metadata"]
    assert metadata["labels"]["azure.workload.identity/use"] == "true"
    assert metadata["annotations"]["team"] == "a"
    data = found["ConfigMap", "tekton-chains", "chains-config"]["data"]
    assert "artifacts.oci.storage" not in data
    assert data["builder.id"] == "https://ci.example.com"
    role = found["Role", "tekton-chains", "tekton-chains-controller"]
    assert len(role["rules"][-1]["resourceNames"]) == 7
    assert {key[1] for key in found if key[0] == "Role" and key[2] == "tekton-chains-controller-runs"} == {
        "ci",
        "cd",
    }
    kinds = {kind for kind, *_ in found}
    assert not {"ClusterRole", "ValidatingAdmissionPolicy", "NetworkPolicy"} & kinds


def written(path: Path, content: Json) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_namespaced_release_holds_and_releases_runs_only_there(helm: Command) -> None:
    documents = template(helm, "--set", "namespaces={ci,cd},holdAtCreation=true")
    binding = next(each for each in documents if each["kind"] == "MutatingAdmissionPolicyBinding")
    (chosen,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert chosen["values"] == ["ci", "cd"]
    hooks = [each for each in documents if each["metadata"]["name"] == "tekton-chains-uninstall"]
    assert {each["kind"] for each in hooks} == {"ServiceAccount", "Role", "RoleBinding", "Job"}
    assert {each["metadata"].get("namespace") for each in hooks if each["kind"] == "Role"} == {"ci", "cd"}
    job = next(each for each in hooks if each["kind"] == "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "--namespace=ci,cd"


def test_the_hook_of_the_uninstallation_is_what_kustomize_builds(helm: Command, kustomize: Command) -> None:
    theirs = built(kustomize, ["uninstall"])
    ours = {}
    for document in template(helm):
        if document["metadata"]["name"] == "tekton-chains-uninstall":
            annotations = document["metadata"].pop("annotations")
            assert annotations[HOOK] == "post-delete"
            ours[identity(document)] = document
    assert ours == theirs


def test_a_package_of_the_chart_has_its_templates_and_no_generator(helm: Command, tmp_path: Path) -> None:
    helm("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.iterdir()
    assert package.name.startswith("provenance-chains-")
    shown = helm("template", "chains", package, "--namespace", "tekton-chains").stdout
    assert objects([each for each in yaml.safe_load_all(shown) if each]) == objects(template(helm))


def test_the_chart_of_admission_is_for_one_namespace_and_its_webhooks_need_a_ca(helm: Command) -> None:
    chart = HELM / ADMISSION
    elsewhere = helm("template", "x", chart, "--namespace", "other", check=False)
    assert "the namespace is other: install this chart with --namespace chains-admission" in elsewhere.stderr
    without = helm(
        "template", "x", chart, "--namespace", ADMISSION, "--set", "webhooks.enabled=true", check=False
    )
    assert "there is no Secret chains-admission-ca" in without.stderr
    reports = helm(
        "template", "x", chart, "--namespace", ADMISSION, "--set", "recheck.reports=true", check=False
    )
    assert "recheck/enabled" in reports.stderr
