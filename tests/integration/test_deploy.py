"""The manifests of ``deploy/`` on a real API server: what the controller's account may do, and who else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from chains.cli.main import run as chains
from signers.keys.public_key import PublicKey
from tests.interop.attested import run_of, slug
from tests.owners import owned, task_reference
from tests.testbed.cluster import MERGE, ApiError, ApiServer, definitions_of, free_ports, install_crds
from tests.testbed.images import Registry
from tests.testbed.kustomize import build

pytestmark = pytest.mark.server
Json = Any
DEPLOY = Path(__file__).parents[2] / "deploy"
CHAINS = Path(sys.executable).with_name("chains")
SYSTEM, ACCOUNT = "tekton-chains", "tekton-chains-controller"
TEKTON = ("tekton-pipelines", "tekton-pipelines-controller")
MONITORING, CERT_MANAGER = "monitoring.coreos.com/v1", "cert-manager.io/v1"
SIGNED = {"annotations": {"chains.tekton.dev/signed": "true"}}
DONE = {"labels": {"provenance.chains/done": "true"}}
REFUSED = re.compile(r"forbidden|cannot (get|list|watch|patch|create)|: 40[13] ")
"""What the log says when the API server did not allow something."""
GUARDED = [
    SIGNED,
    DONE,
    *(
        {"annotations": {f"chains.tekton.dev/{name}": "x"}}
        for name in ("outcome", "retries", "transparency", "payload-taskrun-1", "signature-0123456789ab", "cert-a", "chain-a")
    ),
]  # fmt: skip
OPEN = [
    {"annotations": {"chains.tekton.dev/transparency-upload": "true"}},
    {"labels": {"chains.tekton.dev/reproducible": "true"}},
    {"annotations": {"example.com/note": "x"}, "labels": {"team": "a"}},
]


def path_of(server: ApiServer, manifest: Json) -> str:
    """Return the API path of a manifest's object. Raises ApiError 404 when its group is not served."""
    version = manifest["apiVersion"]
    root = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    found = {
        item["kind"]: item for item in server.request("GET", root)["resources"] if "/" not in item["name"]
    }
    resource = found[manifest["kind"]]
    scope = f"/namespaces/{manifest['metadata']['namespace']}" if resource["namespaced"] else ""
    return f"{root}{scope}/{resource['name']}/{manifest['metadata']['name']}"


def apply(server: ApiServer, manifest: Json) -> None:
    query = "?fieldManager=test&force=true&fieldValidation=Strict"
    server.request("PATCH", path_of(server, manifest) + query, manifest, kind="application/apply-patch+yaml")


@contextmanager
def applied(server: ApiServer, manifests: Sequence[Json]) -> Iterator[None]:
    """Apply manifests for the length of the block; afterwards other tests find no trace of policy or rights."""
    for manifest in manifests:
        apply(server, manifest)
    try:
        wait(lambda: refused(server, "POST", SIGNED), "the admission policy is in force")
        yield
    finally:
        for manifest in reversed(manifests):
            if manifest["kind"] != "Namespace":
                server.request("DELETE", path_of(server, manifest))
        wait(lambda: not refused(server, "POST", SIGNED), "the admission policy is gone")


