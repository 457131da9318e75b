"""Pods of Tekton's own builder, some of them on a real API server: nothing in them looks injected or changed."""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from chains.attest.payloads import EXECUTION_REPORT, build_payloads
from chains.config.parse import parse_config
from chains.isolation.judgement import Isolation, judge_isolation
from chains.tekton.run_files import Intake, read_inputs
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import parse_surroundings
from tests.interop.attested import slug
from tests.testbed.cluster import MERGE, ApiServer
from tests.testbed.images import Registry
from tests.testbed.pod_builder import ALPHA, Built, PodBuilder, finish, pod_status

pytestmark = pytest.mark.server
Json = Any
EXAMPLE = Path(__file__).parents[2] / "examples" / "taskrun-hermetic.yaml"
HERMETIC = {"experimental.tekton.dev/execution-mode": "hermetic"}
PINNED = {"env": [{"name": "TEKTON_RESOURCE_NAME", "value": ""}]}
IMAGE = "registry.example.com/team/tool:1"
STEP = {"name": "build", "image": IMAGE, "command": ["make"], "args": ["all"]}
RICH_STEP = {
    "image": IMAGE,
    "script": "#!/usr/bin/env bash\nmake $(params.target) > $(results.sum.path)",
    "args": ["-x"],
    "env": [
        {"name": "MODE", "value": "step"},
        {"name": "TARGET", "value": "$(params.target)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "one", "optional": True}}},
    ],
    "envFrom": [{"prefix": "X_", "configMapRef": {"name": "settings"}}],
    "workingDir": "$(workspaces.source.path)/app",
    "securityContext": {"runAsUser": 0, "capabilities": {"drop": ["ALL"]}},
    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    "onError": "continue",
    "timeout": "5m0s",
}
RICH = {
    "params": [{"name": "target", "default": "all"}],
    "workspaces": [{"name": "source"}, {"name": "output", "mountPath": "/out"}],
    "results": [{"name": "sum"}],
    "stepTemplate": {
        "env": [{"name": "MODE", "value": "template"}, {"name": "HOME", "value": "/tekton/home"}],
        "securityContext": {"allowPrivilegeEscalation": False, "runAsUser": 1000},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    },
    "steps": [RICH_STEP, {**STEP, "workspaces": [{"name": "output"}]}, {"image": IMAGE, "command": ["true"]}],
    "sidecars": [
        {"name": "database", "image": IMAGE, "args": ["serve"], "readinessProbe": {"tcpSocket": {"port": 1}}},
        {
            "name": "cache-with-a-name-that-is-much-longer-than-a-container-may-have",
            "image": IMAGE,
            "script": "serve",
        },
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}],
}
RICH_RUN = {
    "params": [{"name": "target", "value": "release"}],
    "workspaces": [
        {"name": "source", "persistentVolumeClaim": {"claimName": "sources"}},
        {"name": "output", "emptyDir": {}},
    ],
    "podTemplate": {"env": [*PINNED["env"], {"name": "MODE", "value": "pod"}], "hostUsers": False},
}
GIT_SECRET = {
    "metadata": {"name": "git.example.com", "annotations": {"tekton.dev/git-0": "https://git.example.com"}},
    "type": "kubernetes.io/basic-auth",
    "data": {"username": "dQ==", "password": "cA=="},
}


def task_run(task: Json, **spec: Json) -> Json:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": "r", "namespace": "ci", "uid": "run-uid", "annotations": dict(HERMETIC)},
        "spec": {"taskSpec": task, "podTemplate": copy.deepcopy(PINNED), **spec},
    }


def judged(built: Built, **surroundings: Json) -> Isolation:
    run = take_snapshot(built.run)
    return judge_isolation(run, {run.label: parse_surroundings(pod=built.pod, **surroundings)})


