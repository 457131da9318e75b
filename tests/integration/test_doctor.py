"""``chains doctor`` against a real API server with RBAC, and against real registries."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.cli.main import run as chains
from tests.interop.attested import slug
from tests.testbed import servers
from tests.testbed.certificates import make_certificates
from tests.testbed.cluster import ApiServer, free_ports
from tests.testbed.images import Registry

pytestmark = pytest.mark.server
Json = Any
RBAC = "/apis/rbac.authorization.k8s.io/v1"
POLICIES = "/apis/admissionregistration.k8s.io/v1"
ROLES = Path(__file__).parents[2] / "deploy" / "base" / "roles.yaml"
NEEDED = [rule for role in yaml.safe_load_all(ROLES.read_text()) for rule in role["rules"]]
"""What deploy grants: where the doctor finds a right missing, either of them is wrong."""
RUNS = {"apiGroups": ["tekton.dev"], "resources": ["taskruns", "pipelineruns"]}
OPTIONAL = [
    {"apiGroups": [""], "resources": ["pods", "serviceaccounts", "secrets"], "verbs": ["get"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list"]},
]
WRONG = "wr0ng-pa55word"


@pytest.fixture(autouse=True)
def _keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    Path("keys").mkdir()
    assert chains(["keys", "generate", "keys/x509.pem"]) == 0
    capsys.readouterr()


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Json]]:
    """Return the exit code and the checks by name."""
    code = chains(["doctor", "--signing-secrets", "keys", "--output", "json", *arguments])
    text = capsys.readouterr().out
    assert servers.PASSWORD not in text
    assert WRONG not in text
    return code, {check["name"]: check for check in json.loads(text)["checks"]}


def examine(
    capsys: pytest.CaptureFixture[str], registry: Registry, *images: str, **data: str
) -> tuple[int, dict[str, Json]]:
    """Examine a registry, without a cluster."""
    config = {f"artifacts.{kind}.storage": "oci" for kind in ("taskrun", "pipelinerun", "oci")}
    config["storage.oci.encoding-format"] = "both"
    if registry.ca_file and "ca" not in data:
        config["storage.oci.ca-file"] = str(registry.ca_file)
    config |= {"storage.oci.ca-file": data["ca"]} if "ca" in data else {}
    Path("config.json").write_text(json.dumps(config))
    named = [word for image in images for word in ("--image", f"{registry.host}/{image}")]
    return doctor(capsys, "--config", "config.json", *named)


def log_in(registry: Registry, password: str) -> None:
    Path("docker").mkdir()
    auth = base64.b64encode(f"{servers.USERNAME}:{password}".encode()).decode()
    Path("docker/config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))


def sessions(registry: Registry, repository: str) -> list[Path]:
    """Return the upload sessions that the reference registry keeps open.

    A cancelled one leaves a folder with the state of a hash there, which its own purge takes away.
    """
    folder = registry.log.parent / "images/docker/registry/v2/repositories" / repository / "_uploads"
    return [path for path in folder.glob("*/*") if path.name in {"data", "startedat"}]


@pytest.mark.parametrize(
    "fixture", ["referrers_registry", "plain_registry", "secured_registry", "token_registry"]
)
def test_a_registry_that_takes_pushes_is_tried_and_left_as_it_was(
    fixture: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    registry: Registry = request.getfixturevalue(fixture)
    if registry.password:
        log_in(registry, registry.password)
    name = slug(request)
    registry.push_image(name, tag="v1")
    code, found = examine(capsys, registry, name, f"{name}-empty")
    assert code == 0, found
    assert found[f"store oci: referrers of {registry.host}/{name}-empty"]["state"] == "skipped"
    repository = f"{registry.host}/{name}"
    reach, push = found[f"store oci: reach {registry.host}"], found[f"store oci: push to {repository}"]
    assert reach["state"] == ("ok" if registry.tls else "warning")
    assert push["state"] == "ok"
    credentials = found[f"store oci: credentials for {repository}"]
    assert credentials["state"] == "ok"
    if registry.password:
        assert "user robot" in credentials["detail"]
        assert "docker/config.json" in credentials["detail"]
    else:
        assert "no docker config.json; the registry asked for none" in credentials["detail"]
    referrers = found[f"store oci: referrers of {repository}"]["detail"]
    assert ("has the referrers API" in referrers) == (fixture == "referrers_registry")
    # what takes DELETE has no session left, and says so; the others say that they cannot
    if fixture in {"plain_registry", "secured_registry"}:
        assert "begun and cancelled" in push["detail"]
    if fixture == "referrers_registry":
        assert "cannot cancel" in push["detail"]
    if "begun and cancelled" in push["detail"]:
        assert sessions(registry, name) == []
    assert registry.tags(name) == ["v1"]
    assert registry.tags(f"{name}-empty") == []


@pytest.mark.parametrize("fixture", ["secured_registry", "token_registry"])
def test_no_credentials_and_wrong_ones_fail_with_the_next_step(
    fixture: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    registry: Registry = request.getfixturevalue(fixture)
    repository = f"{registry.host}/{slug(request)}"
    code, found = examine(capsys, registry, slug(request))
    push = found[f"store oci: push to {repository}"]
    assert code == 1
    assert found[f"store oci: credentials for {repository}"]["state"] == "warning"
    assert push["state"] == "failed"
    assert "DOCKER_CONFIG" in push["next_step"]
    log_in(registry, WRONG)
    code, found = examine(capsys, registry, slug(request))
    push = found[f"store oci: push to {repository}"]
    assert (code, push["state"]) == (1, "failed")
    assert "the entry" in push["detail"]
    assert push["next_step"]


def test_a_registry_behind_another_ca_fails(
    secured_registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_certificates(tmp_path / "other").ca_file
    code, found = examine(capsys, secured_registry, "a", ca=str(other))
    reach = found[f"store oci: reach {secured_registry.host}"]
    assert (code, reach["state"]) == (1, "failed")
    assert "is not trusted" in reach["detail"]
    assert "storage.oci.ca-file" in reach["next_step"]


def test_a_registry_that_is_read_only_or_gone_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with servers.distribution(tmp_path / "registry", read_only=True) as registry:
        code, found = examine(capsys, registry, "a")
    push = found[f"store oci: push to {registry.host}/a"]
    assert (code, push["state"]) == (1, "failed")
    assert "read-only" in push["next_step"]
    code, found = examine(capsys, registry, "a")
    reach = found[f"store oci: reach {registry.host}"]
    assert (code, reach["state"]) == (1, "failed")
    assert "cannot connect" in reach["detail"]


class Account:
    """A service account of a namespace of its own, with the rules given, as the controller has it."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server, self.namespace = server, server.create_namespace(namespace)
        self.token = server.service_account_token(namespace, "tekton-chains-controller")
        self.configure({f"artifacts.{kind}.storage": "tekton" for kind in ("taskrun", "pipelinerun", "oci")})

    def configure(self, data: dict[str, str]) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/configmaps"
        self.server.request("POST", path, {"metadata": {"name": "chains-config"}, "data": data})

    def allow(self, rules: list[Json], name: str = "controller") -> None:
        path, about = f"{RBAC}/namespaces/{self.namespace}", {"metadata": {"name": name}}
        self.server.request("POST", f"{path}/roles", {**about, "rules": rules})
        account = {"kind": "ServiceAccount", "name": "tekton-chains-controller", "namespace": self.namespace}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        self.server.request("POST", f"{path}/rolebindings", {**about, "roleRef": ref, "subjects": [account]})

    def examine(
        self, capsys: pytest.CaptureFixture[str], token: str = "", *more: str
    ) -> tuple[int, dict[str, Json]]:
        kubeconfig = self.server.kubeconfig(Path.cwd(), token or self.token)
        where = ["--namespace", self.namespace, "--system-namespace", self.namespace]
        return doctor(capsys, "--kubeconfig", str(kubeconfig), *where, *more)