def wait(condition: Callable[[], bool], what: str, seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def refused(
    server: ApiServer,
    method: str,
    metadata: Json,
    *,
    token: str = "",
    kind: str = "TaskRun",
    name: str = "probe",
    namespace: str = "default",
) -> bool:
    """Send a dry-run write of a run's metadata; True when the admission policy refuses it."""
    path = f"/apis/tekton.dev/v1/namespaces/{namespace}/{kind.lower()}s"
    try:
        if method == "POST":
            body = {
                "apiVersion": "tekton.dev/v1",
                "kind": kind,
                "metadata": {"name": "created", **metadata},
                "spec": {},
            }
            server.request("POST", f"{path}?dryRun=All", body, token=token)
        else:
            server.request(
                "PATCH", f"{path}/{name}?dryRun=All", {"metadata": metadata}, kind=MERGE, token=token
            )
    except ApiError as error:
        if error.status != 403 or "ValidatingAdmissionPolicy" not in str(error):
            raise
        return True
    return False


def make_namespaces(server: ApiServer) -> None:
    """Create the namespaces of these tests where they are not there yet."""
    for name in ("ci", "other", "tekton-pipelines"):
        try:
            server.create_namespace(name)
        except ApiError as error:
            if error.status != 409:
                raise


@pytest.fixture(scope="module")
def namespaces(api_server: ApiServer) -> None:
    make_namespaces(api_server)


@pytest.fixture
def base(api_server: ApiServer, namespaces: None) -> Iterator[list[Json]]:
    manifests = build(DEPLOY / "base")
    with applied(api_server, manifests):
        yield manifests


@pytest.fixture
def namespaced(api_server: ApiServer, namespaces: None) -> Iterator[list[Json]]:
    manifests = build(DEPLOY / "overlays" / "namespaced")
    with applied(api_server, manifests):
        yield manifests


class Deployed:
    """The controller as its StatefulSet starts it: those arguments, that account's token, that namespace.

    ``token_file`` has the token instead of the kubeconfig, as a pod has it.
    """

    def __init__(
        self,
        server: ApiServer,
        folder: Path,
        manifests: Sequence[Json],
        token_file: Path | None = None,
    ) -> None:
        (workload,) = (each for each in manifests if each["kind"] == "StatefulSet")
        pod = workload["spec"]["template"]["spec"]
        namespace = workload["metadata"]["namespace"]
        self.log, self.keys, self.port = folder / "controller.log", folder / "keys", free_ports(1)[0]
        self.keys.mkdir()
        assert chains(["keys", "generate", str(self.keys / "x509.pem")]) == 0
        self.docker = folder / "registry-credentials" / "config.json"
        self.docker.parent.mkdir()
        token = server.service_account_token(namespace, pod["serviceAccountName"])
        given = {each["name"]: each["value"] for each in pod["containers"][0]["env"] if "value" in each}
        environment = {
            "SYSTEM_NAMESPACE": namespace,
            "POD_NAME": f"{workload['metadata']['name']}-0",
            "CHAINS_REPLICAS": given["CHAINS_REPLICAS"],
            "CHAINS_LEASE_SECONDS": "3",  # it may have to wait for a share of another test's
            "DOCKER_CONFIG": str(self.docker.parent),
        }
        kubeconfig = server.kubeconfig(folder, token)
        if token_file is not None:
            token_file.write_text(token)
            config = json.loads(kubeconfig.read_text())
            config["users"][0]["user"] = {"tokenFile": str(token_file)}
            kubeconfig.write_text(json.dumps(config))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    CHAINS, *pod["containers"][0]["args"], "--kubeconfig", kubeconfig,
                    "--signing-secrets", self.keys, "--health-port", str(self.port),
                ],
                stderr=log, env={**os.environ, **environment},
            )  # fmt: skip

    def ask(self, path: str) -> str:
        """Return the answer, empty for none or an error."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except URLError:
            return ""

    def wait(self, condition: Callable[[], bool]) -> None:
        try:
            wait(condition, "the controller did it", 20)
        except AssertionError:
            raise AssertionError(f"the log ends with\n{self.log.read_text()[-3000:]}") from None

    def stop(self) -> None:
        """End the controller and assert that the API server refused it nothing."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        log = self.log.read_text()
        assert not REFUSED.search(log), log[-3000:]


@pytest.fixture
def start(api_server: ApiServer, tmp_path: Path) -> Iterator[Callable[[Sequence[Json]], Deployed]]:
    started: list[Deployed] = []

    def make(manifests: Sequence[Json]) -> Deployed:
        found = Deployed(api_server, tmp_path, manifests)
        started.append(found)
        found.wait(lambda: found.ask("/readyz") == "ok\n")
        return found

    yield make
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def run_in(namespace: str, name: str, image: str = "registry.example.com/app", digest: str = "") -> Json:
    run = run_of(image, digest or "sha256:" + "ab" * 32, name)
    run["metadata"]["namespace"] = namespace
    return run


def run_with_pod(server: ApiServer, name: str, *, sandboxed: bool = True, owners: Json = ()) -> Json:
    """Create a finished hermetic run with its pod in ``ci``, where everything beside it is there to be read."""
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": "ci"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }
    runtime = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "sandboxed"},
        "handler": "runsc",
    }
    flags = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "feature-flags", "namespace": "tekton-pipelines"},
        "data": {"enable-api-fields": "stable"},
    }
    for each in (policy, runtime, flags):
        apply(server, each)
    run = run_in("ci", name)
    run["metadata"]["annotations"] = {"experimental.tekton.dev/execution-mode": "hermetic"}
    run["status"]["podName"] = f"{name}-pod"
    run["status"]["completionTime"] = "2099-01-01T00:00:00Z"
    ended = {"containerID": "containerd://1", "exitCode": 0}
    run["status"]["steps"] = [{"name": "build", "container": "step-build", "terminated": ended}]
    if not sandboxed:
        run["status"]["provenance"] = {"featureFlags": {"enableAPIFields": "alpha"}}
    run["metadata"]["ownerReferences"] = list(owners)
    status = run.pop("status")
    created = server.create_run(run)
    owner = {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "name": name,
        "uid": created["metadata"]["uid"],
    }
    pod = {
        "metadata": {
            "name": f"{name}-pod",
            "labels": {"tekton.dev/taskRun": name},
            "ownerReferences": [owner],
        },
        "spec": {
            "containers": [{"name": "step-build", "image": "registry.example.com/buildah"}],
            **({"runtimeClassName": "sandboxed"} if sandboxed else {}),
        },
    }
    pods = "/api/v1/namespaces/ci/pods"
    server.request("POST", pods, pod)
    image = "registry.example.com/buildah"
    state = {"name": "step-build", "image": image, "imageID": "", "ready": False, "restartCount": 0}
    statuses = {"containerStatuses": [{**state, "state": {"terminated": ended}}]}
    server.request("PATCH", f"{pods}/{name}-pod/status", {"status": statuses}, kind=MERGE)
    path = f"/apis/tekton.dev/v1/namespaces/ci/taskruns/{name}/status"
    server.request("PATCH", path, {"status": status}, kind=MERGE)
    return created