@pytest.mark.parametrize(
    ("run", "options"),
    [
        (task_run({"steps": [STEP]}), {}),
        (task_run(RICH, **RICH_RUN), {}),
        (task_run({"steps": [STEP]}), {"secrets": [GIT_SECRET]}),
        (task_run({"steps": [{**STEP, "script": "true", "command": []}], "results": [{"name": "a"}]}), {}),
        (
            task_run({"steps": [STEP], "results": [{"name": "a"}]}),
            {"flags": {"results-from": "sidecar-logs"}},
        ),
        (task_run({"steps": [STEP]}), {"flags": {"disable-creds-init": "true"}}),
        (task_run({"steps": [STEP]}), {"flags": {"set-security-context": "true"}}),
        (task_run({"steps": [STEP]}), {"flags": {"keep-pod-on-cancel": "true"}}),
        (task_run(RICH, **RICH_RUN), {"defaults": {"default-forbidden-env": "MODE"}}),
    ],
    ids=["one step", "rich", "git", "script", "sidecar logs", "no creds", "secure", "cancel", "forbidden"],
)
def test_a_pod_of_tektons_builder_is_as_the_task_asks(
    run: Json, options: Json, pod_builder: PodBuilder
) -> None:
    flags = {**ALPHA, **options.pop("flags", {})}
    built = pod_builder.finished(run, flags=flags, **options)
    isolation = judged(built)
    wrong = {
        f"{one.kind}/{one.name}": one.observed.reason
        for one in isolation.containers
        if one.observed.value != "true"
    }
    assert wrong == {}
    kinds = {one.kind for one in isolation.containers}
    assert kinds <= {"step", "sidecar", "init"}
    own = [one.name for one in isolation.containers if not one.is_counted]
    assert "prepare" in own
    assert ("sidecar-tekton-log-results" in own) is (flags.get("results-from") == "sidecar-logs")
    asked = run["spec"]["taskSpec"]
    counted = [one for one in isolation.containers if one.is_counted]
    assert len(counted) == len(asked["steps"]) + len(asked.get("sidecars", []))


@pytest.mark.parametrize(
    ("own", "level"),
    [
        (None, "enforced"),
        ({"env": [{"name": "OTHER", "value": "1"}]}, "enforced"),
        ({"env": [{"name": "TEKTON_RESOURCE_NAME", "value": "x"}]}, "requested-only"),
    ],
)
def test_the_setting_for_the_whole_cluster_proves_every_run(
    own: Json, level: str, pod_builder: PodBuilder
) -> None:
    page = (EXAMPLE.parents[1] / "docs" / "execution-report.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    defaults = yaml.safe_load(shown)
    assert list(defaults) == ["default-pod-template"]
    run = task_run({"steps": [{**STEP, "env": [{"name": "TEKTON_RESOURCE_NAME", "value": "step"}]}]})
    run["spec"]["podTemplate"] = own
    assert judged(pod_builder.finished(run, flags=ALPHA, defaults=defaults)).level == level


def test_a_step_whose_command_is_the_images_own_is_as_the_task_asks(
    pod_builder: PodBuilder, referrers_registry: Registry
) -> None:
    digest = referrers_registry.push_image("team/own-command", tag="v1")
    image = f"{referrers_registry.host}/team/own-command:v1"
    built = pod_builder.finished(task_run({"steps": [{"name": "run", "image": image}]}), flags=ALPHA)
    (container,) = built.pod["spec"]["containers"]
    assert container["image"] == f"{image.removesuffix(':v1')}@{digest}"
    assert "TEKTON_PLATFORM_COMMANDS" in {item["name"] for item in container["env"]}
    assert judged(built).containers[0].observed.reason == "ran once, as the task asks"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["image"], "registry.example.com/evil:1", "the image is another one"),
        (["args", -1], "evil", "the command is another one"),
        (["workingDir"], "/evil", "the working folder is another one"),
        (["securityContext"], {"runAsUser": 0}, "the security context is another one"),
        (["env", -1], {"name": "TEKTON_HERMETIC", "value": "0"}, "variable TEKTON_HERMETIC was changed"),
        (["env", 0], {"name": "HTTP_PROXY", "value": "x"}, "variable HTTP_PROXY was added"),
        (["envFrom"], [], "envFrom was changed"),
        (["volumeMounts", 0], {"name": "evil", "mountPath": "/evil"}, "a volume was mounted at /evil"),
        (["livenessProbe"], {"exec": {"command": ["x"]}}, "livenessProbe was added"),
    ],
)
def test_what_a_webhook_changed_in_a_step_is_told(
    path: list[Any], value: Json, reason: str, pod_builder: PodBuilder
) -> None:
    built = pod_builder.finished(task_run(RICH, **RICH_RUN), flags=ALPHA)
    *above, last = path
    place = built.pod["spec"]["containers"][0]
    for key in above:
        place = place[key]
    place[last] = value
    observed = judged(built).containers[0].observed
    assert (observed.value, observed.reason.startswith("not as the task asks: ")) == ("false", True)
    assert reason in observed.reason