@pytest.fixture
def account(api_server: ApiServer, request: pytest.FixtureRequest) -> Account:
    return Account(api_server, slug(request))


def test_an_account_with_the_rights_it_needs_passes(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.allow(NEEDED)
    code, found = account.examine(capsys)
    states = {name: check["state"] for name, check in found.items()}
    assert code == 0, found
    assert found["account"]["detail"] == f"system:serviceaccount:{account.namespace}:tekton-chains-controller"
    for name in ("cluster", "clock", "config map", "account", "rights on runs", "right to write events", "tekton", "key",
                 "right to read the configuration", "secrets of the whole cluster", "status of runs"):  # fmt: skip
        assert states[name] == "ok", found[name]
    # what is optional is named with what it costs
    for name in ("pods", "network policies", "leases"):
        assert found[f"rights on {name}"]["state"] == "ok", found[f"rights on {name}"]
    assert states["rights on tenants' credentials"] == "warning"
    assert "unknown: GET" in found["admission policy"]["detail"]
    account.allow(OPTIONAL, "optional")
    code, found = account.examine(capsys)
    for name in ("pods", "network policies", "leases", "tenants' credentials"):
        assert found[f"rights on {name}"]["state"] == "ok"


def test_each_missing_right_is_named(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    taskruns = {**RUNS, "resources": ["taskruns"], "verbs": ["patch"]}
    account.allow([{**RUNS, "verbs": ["get", "list", "watch"]}, taskruns])
    code, found = account.examine(capsys)
    assert code == 1
    detail = found["rights on runs"]["detail"]
    assert detail == f"may not patch pipelineruns in {account.namespace}: no run is attested"
    assert found["right to write events"]["state"] == "failed"
    assert found["right to read the configuration"]["state"] == "failed"
    assert found["config map"]["state"] == "failed"
    assert "deploy/base" in found["rights on runs"]["next_step"]
    # the key is tried although the configuration could not be read
    assert found["key"]["state"] == "ok"
    assert found["stores"]["state"] == "skipped"


def test_too_many_rights_are_a_warning(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = account.examine(capsys, account.server.token)
    assert code == 0, found
    assert "get secrets in all namespaces" in found["secrets of the whole cluster"]["detail"]
    assert "patch taskruns/status" in found["status of runs"]["detail"]
    assert found["account"]["state"] == "warning"


def test_a_wrong_token_and_a_server_that_is_gone_fail(
    account: Account, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, found = account.examine(capsys, WRONG)
    assert (code, found["cluster"]["state"]) == (1, "failed")
    assert "401" in found["cluster"]["detail"]
    path = account.server.kubeconfig(tmp_path)
    path.write_text(path.read_text().replace(account.server.url, f"https://127.0.0.1:{free_ports(1)[0]}"))
    code, found = doctor(capsys, "--kubeconfig", str(path))
    assert (code, found["cluster"]["state"]) == (1, "failed")
    assert found["cluster"]["next_step"]
    assert found["key"]["state"] == "ok"


@pytest.fixture
def policy(api_server: ApiServer) -> Iterator[Json]:
    """A policy of the name that deploy uses, over a resource that there is none of; and its binding."""
    rule = {
        "apiGroups": ["none.example.com"],
        "apiVersions": ["*"],
        "operations": ["CREATE"],
        "resources": ["things"],
    }
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]}
    about = {"metadata": {"name": "tekton-chains-marks"}}
    api_server.request("POST", f"{POLICIES}/validatingadmissionpolicies", {**about, "spec": spec})
    yield {**about, "spec": {"policyName": "tekton-chains-marks", "validationActions": ["Deny"]}}
    for kind in ("policies", "policybindings"):
        path = f"{POLICIES}/validatingadmission{kind}"
        if any(
            item["metadata"]["name"] == "tekton-chains-marks"
            for item in api_server.request("GET", path)["items"]
        ):
            api_server.request("DELETE", f"{path}/tekton-chains-marks")


def test_the_admission_policy_and_tekton_s_flags_are_looked_at(
    account: Account, policy: Json, capsys: pytest.CaptureFixture[str]
) -> None:
    server, token = account.server, account.server.token
    _, found = account.examine(capsys, token)
    assert "its binding does not exist" in found["admission policy"]["detail"]
    server.request("POST", f"{POLICIES}/validatingadmissionpolicybindings", policy)
    flags = {"metadata": {"name": "feature-flags"}, "data": {"enable-provenance-in-status": "false"}}
    server.request("POST", f"/api/v1/namespaces/{account.namespace}/configmaps", flags)
    _, found = account.examine(capsys, token, "--tekton-namespace", account.namespace)
    assert found["admission policy"]["state"] == "ok"
    assert "enable-provenance-in-status is false" in found["tekton feature flags"]["detail"]


def test_a_refused_configuration_in_the_cluster_fails(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.allow(NEEDED)
    path = f"/api/v1/namespaces/{account.namespace}/configmaps/chains-config"
    account.server.request(
        "PATCH", path, {"data": {"artifacts.taskrun.format": "nonsense"}}, kind="application/merge-patch+json"
    )
    code, found = account.examine(capsys)
    assert (code, found["configuration: artifacts.taskrun.format"]["state"]) == (1, "failed")
    assert "configuration" not in found


def test_preflight_sees_what_a_cluster_wants_and_what_runs(
    api_server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = Path(__file__).parents[2] / "examples" / "taskrun-image.json"
    assert chains(["attest", str(example)]) == 0
    capsys.readouterr()
    namespace = api_server.create_namespace("preflight")
    account = api_server.service_account_token(namespace, "looker")
    image = f"registry.example.com/team/app@sha256:{'1' * 64}"
    other = f"registry.example.com/team/other@sha256:{'2' * 64}"
    spec = {"containers": [{"name": "app", "image": image}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": spec}
    deployment = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    api_server.request(
        "POST",
        f"/apis/apps/v1/namespaces/{namespace}/deployments",
        {"metadata": {"name": "web"}, "spec": deployment},
    )
    pods = f"/api/v1/namespaces/{namespace}/pods"
    api_server.request("POST", pods, {"metadata": {"name": "web-1"}, "spec": spec})
    status = {
        "containerStatuses": [
            {"name": "app", "image": "app:1", "imageID": other, "ready": True, "restartCount": 0, "state": {}}
        ]
    }
    merge = "application/merge-patch+json"
    api_server.request("PATCH", f"{pods}/web-1/status", {"status": status}, kind=merge)
    key = (
        {"pem": Path("keys/x509.pub").read_text()}
        if Path("keys/x509.pub").exists()
        else {"ref": "keys/x509.pem"}
    )
    policy = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "production"},
        "spec": {
            "match": {"images": ["registry.example.com/team/*"], "namespaces": {"names": [namespace]}},
            "trust": [
                {"name": "x", "signer": {"keys": [key]}, "builderId": "https://x.example", "maxLevel": 1}
            ],
        },
    }
    Path("policy.json").write_text(json.dumps(policy))
    asked = [
        "preflight",
        "policy.json",
        "--cluster",
        "-n",
        namespace,
        "--store",
        "oci-layout:.chains/layout",
        "--output",
        "json",
    ]
    code = chains([*asked, "--kubeconfig", str(api_server.kubeconfig(tmp_path))])
    found = json.loads(capsys.readouterr().out)
    assert code == 1
    assert found["problems"] == []
    uses = {
        (one["image"], use["kind"], use["object"].partition("/")[0])
        for one in found["images"]
        for use in one["uses"]
    }
    assert uses == {(image, "desired", "Deployment"), (image, "desired", "Pod"), (other, "running", "Pod")}
    assert {one["reason"] for one in found["images"]} == {"no_evidence"}
    # an account without rights sees nothing, which is no pass
    code = chains([*asked, "--kubeconfig", str(api_server.kubeconfig(tmp_path, account))])
    found = json.loads(capsys.readouterr().out)
    assert code == 4
    assert any("Pod objects cannot be seen" in problem for problem in found["problems"])