def reported(server: ApiServer, run: Json, attribute: str) -> Json:
    """Return the conditions of an attribute of the report in a run's annotations."""
    metadata = server.get_run("TaskRun", "ci", run["metadata"]["name"])["metadata"]
    report = json.loads(
        b64decode(metadata["annotations"][f"chains.tekton.dev/payload-report-{metadata['uid']}"])
    )
    return next(
        one["conditions"] for one in report["predicate"]["attributes"] if one["attribute"] == attribute
    )


def store_in_annotations(server: ApiServer) -> None:
    body = {"data": {f"artifacts.{name}.storage": "tekton" for name in ("taskrun", "pipelinerun", "oci")}}
    server.request("PATCH", f"/api/v1/namespaces/{SYSTEM}/configmaps/chains-config", body, kind=MERGE)


def signed(server: ApiServer, run: Json) -> str:
    metadata = server.get_run(run["kind"], run["metadata"]["namespace"], run["metadata"]["name"])["metadata"]
    return str(metadata.get("annotations", {}).get("chains.tekton.dev/signed", ""))


def may(server: ApiServer, token: str, verb: str, resource: str, namespace: str = "", name: str = "") -> bool:
    """Ask the API server whether the token's account may do something; ``resource`` is group/resource[/sub]."""
    group, plural, *subresource = resource.split("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": "".join(subresource),
        "namespace": namespace,
        "name": name,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = server.request(
        "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body, token=token
    )
    return bool(answer["status"]["allowed"])


def test_under_its_own_account_the_controller_attests_holds_and_tells(
    api_server: ApiServer, base: list[Json], start: Callable[..., Deployed]
) -> None:
    store_in_annotations(api_server)
    controller = start(base)
    pipeline = api_server.create_run(
        {
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "whole", "namespace": "ci"},
            "spec": {"pipelineRef": {"name": "p"}},
        }
    )  # fmt: skip
    task = run_with_pod(api_server, "task", owners=owned(pipeline["metadata"]["uid"], "whole"))
    status = {
        "conditions": [{"type": "Succeeded", "status": "True"}], "completionTime": "2026-01-02T03:10:05Z",
        "pipelineSpec": {"tasks": [{"name": "build", "taskRef": {"name": "buildah"}}]},
        "childReferences": [task_reference("task", "build")],
    }  # fmt: skip
    path = "/apis/tekton.dev/v1/namespaces/ci/pipelineruns/whole/status"
    api_server.request("PATCH", path, {"status": status}, kind=MERGE)
    controller.wait(lambda: signed(api_server, task) == signed(api_server, pipeline) == "true")
    network = reported(api_server, task, "POD_NETWORK")
    assert network["networkPolicy"]["reason"].startswith("all egress is denied by network policy deny, but")
    assert network["sandboxedRuntime"]["value"] == "true"
    assert "(feature-flags)" in reported(api_server, task, "HERMETIC_EXECUTION")["requested"]["reason"]
    running = run_in("ci", "running")
    del running["status"]
    api_server.create_run(running)
    controller.wait(lambda: "finalizers" in api_server.get_run("TaskRun", "ci", "running")["metadata"])
    api_server.request("DELETE", "/apis/tekton.dev/v1/namespaces/ci/taskruns/running")
    controller.wait(lambda: 'state="signed"' in controller.ask("/metrics"))
    controller.wait(lambda: "chains_shares_held 2.0" in controller.ask("/metrics"))
    controller.stop()
    assert {lease["spec"].get("holderIdentity") for lease in leases(api_server)} == {None}


def test_with_the_configuration_as_it_is_shipped_evidence_reaches_the_registry_and_a_failure_is_an_event(
    api_server: ApiServer,
    base: list[Json],
    start: Callable[..., Deployed],
    referrers_registry: Registry,
    request: pytest.FixtureRequest,
) -> None:
    repository = slug(request)
    digest = referrers_registry.push_image(repository)
    controller = start(base)
    good = api_server.create_run(run_in("ci", "shipped", f"{referrers_registry.host}/{repository}", digest))
    # the registry lacks this image, so no referrer can be written: a stated failure
    bad = api_server.create_run(run_in("ci", "missing", f"{referrers_registry.host}/{repository}"))
    controller.wait(lambda: (signed(api_server, good), signed(api_server, bad)) == ("true", "failed"))
    tag = digest.replace(":", "-")
    assert {f"{tag}.att", f"{tag}.sig"} <= set(referrers_registry.tags(repository))
    referrers = json.loads(
        referrers_registry.request("GET", f"/v2/{repository}/referrers/{digest}").body
    )["manifests"]  # fmt: skip
    assert len(referrers) == 3  # provenance, execution report, image signature

    def events() -> list[tuple[str, str]]:
        found = api_server.request("GET", "/api/v1/namespaces/ci/events")["items"]
        return [(each["reason"], each["involvedObject"]["name"]) for each in found]

    controller.wait(lambda: ("AttestationFailed", "missing") in events())
    controller.stop()