def test_the_pod_of_the_example_is_what_tekton_makes_of_its_run(pod_builder: PodBuilder) -> None:
    intake = read_inputs([str(EXAMPLE)])
    (key,) = intake.runs
    run = intake.load(key)
    pod = next(orjson.loads(data) for name, data in intake.surroundings.items() if name[0] == "Pod")
    asked = copy.deepcopy(run)
    task = asked.pop("status")["taskSpec"]
    asked["spec"].pop("taskRef")
    asked["spec"]["taskSpec"] = task
    flags = {"enable-api-fields": "alpha", "running-in-environment-with-injected-sidecars": "true"}
    made = pod_builder.build(asked, flags=flags, defaults={"default-service-account": "builder"})["pod"]

    def told(which: Json) -> Json:
        text = json.dumps([
            {name: one.get(name) for name in ("name", "command", "args", "env", "image", "securityContext")}
            for one in which["spec"]["containers"]
        ])  # fmt: skip
        return json.loads(re.sub(r"(script-\d)-\w{5}", r"\1-xxxxx", text))

    assert told(made) == told(pod)
    assert judged(Built(run, pod)).level == "enforced"


def report(objects: list[Json], namespace: str) -> list[Json]:
    """Return what the report tells of isolation for objects as ``kubectl get -o json`` gives them."""
    intake = Intake()
    intake.add("export.json", orjson.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    assert not intake.problems
    run = intake.snapshot(("TaskRun", namespace, "build"))
    config = parse_config({"execution.network-policies.enforced": "true"})
    (found,) = [
        payload
        for payload in build_payloads(run, config, intake.surroundings_of(run))
        if payload.kind == EXECUTION_REPORT
    ]
    attributes = json.loads(found.statement)["predicate"]["attributes"]
    told = {"HERMETIC_LEVEL", "HERMETIC_EXECUTION", "POD_NETWORK", "CONTAINER_FACTS", "POD_FACTS"}
    return [one for one in attributes if one["attribute"] in told]


class OnServer:
    """A run with its pod and what is beside them, created on an API server as Tekton and nodes do."""

    def __init__(self, server: ApiServer, builder: PodBuilder, namespace: str) -> None:
        self.server, self.namespace = server, server.create_namespace(namespace)
        self.settings = self._create(
            f"/api/v1/namespaces/{namespace}/configmaps",
            {"apiVersion": "v1", "kind": "ConfigMap", "data": {"TEKTON_RESOURCE_NAME": ""}},
            "settings",
        )
        self.policy = self._create(
            f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "spec": {"podSelector": {}, "policyTypes": ["Egress", "Ingress"]},
            },
            "deny-all",
        )
        step = {**STEP, "envFrom": [{"configMapRef": {"name": "settings"}}]}
        wanted = task_run({"steps": [step], "sidecars": [{"name": "db", "image": IMAGE}]}, podTemplate=None)
        wanted["metadata"] |= {"name": "build", "namespace": namespace}
        created = server.create_run(wanted)
        answer = builder.build(created, flags=ALPHA)
        made = server.request("POST", f"/api/v1/namespaces/{namespace}/pods", answer["pod"])
        pod_path = f"/api/v1/namespaces/{namespace}/pods/{made['metadata']['name']}"
        server.request("PATCH", f"{pod_path}/status", {"status": pod_status(made)}, kind=MERGE)
        self.local = finish(created, answer["pod"], answer["taskSpec"], answer["featureFlags"])
        self.local.pod["metadata"] |= {name: made["metadata"][name] for name in ("uid", "creationTimestamp")}
        ended = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.local.run["status"]["completionTime"] = ended
        self._run_path = f"/apis/tekton.dev/v1/namespaces/{namespace}/taskruns/build"
        server.request("PATCH", f"{self._run_path}/status", {"status": self.local.run["status"]}, kind=MERGE)
        self._paths = [self._run_path, pod_path]

    def _create(self, path: str, body: Json, name: str) -> str:
        self.server.request("POST", path, {**body, "metadata": {"name": name}})
        return f"{path}/{name}"

    def objects(self) -> list[Json]:
        """Return what the server has now."""
        paths = [*self._paths, self.settings, self.policy]
        return [self.server.request("GET", path) for path in paths]


