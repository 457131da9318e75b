"""The controller reads the pods of runs, made by Tekton's own builder, and what stands beside them."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import ssl
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

import pytest

from chains.cli.main import run as chains
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.cluster.errors import ClusterUnavailable
from chains.controller.flow import build_flow
from chains.controller.metrics import Metrics
from chains.controller.reconcile import Controller, HowToWork
from chains.controller.work.worklist import WorkList
from chains.tekton.runs import Job
from tests.integration.test_controller import Running
from tests.integration.test_hermetic_images import push
from tests.interop.attested import slug
from tests.owners import owned
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.images import Registry
from tests.testbed.pod_builder import ALPHA, Built, PodBuilder, finish, pod_status

pytestmark = pytest.mark.server
Json = Any
HERMETIC = {"experimental.tekton.dev/execution-mode": "hermetic"}
PINNED = {"env": [{"name": "TEKTON_RESOURCE_NAME", "value": ""}]}
STEP = {"name": "build", "image": "registry.example.com/team/tool:1", "command": ["make"]}
DENY = {"podSelector": {"matchLabels": {"net": "none"}}, "policyTypes": ["Egress", "Ingress"]}
DENY_EGRESS = {"podSelector": {"matchLabels": {"net": "in-only"}}, "policyTypes": ["Egress"]}
ANNOTATIONS = {f"artifacts.{name}.storage": "tekton" for name in ("taskrun", "pipelinerun", "oci")}
UNREAD = "could not be read: the API server refuses it to the controller"


class Runs:
    """Runs of one namespace with a controller, each step of their lives done as Tekton and nodes do it."""

    def __init__(self, running: Running, builder: PodBuilder) -> None:
        self.running, self.builder, self.namespace = running, builder, running.namespace
        self.server: ApiServer = running.server
        self.built: dict[str, Built] = {}

    def path(self, name: str) -> str:
        return f"/apis/tekton.dev/v1/namespaces/{self.namespace}/taskruns/{name}"

    def pod_path(self, name: str = "") -> str:
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        return f"{pods}/{self.built[name].pod['metadata']['name']}" if name else pods

    def create(self, name: str, *, flags: Json = ALPHA, step: Json = STEP, wish: Json = HERMETIC, metadata: Json = None, template: Json = PINNED, statuses: Callable[[Json], Json] = pod_status) -> None:  # fmt: skip
        """Create a run and its pod, which has ended; the run has not."""
        run = {
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": {"name": name, "namespace": self.namespace, "annotations": wish, **(metadata or {})},
            "spec": {"taskSpec": {"steps": [step]}, "podTemplate": copy.deepcopy(template)},
        }
        created = self.server.create_run(run)
        answer = self.builder.build(created, flags=flags)
        self.built[name] = finish(created, answer["pod"], answer["taskSpec"], answer["featureFlags"])
        self.create_pod(name, answer["pod"], statuses)

    def create_pod(self, name: str, pod: Json, statuses: Callable[[Json], Json] = pod_status) -> None:
        made = self.server.request("POST", self.pod_path(), pod)
        status = {"status": statuses(made)}
        self.server.request("PATCH", f"{self.pod_path(name)}/status", status, kind=MERGE)

    def end(self, name: str, **status: Json) -> None:
        """End a run, a minute from now, so that it ends after its pod was made."""
        ended = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {**self.built[name].run["status"], "completionTime": ended, **status}
        self.server.request("PATCH", f"{self.path(name)}/status", {"status": body}, kind=MERGE)

    def delete_pod(self, name: str) -> None:
        self.server.request("DELETE", f"{self.pod_path(name)}?gracePeriodSeconds=0")

    def policy(self, spec: Json, method: str = "POST", name: str = "deny") -> None:
        path = f"/apis/networking.k8s.io/v1/namespaces/{self.namespace}/networkpolicies"
        body = {"metadata": {"name": name}, "spec": spec}
        where, kind = (path, "application/json") if method == "POST" else (f"{path}/{name}", MERGE)
        self.server.request(method, where, body, kind=kind)

    def statements(self, name: str, kind: str = "TaskRun") -> tuple[Json, Json]:
        """Return provenance and execution report of a run that must be signed."""
        metadata = self.running.attested(name, kind)["metadata"]
        annotations = metadata["annotations"]
        assert annotations["chains.tekton.dev/signed"] == "true", annotations
        names = (kind.lower(), "report")
        found = [annotations[f"chains.tekton.dev/payload-{each}-{metadata['uid']}"] for each in names]
        provenance, report = (json.loads(b64decode(each)) for each in found)
        return provenance, report

    def told(self, name: str, attribute: str, kind: str = "TaskRun") -> list[Json]:
        report = self.statements(name, kind)[1]
        return [
            one["conditions"] for one in report["predicate"]["attributes"] if one["attribute"] == attribute
        ]

    def level(self, name: str, kind: str = "TaskRun") -> tuple[str, str]:
        (found,) = self.told(name, "HERMETIC_LEVEL", kind)
        return found["level"], found["reason"]


@pytest.fixture
def runs(
    api_server: ApiServer, pod_builder: PodBuilder, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Runs]:
    running = Running(api_server, tmp_path, slug(request), dict(ANNOTATIONS))
    yield Runs(running, pod_builder)
    if running.process is not None and running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def pod_reads(server: ApiServer) -> int:
    """Return how often the API server was asked for one pod since it started."""
    opener = build_opener(
        ProxyHandler({}), HTTPSHandler(context=ssl.create_default_context(cafile=str(server.ca_file)))
    )
    request = Request(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.token}"})
    with opener.open(request, timeout=30) as answer:
        text = answer.read().decode()
    lines = re.findall(r"^apiserver_request_total\{(.*)\} (\S+)$", text, re.MULTILINE)
    wanted = ('resource="pods"', 'verb="GET"', 'subresource=""')
    return sum(int(float(value)) for labels, value in lines if all(each in labels for each in wanted))


def other_ids(pod: Json) -> Json:
    status = pod_status(pod)
    for each in status["containerStatuses"]:
        each["containerID"] = each["state"]["terminated"]["containerID"] = f"containerd://{'e' * 64}"
    return status


def test_each_run_has_the_level_that_its_pod_proves(runs: Runs) -> None:
    hermetic = "https://example.com/hermetic"
    settings = {"metadata": {"name": "settings"}, "immutable": True, "data": {"TEKTON_RESOURCE_NAME": ""}}
    runs.server.request("POST", f"/api/v1/namespaces/{runs.namespace}/configmaps", settings)
    runs.running.configure({"builder.id.hermetic": hermetic, "artifacts.taskrun.format": "slsa/v2alpha4"})
    taken = [{"configMapRef": {"name": "settings"}}]
    gone = [{"configMapRef": {"name": "nowhere", "optional": True}}]
    keys = [{"secretRef": {"name": "keys", "optional": True}}]
    runs.create("proven")
    runs.create("only-wished", flags={"enable-api-fields": "stable"})
    runs.create("image-decides", template=None)
    runs.create("taken", step={**STEP, "envFrom": taken}, template=None)
    runs.create("taken-gone", step={**STEP, "envFrom": gone}, template=None)
    runs.create("taken-secret", step={**STEP, "envFrom": keys}, template=None)
    runs.create("taken-and-pinned", step={**STEP, "envFrom": [*taken, *gone]})
    runs.create("nobody-asked", wish={})
    runs.create("pod-gone")
    runs.delete_pod("pod-gone")
    runs.create("replaced")
    runs.delete_pod("replaced")
    runs.create_pod("replaced", runs.built["replaced"].pod, other_ids)
    runs.create("stolen")
    runs.delete_pod("stolen")
    pod = copy.deepcopy(runs.built["stolen"].pod)
    pod["metadata"]["ownerReferences"][0]["uid"] = "somebody-else"
    runs.create_pod("stolen", pod)
    for name in runs.built:
        runs.end(name)
    runs.create("leads-elsewhere")
    runs.end("leads-elsewhere", podName="../../../../api/v1/namespaces/kube-system/configmaps/x")
    runs.running.start()

    step = "step/build: "
    recorded = "and what that held when the container started is not recorded"
    image = "the image's own ENV may set TEKTON_RESOURCE_NAME, which keeps the network; the pod does not set it to nothing"
    foreign = "container step-build of the pod is not the one that the run recorded"
    assert {name: runs.level(name) for name in runs.built} == {
        "proven": ("enforced", "no network for 1 of 1 containers"),
        "only-wished": ("requested-only", f"{step}TEKTON_HERMETIC is not in the container's environment; no network policy governs the pod's egress: none is in the input"),
        "image-decides": ("unknown", step + image),
        "taken": ("unknown", f"{step}TEKTON_RESOURCE_NAME: envFrom: ConfigMap settings, {recorded}"),
        "taken-gone": ("unknown", f"{step}TEKTON_RESOURCE_NAME: envFrom: ConfigMap nowhere, {recorded}"),
        "taken-secret": ("unknown", f"{step}TEKTON_RESOURCE_NAME: envFrom: Secret keys, {recorded}"),
        "taken-and-pinned": ("enforced", "no network for 1 of 1 containers"),
        "nobody-asked": ("not-requested", f"no annotation {next(iter(HERMETIC))}: hermetic, and nothing is known to enforce it"),
        "pod-gone": ("unknown", f"{step}pod gone"),
        "replaced": ("unknown", step + foreign),
        "stolen": ("unknown", f"{step}the pod belongs to another owner than this run"),
        "leads-elsewhere": ("unknown", f"{step}'../../../../api/v1/namespaces/kube-system/configmaps/x' is no name of a pod"),
    }  # fmt: skip
    builders = {
        name: runs.statements(name)[0]["predicate"]["runDetails"]["builder"]["id"] for name in runs.built
    }
    assert {name for name, builder in builders.items() if builder == hermetic} == {
        "proven",
        "taken-and-pinned",
    }
    assert runs.told("proven", "POD_FACTS")[0]["uid"]
    assert runs.told("pod-gone", "POD_FACTS") == []


def test_a_policy_counts_while_nobody_has_touched_it_and_no_other_kind_may_overrule_it(runs: Runs) -> None:
    runs.running.configure({"execution.network-policies.enforced": "true"})
    runs.policy(DENY)
    runs.policy(DENY_EGRESS, name="deny-egress")
    labelled = {"labels": {"net": "none"}}
    runs.running.start()
    runs.create("denied", wish={}, metadata=labelled)
    runs.create("reachable", wish={}, metadata={"labels": {"net": "in-only"}})
    runs.create("not-selected", wish={})
    for name in runs.built:
        runs.end(name)
    assert runs.level("denied")[0] == "enforced"
    level, why = runs.level("reachable")
    assert level == "partly"
    assert "network policy deny-egress, but no network policy governs the pod's ingress: none of 2" in why
    assert runs.told("not-selected", "POD_NETWORK")[0]["networkPolicy"] == {
        "value": "false",
        "reason": "no network policy governs the pod's egress: none of 2 in the input",
    }

    with another_kind(runs) as create:
        runs.create("beside-another-kind", wish={}, metadata=labelled)
        create()
        runs.end("beside-another-kind")
        answer = runs.told("beside-another-kind", "POD_NETWORK")[0]["networkPolicy"]
        why = "OtherNetworkPolicy allow may overrule network policies, and is not understood here"
        assert answer == {"value": "unknown", "reason": why}

    runs.create("opened-meanwhile", wish={}, metadata=labelled)
    runs.policy({"egress": [{}]}, "PATCH")
    runs.policy({"egress": None}, "PATCH")
    runs.end("opened-meanwhile")
    answer = runs.told("opened-meanwhile", "POD_NETWORK")[0]["networkPolicy"]
    why = "its generation is not 1, so it may have been changed after the pod was created"
    assert answer == {"value": "unknown", "reason": f"network policy deny: {why}"}

    runs.create("opened", wish={}, metadata=labelled)
    runs.policy({"egress": [{}]}, "PATCH")
    runs.end("opened")  # an answer that was read before it ended must not be told of it
    assert runs.told("opened", "POD_NETWORK")[0]["networkPolicy"] == {
        "value": "false",
        "reason": "network policy deny allows egress everywhere",
    }


class another_kind:  # noqa: N801 - a context
    """A kind of policy that a network plugin brings; for the length of the block."""

    def __init__(self, runs: Runs) -> None:
        self.server = runs.server
        self.path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        self.objects = f"/apis/network.example.com/v1/namespaces/{runs.namespace}/othernetworkpolicies"

    def __enter__(self) -> Callable[[], None]:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        names = {"plural": "othernetworkpolicies", "kind": "OtherNetworkPolicy"}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        spec = {"group": "network.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
        body = {"metadata": {"name": "othernetworkpolicies.network.example.com"}, "spec": spec}
        self.server.request("POST", self.path, body)
        self.wait(served=True)
        return self.create

    def create(self) -> None:
        body = {
            "apiVersion": "network.example.com/v1",
            "kind": "OtherNetworkPolicy",
            "metadata": {"name": "allow"},
        }
        self.server.request("POST", self.objects, body)

    def wait(self, *, served: bool) -> None:
        deadline = time.monotonic() + 100
        while True:
            groups = self.server.request("GET", "/apis")["groups"]
            found = any(each["name"] == "network.example.com" for each in groups)
            try:
                self.server.request("GET", self.objects)
            except ApiError as error:
                if served and error.status not in {404, 429}:
                    raise
                found = False
            if found == served:
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self.server.request("DELETE", f"{self.path}/othernetworkpolicies.network.example.com")
        self.wait(served=False)


def child_of(parent: Json, task: str) -> Json:
    owners = owned(parent["metadata"]["uid"], "whole")
    return {"labels": {"tekton.dev/pipelineTask": task}, "ownerReferences": owners}


def create_pipeline(runs: Runs) -> tuple[Json, Callable[[], None]]:
    """Create a PipelineRun in progress; returns it, and what ends it."""
    parent = runs.server.create_run(
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {"name": "whole", "namespace": runs.namespace, "annotations": HERMETIC},
            "spec": {"pipelineRef": {"name": "p"}},
        }
    )

    def end() -> None:
        references = [
            {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": name, "pipelineTaskName": name}
            for name in runs.built
        ]
        status = {
            "conditions": [{"type": "Succeeded", "status": "True"}],
            "completionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "childReferences": references,
        }
        path = f"/apis/tekton.dev/v1/namespaces/{runs.namespace}/pipelineruns/whole/status"
        runs.server.request("PATCH", path, {"status": status}, kind=MERGE)

    return parent, end


def test_a_pipeline_run_tells_of_its_childrens_pods_after_they_are_gone_and_no_pod_is_read_twice(
    runs: Runs,
) -> None:
    runs.running.start()
    parent, end = create_pipeline(runs)
    for name in ("one", "two"):
        runs.create(name, metadata=child_of(parent, name))
    before = pod_reads(runs.server)
    for name in ("one", "two"):
        runs.end(name)
    for name in ("one", "two"):
        assert runs.level(name)[0] == "enforced"
        runs.delete_pod(name)
    end()
    assert runs.level("whole", "PipelineRun")[0] == "enforced"
    children = runs.told("whole", "HERMETIC_CHILD_LEVEL", "PipelineRun")
    assert [child["level"] for child in children] == ["enforced", "enforced"]
    assert pod_reads(runs.server) - before == 2


def test_a_pipeline_run_is_as_weak_as_its_weakest_child(runs: Runs) -> None:
    parent, end = create_pipeline(runs)
    runs.create("one", metadata=child_of(parent, "one"))
    runs.create("two", metadata=child_of(parent, "two"))
    runs.delete_pod("two")
    for name in ("one", "two"):
        runs.end(name)
    end()
    runs.running.start()
    assert runs.level("whole", "PipelineRun") == ("unknown", "taskrun two: step/build: pod gone")
    children = runs.told("whole", "HERMETIC_CHILD_LEVEL", "PipelineRun")
    assert [child["level"] for child in children] == ["enforced", "unknown"]


def test_without_the_right_to_read_pods_the_provenance_is_signed_and_the_rest_is_unknown(runs: Runs) -> None:
    allow_runs(runs)
    runs.policy(DENY)
    for name in ("one", "two"):
        runs.create(name)
        runs.end(name)
    server = runs.server
    token = server.service_account_token(runs.namespace, "controller")
    runs.running.seen_as = replace(server, token=token)
    runs.running.start()
    for name in ("one", "two"):
        assert runs.level(name) == ("unknown", f"step/build: the pod {UNREAD}")
    assert runs.running.log.read_text().count("surroundings of runs cannot be read") == 1

    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    runs.server.request("PATCH", f"{ROLES.format(runs.namespace)}/pods", {"rules": rules}, kind=MERGE)
    runs.create("three")
    runs.end("three")
    assert runs.level("three")[0] == "enforced"
    assert runs.told("three", "POD_NETWORK")[0]["networkPolicy"] == {
        "value": "unknown",
        "reason": f"the network policies of the namespace {UNREAD}",
    }


ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles"


def allow_runs(runs: Runs) -> None:
    """Give an account what marking takes, and nothing else; the role ``pods`` has no rules yet."""
    rule = {
        "apiGroups": ["tekton.dev"],
        "resources": ["taskruns", "pipelineruns"],
        "verbs": ["get", "list", "watch", "patch"],
    }
    read = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    for namespace, name, rules in (
        (runs.namespace, "runs", [rule]),
        (runs.namespace, "pods", []),
        (runs.running.system, "config", [read]),
    ):
        path = ROLES.format(namespace)
        runs.server.request("POST", path, {"metadata": {"name": name}, "rules": rules})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "controller", "namespace": runs.namespace}],
        }
        runs.server.request("POST", path.removesuffix("roles") + "rolebindings", binding)


def test_without_a_report_no_pod_is_read(runs: Runs) -> None:
    runs.running.configure({"execution.report": "false"})
    runs.create("quiet")
    runs.end("quiet")
    before = pod_reads(runs.server)
    runs.running.start()
    annotations = runs.running.attested("quiet")["metadata"]["annotations"]
    assert annotations["chains.tekton.dev/signed"] == "true"
    assert pod_reads(runs.server) == before


class Busy(Cluster):
    """A cluster that answers everything but questions for pods."""

    asked = 0

    async def get(self, path: str, **options: Any) -> dict[str, Any]:
        if "/pods/" in path:
            self.asked += 1
            raise ClusterUnavailable(f"GET {path}: 503 busy")
        return await super().get(path, **options)


def test_a_pod_that_cannot_be_read_for_now_is_tried_again_and_then_unknown(runs: Runs) -> None:
    runs.create("late")
    runs.end("late")
    uid = runs.running.run("TaskRun", "late")["metadata"]["uid"]
    flow = build_flow(dict(ANNOTATIONS), runs.running.keys)
    access = find_access(str(runs.server.kubeconfig(runs.running.folder)))

    async def work() -> int:
        async with Busy(access) as cluster:
            list_ = WorkList()
            list_.offer(Job("TaskRun", runs.namespace, "late", uid))
            controller = Controller(
                cluster, list_, lambda: flow, Metrics(), HowToWork(workers=1, retry_for=0)
            )
            working = asyncio.create_task(controller.run())
            await asyncio.to_thread(runs.running.attested, "late")
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            return cluster.asked

    assert asyncio.run(asyncio.wait_for(work(), 30)) == 2
    assert runs.level("late") == (
        "unknown",
        "step/build: the pod could not be read: the API server did not answer",
    )


def test_a_key_for_redaction_that_cannot_be_used_is_refused_and_a_good_one_is_taken(
    runs: Runs, tmp_path: Path
) -> None:
    key = tmp_path / "redaction.key"
    runs.running.configure({"execution.redaction.key-file": str(key)})
    step = {**STEP, "env": [{"name": "PASSWORD", "value": "hunter2"}]}
    runs.create("secret", step=step)
    runs.end("secret")
    runs.running.start(expected=503)
    assert "execution.redaction.key-file" in runs.running.log.read_text()
    assert runs.running.signed("secret") == ""
    key.write_bytes(b"0123456789abcdef")
    facts = runs.told("secret", "CONTAINER_FACTS")
    variables = {item["name"]: item for one in facts for item in one.get("env", ())}
    assert len(variables["PASSWORD"]["hmac-sha256"]) == 64
    assert "hunter2" not in json.dumps(runs.statements("secret")[1])


def test_what_images_set_is_read_where_it_decides_and_the_proof_is_verified_from_the_registry(
    runs: Runs, referrers_registry: Registry, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    digest = referrers_registry.push_image(runs.namespace)
    built = f"{referrers_registry.host}/{runs.namespace}@{digest}"
    stored = dict.fromkeys(ANNOTATIONS, "oci")
    runs.running.configure(
        stored | {"execution.image-environments": "true", "artifacts.taskrun.format": "slsa/v2alpha4"}
    )
    tool = push(referrers_registry, f"{runs.namespace}/tool", "PATH=/bin")
    runs.create("build", step={**STEP, "image": tool}, template=None)
    results = [("IMAGE_URL", built.partition("@")[0]), ("IMAGE_DIGEST", digest)]
    runs.end("build", results=[{"name": name, "type": "string", "value": value} for name, value in results])
    runs.running.start()
    annotations = runs.running.attested("build")["metadata"]["annotations"]
    assert annotations["chains.tekton.dev/signed"] == "true"
    key = str(runs.running.keys / "x509.pub")
    capsysbinary.readouterr()
    code = chains(
        [
            *("verify", built, "--key", key, "--require", "hermetic", "--namespace", runs.namespace),
            *("--output", "json"),
        ]
    )
    found = json.loads(capsysbinary.readouterr().out)
    assert code == 0, found
    (told,) = [one for one in found["checks"] if one["id"] == "namespace"]
    assert told["actual"] == f"a run in namespace {runs.namespace}"
    (check,) = [one for one in found["checks"] if one["id"] == "hermetic"]
    assert check["actual"] == "level enforced"