def test_a_key_rotated_as_the_runbook_says_signs_what_comes_next_without_a_restart(
    api_server: ApiServer, base: list[Json], start: Callable[..., Deployed], tmp_path: Path
) -> None:
    store_in_annotations(api_server)
    controller = start(base)
    assert chains(["keys", "generate", str(tmp_path / "x509.pem")]) == 0
    (tmp_path / "x509.pem").rename(controller.keys / "x509.pem")
    controller.wait(lambda: controller.log.read_text().count("a new configuration is in force") == 2)
    assert controller.ask("/readyz") == "ok\n"
    run = api_server.create_run(run_in("ci", "rotated"))
    controller.wait(lambda: signed(api_server, run) == "true")
    metadata = api_server.get_run("TaskRun", "ci", "rotated")["metadata"]
    signature = metadata["annotations"][f"chains.tekton.dev/signature-taskrun-{metadata['uid']}"]
    (entry,) = json.loads(b64decode(signature))["signatures"]
    new = PublicKey.from_pem((tmp_path / "x509.pub").read_bytes())
    assert entry["keyid"] == new.keyid
    controller.stop()


def test_with_rights_in_one_namespace_it_attests_there_and_sees_no_other(
    api_server: ApiServer, namespaced: list[Json], start: Callable[..., Deployed]
) -> None:
    store_in_annotations(api_server)
    controller = start(namespaced)
    elsewhere = api_server.create_run(run_in("other", "elsewhere"))
    here = run_with_pod(api_server, "here", sandboxed=False)
    controller.wait(lambda: signed(api_server, here) == "true")
    policy = reported(api_server, here, "POD_NETWORK")["networkPolicy"]["reason"]
    assert policy.startswith("all egress is denied by network policy deny, but")
    assert signed(api_server, elsewhere) == ""
    token = api_server.service_account_token(SYSTEM, ACCOUNT)
    assert may(api_server, token, "patch", "tekton.dev/taskruns", "ci")
    for verb in ("get", "list", "watch", "patch"):
        assert not may(api_server, token, verb, "tekton.dev/taskruns", "other")
        assert not may(api_server, token, verb, "tekton.dev/pipelineruns")
        for resource in ("/pods", "networking.k8s.io/networkpolicies", "/configmaps"):
            assert not may(api_server, token, verb, resource, "other")
    controller.stop()


def leases(server: ApiServer) -> list[Json]:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases"
    found: list[Json] = server.request("GET", path)["items"]
    return found


@pytest.mark.parametrize(
    ("kind", "verb", "resource"),
    [
        ("ClusterRole", "get", "taskruns"),
        ("ClusterRole", "list", "taskruns"),
        ("ClusterRole", "watch", "taskruns"),
        ("ClusterRole", "patch", "taskruns"),
        ("ClusterRole", "get", "pods"),
        ("ClusterRole", "list", "networkpolicies"),
        ("ClusterRole", "get", "runtimeclasses"),
        ("ClusterRole", "get", "configmaps"),
        ("Role", "get", "configmaps"),
        ("Role", "list", "leases"),
        ("Role", "create", "leases"),
        ("Role", "patch", "leases"),
    ],
)
def test_the_tests_above_would_notice_a_missing_permission(
    kind: str, verb: str, resource: str, api_server: ApiServer, namespaces: None, tmp_path: Path
) -> None:
    manifests = build(DEPLOY / "base")
    named = (each for each in manifests if each["metadata"]["name"] == ACCOUNT)
    (role,) = (each for each in named if each["kind"] == kind)
    (verbs,) = (
        rule["verbs"] for rule in role["rules"] if resource in rule["resources"] and verb in rule["verbs"]
    )
    verbs[verbs.index(verb)] = "deletecollection"  # a rule without verbs is refused
    run_with_pod(api_server, f"without-{kind.lower()}-{verb}-{resource}")
    large = ""
    if (verb, resource) == ("get", "taskruns"):
        # the watch delivers a small run; one that is too large to be kept is always read again
        run = run_in("ci", "too-large-to-be-kept")
        run["spec"]["params"] = [{"name": "text", "value": "x" * 300_000}]
        large = f"/apis/tekton.dev/v1/namespaces/ci/taskruns/{run['metadata']['name']}"
        api_server.create_run(run)
    with applied(api_server, manifests):
        store_in_annotations(api_server)
        api_server.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases")
        controller = Deployed(api_server, tmp_path, manifests)
        try:
            controller.wait(lambda: bool(REFUSED.search(controller.log.read_text())))
        finally:
            controller.process.kill()
            controller.process.wait()
            if large:
                api_server.request("DELETE", large)