@pytest.fixture
def on_server(api_server: ApiServer, pod_builder: PodBuilder, request: pytest.FixtureRequest) -> OnServer:
    return OnServer(api_server, pod_builder, slug(request))


def test_what_a_real_server_gives_back_makes_the_same_report(on_server: OnServer) -> None:
    run, pod, settings, policy = on_server.objects()
    assert pod["spec"]["containers"][0] != on_server.local.pod["spec"]["containers"][0]  # defaults were added
    found = report([run, pod, settings, policy], on_server.namespace)
    levels = {one["attribute"]: one["conditions"] for one in found[:2]}
    assert levels["HERMETIC_LEVEL"]["level"] == "enforced"
    assert levels["POD_NETWORK"]["networkPolicy"]["value"] == "true"
    answers = {
        one["target"]["name"]: {
            name: one["conditions"][name]["value"] for name in ("requested", "enforced", "observed")
        }
        for one in found
        if one["attribute"] == "HERMETIC_EXECUTION"
    }
    step = {"requested": "true", "enforced": "true", "observed": "true"}
    sidecar = {"requested": "false", "enforced": "true", "observed": "true"}
    assert answers["step/build"] == step
    assert answers["sidecar/db"] == sidecar

    local = report([on_server.local.run, on_server.local.pod, settings, policy], on_server.namespace)
    hermetic = {"HERMETIC_EXECUTION", "POD_NETWORK"}
    assert [one for one in found if one["attribute"] in hermetic] == [
        one for one in local if one["attribute"] in hermetic
    ]


def test_what_was_changed_on_the_server_and_dated_back_is_not_believed(on_server: OnServer) -> None:
    def policy() -> Json:
        _, network, *_ = report(on_server.objects(), on_server.namespace)
        return network["conditions"]["networkPolicy"]

    def change(body: Json) -> Json:
        return on_server.server.request("PATCH", on_server.policy, body, kind=MERGE)

    assert policy()["value"] == "true"
    change({"spec": {"egress": [{}]}})
    changed = change({"spec": {"egress": None}})
    before = "2020-01-01T00:00:00Z"
    dated = [{**each, "manager": "other", "time": before} for each in changed["metadata"]["managedFields"]]
    # the server takes what it is told of the times of writes: they prove nothing
    changed = change({"metadata": {"managedFields": dated, "generation": 1}})
    assert {each["time"] for each in changed["metadata"]["managedFields"]} == {before}
    why = "its generation is not 1, so it may have been changed after the pod was created"
    assert policy() == {"value": "unknown", "reason": f"network policy deny-all: {why}"}