def test_the_account_may_do_what_its_work_needs_and_nothing_else(
    api_server: ApiServer, base: list[Json]
) -> None:
    token = api_server.service_account_token(SYSTEM, ACCOUNT)

    def allowed(verb: str, resource: str, namespace: str = "", name: str = "") -> bool:
        return may(api_server, token, verb, resource, namespace, name)

    runs = ("tekton.dev/taskruns", "tekton.dev/pipelineruns")
    verbs = ("get", "list", "watch", "patch", "create", "update", "delete", "deletecollection")
    for resource in runs:
        assert [verb for verb in verbs if allowed(verb, resource)] == ["get", "list", "watch", "patch"]
        for part in ("status", "finalizers"):
            assert not any(allowed(verb, f"{resource}/{part}", "ci") for verb in verbs)
    assert [verb for verb in verbs if allowed(verb, "/events", "ci")] == ["create"]
    for namespace in ("", SYSTEM, "ci"):
        for resource in (
            "/secrets",
            "/serviceaccounts",
            "/namespaces",
            "/pods/exec",
            "/pods/log",
            "/pods/status",
        ):
            assert not any(allowed(verb, resource, namespace) for verb in verbs), (resource, namespace)
        assert [verb for verb in verbs if allowed(verb, "/pods", namespace)] == ["get"]
        policies = "networking.k8s.io/networkpolicies"
        assert [verb for verb in verbs if allowed(verb, policies, namespace)] == ["list"]
    assert [verb for verb in verbs if allowed(verb, "node.k8s.io/runtimeclasses")] == ["get"]
    flags = [
        verb for verb in verbs if verb != "create" and allowed(verb, "/configmaps", "ci", "feature-flags")
    ]
    assert flags == ["get"]
    maps = [
        verb for verb in verbs if verb != "create" and allowed(verb, "/configmaps", SYSTEM, "chains-config")
    ]
    assert maps == ["get"]
    assert not allowed("get", "/configmaps", SYSTEM, "other")
    assert not allowed("get", "/configmaps", "ci", "chains-config")
    assert not any(allowed(verb, "/configmaps", SYSTEM) for verb in verbs)
    group, share = "coordination.k8s.io/leases", f"{ACCOUNT}-share-"
    assert [verb for verb in verbs if allowed(verb, group, SYSTEM)] == ["list", "create"]
    assert [verb for verb in verbs if allowed(verb, group, SYSTEM, f"{share}4")] == [
        "list",
        "patch",
        "create",
    ]
    assert not allowed("patch", group, SYSTEM, "tekton-chains-controller")
    assert not any(allowed(verb, group, namespace) for verb in verbs for namespace in ("", "ci"))
    assert not any(allowed(verb, "apiextensions.k8s.io/customresourcedefinitions") for verb in verbs)
    assert not any(
        allowed(verb, "admissionregistration.k8s.io/validatingadmissionpolicies") for verb in verbs
    )


def test_the_server_itself_refuses_the_account_secrets_and_a_runs_status(
    api_server: ApiServer, base: list[Json]
) -> None:
    token = api_server.service_account_token(SYSTEM, ACCOUNT)
    path = f"/api/v1/namespaces/{SYSTEM}/secrets"
    api_server.request("POST", path, {"metadata": {"name": "signing-secrets"}})
    api_server.create_run(run_in("ci", "status"))
    status = "/apis/tekton.dev/v1/namespaces/ci/taskruns/status/status"
    for method, target, body in (
        ("GET", f"{path}/signing-secrets", None),
        ("GET", path, None),
        ("PATCH", status, {"status": {"podName": "mine"}}),
    ):
        with pytest.raises(ApiError, match="forbidden") as caught:
            api_server.request(method, target, body, kind=MERGE, token=token)
        assert caught.value.status == 403
    run = "/apis/tekton.dev/v1/namespaces/ci/taskruns/status"
    api_server.request("PATCH", run, {"status": {"podName": "mine"}}, kind=MERGE, token=token)
    assert api_server.get_run("TaskRun", "ci", "status")["status"]["podName"] == "build-pod"


@pytest.fixture
def developer(api_server: ApiServer, base: list[Json]) -> str:
    """Tokens of a developer who may do everything with the runs of ``ci``; probes of both kinds are there."""
    for account in (("ci", "developer"), TEKTON):
        allow_runs(api_server, *account)
    for kind in ("TaskRun", "PipelineRun"):
        body = {
            "apiVersion": "tekton.dev/v1",
            "kind": kind,
            "metadata": {"name": "probe", "namespace": "ci"},
            "spec": {},
        }
        try:
            api_server.create_run(body)
        except ApiError as error:
            if error.status != 409:
                raise
    return api_server.service_account_token("ci", "developer")


def allow_runs(server: ApiServer, namespace: str, account: str) -> None:
    """Give an account every right on the runs of ``ci``."""
    meta = {"name": f"runs-of-{account}", "namespace": "ci"}
    api = "rbac.authorization.k8s.io"
    rule = {
        "apiGroups": ["tekton.dev"],
        "resources": ["taskruns", "pipelineruns", "taskruns/status"],
        "verbs": ["*"],
    }
    apply(server, {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": [rule]})
    apply(
        server,
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": meta["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        },
    )


@pytest.mark.parametrize("kind", ["TaskRun", "PipelineRun"])
def test_a_user_cannot_write_what_the_controller_writes(
    kind: str, api_server: ApiServer, developer: str
) -> None:
    for metadata in GUARDED:
        for method in ("POST", "PATCH"):
            assert refused(api_server, method, metadata, token=developer, kind=kind, namespace="ci"), metadata
    for metadata in OPEN:
        for method in ("POST", "PATCH"):
            assert not refused(api_server, method, metadata, token=developer, kind=kind, namespace="ci"), (
                metadata
            )


def test_a_user_cannot_change_or_remove_a_mark_but_may_change_a_marked_run(
    api_server: ApiServer, developer: str
) -> None:
    token = api_server.service_account_token(SYSTEM, ACCOUNT)
    api_server.create_run(run_in("ci", "marked"))
    path = "/apis/tekton.dev/v1/namespaces/ci/taskruns/marked"
    api_server.request("PATCH", path, {"metadata": {**SIGNED, **DONE}}, kind=MERGE, token=token)

    def tried(metadata: Json) -> bool:
        return refused(api_server, "PATCH", metadata, token=developer, name="marked", namespace="ci")

    assert tried({"annotations": {"chains.tekton.dev/signed": "failed"}})
    assert tried({"annotations": {"chains.tekton.dev/signed": None}})
    assert tried({"annotations": None})
    assert tried({"labels": {"provenance.chains/done": None}})
    assert tried({"labels": {"provenance.chains/done": "no"}})
    assert not tried({**SIGNED, **DONE})
    assert not tried({"annotations": {"chains.tekton.dev/transparency-upload": "true"}})
    assert not tried({"finalizers": ["example.com/mine"]})
    api_server.request("DELETE", path, token=developer)


HOLDS = {"TaskRun": "chains.tekton.dev/taskrun", "PipelineRun": "chains.tekton.dev/pipelinerun"}


@pytest.fixture
def held(api_server: ApiServer, developer: str) -> Callable[..., str]:
    """Create a run in progress that holds finalizers, and return its path."""

    def create(kind: str, name: str, *finalizers: str) -> str:
        run = {"apiVersion": "tekton.dev/v1", "kind": kind, "spec": {}}
        metadata = {"name": name, "namespace": "ci", "finalizers": list(finalizers)}
        api_server.create_run({**run, "metadata": metadata})
        return f"/apis/tekton.dev/v1/namespaces/ci/{kind.lower()}s/{name}"

    return create


def take_off(server: ApiServer, path: str, *names: str) -> None:
    """Take finalizers off a run as the controller does."""
    metadata = server.request("GET", path)["metadata"]
    kept = [name for name in metadata["finalizers"] if name not in names]
    body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": kept}}
    server.request("PATCH", path, body, kind=MERGE, token=server.service_account_token(SYSTEM, ACCOUNT))


@pytest.mark.parametrize("kind", ["TaskRun", "PipelineRun"])
@pytest.mark.parametrize("generation", ["ours", "of older Chains"])
def test_nobody_takes_off_the_finalizer_that_holds_a_run(
    kind: str, generation: str, api_server: ApiServer, developer: str, held: Callable[..., str]
) -> None:
    name = HOLDS[kind] if generation == "ours" else "chains.tekton.dev"
    path = held(kind, "held", "example.com/mine", name)
    run = api_server.request("GET", path)
    bare = json.loads(json.dumps(run))
    bare["metadata"]["finalizers"] = ["example.com/mine"]
    refusal = re.escape(f"takes off the finalizer {name}, which holds a run for its evidence")
    tekton = api_server.service_account_token(*TEKTON)
    for token in (developer, tekton, ""):
        for method, body, how in (
            ("PATCH", {"metadata": {"finalizers": None}}, MERGE),
            ("PATCH", {"metadata": {"finalizers": ["example.com/mine"]}}, MERGE),
            ("PATCH", [{"op": "remove", "path": "/metadata/finalizers/1"}], "application/json-patch+json"),
            ("PUT", bare, "application/json"),
        ):
            with pytest.raises(ApiError, match=refusal) as caught:
                api_server.request(method, path, body, kind=how, token=token)
            assert caught.value.status == 403
    status = {**bare, "status": {"podName": "p"}}
    api_server.request("PUT", f"{path}/status", status, token=tekton if kind == "TaskRun" else "")
    assert api_server.request("GET", path)["metadata"]["finalizers"] == ["example.com/mine", name]
    take_off(api_server, path, name, "example.com/mine")
    api_server.request("DELETE", path)


@pytest.mark.parametrize("kind", ["TaskRun", "PipelineRun"])
def test_what_keeps_the_finalizer_passes_and_so_does_every_deletion(
    kind: str, api_server: ApiServer, developer: str, held: Callable[..., str]
) -> None:
    tekton = api_server.service_account_token(*TEKTON)
    path = held(kind, "kept", HOLDS[kind])
    # Tekton's controller: labels by an update of the whole object, its own finalizer by a merge patch
    run = api_server.request("GET", path)
    run["metadata"]["labels"] = {"tekton.dev/pipeline": "p"}
    api_server.request("PUT", path, run, token=tekton)
    for finalizers in ([HOLDS[kind], "tekton.dev/own"], [HOLDS[kind]]):
        api_server.request("PATCH", path, {"metadata": {"finalizers": finalizers}}, kind=MERGE, token=tekton)
    # a user, and the garbage collector after a deletion in the foreground
    api_server.request("DELETE", path, {"propagationPolicy": "Foreground"}, token=developer)
    metadata = api_server.request("GET", path)["metadata"]
    assert set(metadata["finalizers"]) == {HOLDS[kind], "foregroundDeletion"}
    collected = {"finalizers": [HOLDS[kind]], "resourceVersion": metadata["resourceVersion"]}
    api_server.request("PATCH", path, {"metadata": collected}, kind=MERGE)
    take_off(api_server, path, HOLDS[kind])
    with pytest.raises(ApiError, match="404"):
        api_server.request("GET", path)
    # all runs of a namespace, as its deletion does it
    path = held(kind, "swept", HOLDS[kind])
    api_server.request("DELETE", path.rpartition("/")[0])
    assert "deletionTimestamp" in api_server.request("GET", path)["metadata"]
    take_off(api_server, path, HOLDS[kind])
    with pytest.raises(ApiError, match="404"):
        api_server.request("GET", path)


def test_the_status_of_a_run_is_no_way_around(api_server: ApiServer, developer: str) -> None:
    path = "/apis/tekton.dev/v1/namespaces/ci/taskruns/probe/status"
    api_server.request(
        "PATCH",
        path,
        {"metadata": {**SIGNED, **DONE}, "status": {"podName": "p"}},
        kind=MERGE,
        token=developer,
    )
    metadata = api_server.get_run("TaskRun", "ci", "probe")["metadata"]
    assert "annotations" not in metadata
    assert "labels" not in metadata


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_no_version_of_the_api_is_a_way_around(version: str, api_server: ApiServer, developer: str) -> None:
    path = f"/apis/tekton.dev/{version}/namespaces/ci/taskruns/probe?dryRun=All"
    reason = re.escape("only the account tekton-chains-controller changes chains.tekton.dev/signed")
    with pytest.raises(ApiError, match=reason):
        api_server.request("PATCH", path, {"metadata": SIGNED}, kind=MERGE, token=developer)


def test_an_administrator_is_refused_too(api_server: ApiServer, developer: str) -> None:
    assert refused(api_server, "PATCH", SIGNED, namespace="ci")


def test_tektons_own_controller_copies_what_users_write_and_no_marks(
    api_server: ApiServer, developer: str
) -> None:
    token = api_server.service_account_token(*TEKTON)
    for method in ("POST", "PATCH"):
        for metadata in GUARDED:
            assert refused(api_server, method, metadata, token=token, namespace="ci"), metadata
        for metadata in OPEN:
            assert not refused(api_server, method, metadata, token=token, namespace="ci"), metadata


def test_the_pod_is_admitted_where_pod_security_is_restricted(
    api_server: ApiServer, base: list[Json]
) -> None:
    (workload,) = (each for each in base if each["kind"] == "StatefulSet")
    template = json.loads(json.dumps(workload["spec"]["template"]))
    template["metadata"]["name"] = "probe"
    path = f"/api/v1/namespaces/{SYSTEM}/pods?dryRun=All&fieldValidation=Strict"
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    api_server.request("POST", path, pod)
    del pod["spec"]["containers"][0]["securityContext"]["capabilities"]
    with pytest.raises(ApiError, match="violates PodSecurity"):
        api_server.request("POST", path, pod)


@pytest.mark.parametrize("name", ["from-tekton-chains", "index", "keyless", "kms", "ledger"])
def test_the_api_server_takes_every_manifest_of_an_overlay_and_its_pod(
    name: str, api_server: ApiServer, base: list[Json]
) -> None:
    manifests = build(DEPLOY / "overlays" / name)
    for manifest in manifests:
        query = "?fieldManager=test&force=true&fieldValidation=Strict&dryRun=All"
        taken = api_server.request(
            "PATCH", path_of(api_server, manifest) + query, manifest, kind="application/apply-patch+yaml"
        )
        assert taken["metadata"]["name"] == manifest["metadata"]["name"]
    (workload,) = (each for each in manifests if each["kind"] == "StatefulSet")
    pod = {"apiVersion": "v1", "kind": "Pod", **workload["spec"]["template"]}
    pod["metadata"] = {**pod["metadata"], "name": "probe"}
    path = f"/api/v1/namespaces/{SYSTEM}/pods?dryRun=All&fieldValidation=Strict"
    api_server.request("POST", path, pod)


@pytest.mark.parametrize("name", ["audit", "audit/scheduled", "index", "index/build"])
def test_the_api_server_takes_every_job_and_its_pod_where_security_is_restricted(
    name: str, api_server: ApiServer, base: list[Json]
) -> None:
    for manifest in build(DEPLOY / name):
        query = "?fieldManager=test&force=true&fieldValidation=Strict&dryRun=All"
        taken = api_server.request(
            "PATCH", path_of(api_server, manifest) + query, manifest, kind="application/apply-patch+yaml"
        )
        assert taken["metadata"]["name"] == manifest["metadata"]["name"]
        job = manifest["spec"]
        if manifest["kind"] == "CronJob":
            job = job["jobTemplate"]["spec"]
        pod = {"apiVersion": "v1", "kind": "Pod", **job["template"]}
        pod["metadata"] = {**pod["metadata"], "name": "probe"}
        path = f"/api/v1/namespaces/{SYSTEM}/pods?dryRun=All&fieldValidation=Strict"
        api_server.request("POST", path, pod)


def test_the_api_server_takes_the_evidence_browser_and_its_pod_where_security_is_restricted(
    api_server: ApiServer,
) -> None:
    manifests = build(DEPLOY / "web")
    for manifest in manifests:
        apply(api_server, manifest)
    (workload,) = (each for each in manifests if each["kind"] == "Deployment")
    pod = {"apiVersion": "v1", "kind": "Pod", **json.loads(json.dumps(workload["spec"]["template"]))}
    pod["metadata"]["name"] = "probe"
    path = "/api/v1/namespaces/chains-web/pods?dryRun=All&fieldValidation=Strict"
    api_server.request("POST", path, pod)
    del pod["spec"]["containers"][0]["securityContext"]["capabilities"]
    with pytest.raises(ApiError, match="violates PodSecurity"):
        api_server.request("POST", path, pod)
    # and its account may do nothing
    token = api_server.service_account_token("chains-web", "chains-web")
    for verb, resource in (("get", "/secrets"), ("list", "/pods"), ("list", "tekton.dev/taskruns")):
        assert not may(api_server, token, verb, resource, "chains-web"), resource
    for manifest in reversed(manifests):
        if manifest["kind"] != "Namespace":
            api_server.request("DELETE", path_of(api_server, manifest))


def test_the_api_server_knows_every_kind_but_those_of_two_operators(api_server: ApiServer) -> None:
    unknown = set()
    for folder in sorted(path.parent for path in DEPLOY.rglob("kustomization.yaml")):
        for manifest in build(folder):
            try:
                path_of(api_server, manifest)
            except ApiError as error:
                unknown.add((error.status, manifest["apiVersion"], manifest["kind"]))
    assert unknown == {
        (404, MONITORING, "ServiceMonitor"),
        (404, MONITORING, "PrometheusRule"),
        (404, CERT_MANAGER, "Issuer"),
        (404, CERT_MANAGER, "Certificate"),
    }


@pytest.fixture
def cert_manager(api_server: ApiServer) -> Iterator[None]:
    """The API server knows the kinds of cert-manager; afterwards other tests find no trace of them."""
    definitions = [
        each
        for each in definitions_of("certmanager", "github.com/cert-manager/cert-manager", "deploy/crds")
        if each["spec"]["names"]["kind"] in {"Issuer", "Certificate"}
    ]
    for each in definitions:
        del each["metadata"]["labels"]  # of a template of Helm
    install_crds(api_server, definitions, [f"{CERT_MANAGER}/{name}" for name in ("issuers", "certificates")])
    wait(lambda: {"issuers", "certificates"} <= kinds_of_cert_manager(api_server), "both kinds are listed")
    yield
    for each in definitions:
        name = each["metadata"]["name"]
        api_server.request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    wait(lambda: not kinds_of_cert_manager(api_server), "the kinds of cert-manager are gone")


def kinds_of_cert_manager(server: ApiServer) -> set[str]:
    """Return the kinds that the API server lists, which it does a little later than it serves them."""
    try:
        found = server.request("GET", f"/apis/{CERT_MANAGER}")
    except ApiError as error:
        if error.status != 404:
            raise
        return set()
    return {each["name"] for each in found["resources"]}


def test_the_issuers_and_certificates_are_what_cert_manager_knows(
    api_server: ApiServer, cert_manager: None
) -> None:
    manifests = build(DEPLOY / "admission" / "cert-manager")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chains-admission"}}
    for manifest in (namespace, *manifests):
        apply(api_server, manifest)
    wrong = {**manifests[-1], "spec": {**manifests[-1]["spec"], "dnsName": ["a"]}}
    with pytest.raises(ApiError, match="dnsName"):
        apply(api_server, wrong)
