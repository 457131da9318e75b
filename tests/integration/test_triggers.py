"""Tekton Triggers' own EventListener and interceptors, a signed webhook, and what the evidence says about the run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest
import yaml

from chains.cli.main import run as chains
from tests.testbed.build import binary
from tests.testbed.certificates import make_certificates
from tests.testbed.cluster import MERGE, ApiError, ApiServer, definitions_of, install_crds
from tests.testbed.commands import Command
from tests.testbed.ports import free_ports
from tests.testbed.process import running

pytestmark = pytest.mark.server
Json = Any
EXAMPLES = Path(__file__).parents[2] / "examples" / "triggers"
NAMESPACE = "triggered"
SECRET = b"what the forge and we know"
TRIGGERS = "github.com/tektoncd/triggers"
RUNS = f"/apis/tekton.dev/v1/namespaces/{NAMESPACE}/pipelineruns"
BODY = json.dumps(
    {"after": "0" * 40, "repository": {"html_url": "https://github.com/acme/app"}, "who": "Jürgen"},
    ensure_ascii=False,
).encode()
GUARDED = "only an account with the right to claim what started a run writes"
OWNER = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "p", "uid": "u-1", "controller": True}


@dataclass(frozen=True)
class Triggers:
    """A running EventListener in a cluster with the guard, and a developer of its namespace."""

    api: ApiServer
    url: str
    developer: str
    log: Path
    checks: Path
    """The log of Triggers' own interceptors."""

    def send(self, body: bytes, signature: str, delivery: str = "d-1") -> Json:
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": signature,
        }
        with build_opener(ProxyHandler({})).open(Request(self.url, body, headers), timeout=30) as answer:
            return json.loads(answer.read())

    def runs(self, event: str) -> list[Json]:
        found = self.api.request(
            "GET", f"{RUNS}?labelSelector=triggers.tekton.dev%2Ftriggers-eventid%3D{event}"
        )
        return [{**one, "apiVersion": "tekton.dev/v1", "kind": "PipelineRun"} for one in found["items"]]

    def run_of(self, event: str) -> Json:
        deadline = time.monotonic() + 60
        while not (found := self.runs(event)):
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.1)
        (run,) = found
        return run

    def refusal(self, method: str, path: str, body: Json, token: str = "") -> str:
        """Return why a request of the developer, or of another account, is refused; empty if it is not."""
        kind = MERGE if method == "PATCH" else "application/json"
        try:
            self.api.request(method, f"{path}?dryRun=All", body, kind=kind, token=token or self.developer)
        except ApiError as error:
            return str(json.loads(error.text)["message"])
        return ""


@pytest.fixture(scope="module")
def tekton_triggers(
    api_server: ApiServer, kubectl: Command, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Triggers]:
    folder = tmp_path_factory.mktemp("triggers")
    api_server.create_namespace(NAMESPACE)
    install_crds(
        api_server,
        definitions_of("triggers", TRIGGERS, "config", "300-*.yaml"),
        [
            *(
                f"triggers.tekton.dev/v1beta1/{one}s"
                for one in ("eventlistener", "trigger", "triggertemplate")
            ),
            "triggers.tekton.dev/v1beta1/triggerbindings",
            "triggers.tekton.dev/v1beta1/clustertriggerbindings",
            "triggers.tekton.dev/v1alpha1/clusterinterceptors",
            "triggers.tekton.dev/v1alpha1/interceptors",
        ],
    )
    kubectl("-n", NAMESPACE, "apply", "-f", EXAMPLES / "listener.yaml", "-f", EXAMPLES / "guard.yaml")
    token = base64.b64encode(SECRET).decode()
    api_server.request(
        "POST",
        f"/api/v1/namespaces/{NAMESPACE}/secrets",
        {"metadata": {"name": "github-webhook"}, "data": {"token": token}},
    )
    _let_see_interceptors(api_server)
    certificates = make_certificates(folder / "tls")
    files = ["--cert", certificates.cert_file, "--key", certificates.key_file]
    (folder / "admin").mkdir()
    (folder / "listener").mkdir()
    admin = api_server.kubeconfig(folder / "admin")
    account = api_server.service_account_token(NAMESPACE, "github-listener")
    listener = api_server.kubeconfig(folder / "listener", account)
    with ExitStack() as stack:
        core = stack.enter_context(
            running(
                [binary("triggers-interceptors"), "-kubeconfig", admin, *_go_flags(files)],
                folder / "interceptors.log",
                r"^listening on (\S+)$",
            )
        )
        digest = stack.enter_context(
            running(
                [
                    sys.executable,
                    EXAMPLES / "event_digest.py",
                    "--address",
                    "127.0.0.1",
                    "--port",
                    "0",
                    *files,
                ],
                folder / "digest.log",
                r"^listening on port (\d+)$",
            )
        )
        bundle = base64.b64encode(certificates.ca_file.read_bytes()).decode()
        _register(api_server, "github", f"https://{core.address}/github", bundle)
        _register(api_server, "event-digest", f"https://127.0.0.1:{digest.address}/", bundle)
        (port,) = free_ports(1)
        log = folder / "sink.log"
        environment = {
            "KUBECONFIG": str(listener),
            "NAMESPACE": NAMESPACE,
            "SYSTEM_NAMESPACE": NAMESPACE,
            "NAME": "github",
            "K_LOGGING_CONFIG": "",
            "K_METRICS_CONFIG": "",
            "K_OBSERVABILITY_CONFIG": '{"metrics-protocol":"none"}',
        }
        sink = [
            binary("triggers-sink"),
            "--el-name",
            "github",
            "--el-namespace",
            NAMESPACE,
            "--port",
            str(port),
        ]
        stack.enter_context(killed_at_the_end(sink, log, environment))
        made = Triggers(api_server, f"http://127.0.0.1:{port}/", _developer(api_server), log, core.log)
        _wait_until_it_listens(made)
        _wait_for_the_guard(made)
        yield made
        for kind in ("validating", "mutating"):
            name = "triggers" if kind == "validating" else "creator"
            path = f"/apis/admissionregistration.k8s.io/v1/{kind}admissionpolicybindings/tekton-chains-{name}"
            api_server.request("DELETE", path)


@contextmanager
def killed_at_the_end(command: list[str | Path], log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run the EventListener, which goes on serving for a long time after a polite end."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _go_flags(files: list[str | Path]) -> list[str | Path]:
    return [one.removeprefix("-") if isinstance(one, str) else one for one in files]


def _let_see_interceptors(api: ApiServer) -> None:
    rule = {
        "apiGroups": ["triggers.tekton.dev"],
        "resources": ["clusterinterceptors", "clustertriggerbindings"],
        "verbs": ["get", "list", "watch"],
    }
    group = "/apis/rbac.authorization.k8s.io/v1"
    api.request("POST", f"{group}/clusterroles", {"metadata": {"name": "listeners"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": "github-listener", "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "listeners"}
    body = {"metadata": {"name": "listeners"}, "subjects": [subject], "roleRef": role}
    api.request("POST", f"{group}/clusterrolebindings", body)


def _register(api: ApiServer, name: str, url: str, bundle: str) -> None:
    body = {
        "apiVersion": "triggers.tekton.dev/v1alpha1",
        "kind": "ClusterInterceptor",
        "metadata": {"name": name, "labels": {"server/type": "https"}},
        "spec": {"clientConfig": {"url": url, "caBundle": bundle}},
    }
    api.request("POST", "/apis/triggers.tekton.dev/v1alpha1/clusterinterceptors", body)


def _developer(api: ApiServer) -> str:
    """Return the token of an account that may do everything with runs, as developers often may."""
    token = api.service_account_token(NAMESPACE, "developer")
    group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
    rule = {"apiGroups": ["tekton.dev"], "resources": ["*"], "verbs": ["*"]}
    api.request("POST", f"{group}/roles", {"metadata": {"name": "developer"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": "developer", "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "developer"}
    body = {"metadata": {"name": "developer"}, "subjects": [subject], "roleRef": role}
    api.request("POST", f"{group}/rolebindings", body)
    return token


def _wait_until_it_listens(made: Triggers) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with build_opener(ProxyHandler({})).open(made.url + "live", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, made.log.read_text()[-4000:]
            time.sleep(0.1)


def _wait_for_the_guard(made: Triggers) -> None:
    deadline = time.monotonic() + 100
    while True:
        refused = made.refusal("POST", RUNS, run("probe", labels={"triggers.tekton.dev/trigger": "x"}))
        created = made.api.request("POST", f"{RUNS}?dryRun=All", run("probe"), token=made.developer)
        if GUARDED in refused and creator(created).endswith(":developer"):
            return
        assert time.monotonic() < deadline, refused
        time.sleep(0.1)


def run(name: str, **metadata: Json) -> Json:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": name, **metadata},
        "spec": {"pipelineRef": {"name": "build"}},
    }


def creator(made: Json) -> str:
    return str(made["metadata"].get("annotations", {}).get("provenance.chains/created-by", ""))


def signed(body: bytes) -> str:
    return f"sha256={hmac.new(SECRET, body, hashlib.sha256).hexdigest()}"


def finished(made: Triggers, created: Json) -> Json:
    status = {
        "startTime": "2026-06-01T10:00:00Z",
        "completionTime": "2026-06-01T10:01:00Z",
        "conditions": [
            {
                "type": "Succeeded",
                "status": "True",
                "reason": "Succeeded",
                "lastTransitionTime": "2026-06-01T10:01:00Z",
            }
        ],
    }
    path = f"{RUNS}/{created['metadata']['name']}/status"
    return made.api.request("PATCH", path, {"status": status}, kind=MERGE)


def trigger_of(exported: Json, folder: Path, *, guarded: bool) -> Json:
    """Attest an exported run and return what its stored execution report says about the trigger."""
    (folder / "run.json").write_text(json.dumps(exported))
    data = {"execution.trigger.guarded": str(guarded).lower()}
    (folder / "config.yaml").write_text(yaml.safe_dump(data))
    arguments = ["--config", str(folder / "config.yaml"), "--store", f"file:{folder / 'evidence'}"]
    key = ["--key", str(folder / "signing.key")]
    if not (folder / "signing.key").exists():
        assert chains(["keys", "generate", str(folder / "signing.key")]) == 0
    assert chains(["attest", str(folder / "run.json"), *arguments, *key]) == 0
    (file,) = (folder / "evidence").glob("pipelinerun-*/*scai-v0.3.envelope.json")
    report = json.loads(base64.b64decode(json.loads(file.read_bytes())["payload"]))
    found = [one for one in report["predicate"]["attributes"] if one["attribute"] == "RUN_TRIGGER"]
    (told,) = found
    return told["conditions"]


def test_a_signed_webhook_starts_a_run_whose_report_says_which_event_it_was(
    tekton_triggers: Triggers, tmp_path: Path
) -> None:
    event = tekton_triggers.send(BODY, signed(BODY), "72d3162e-cc78")["eventID"]
    created = tekton_triggers.run_of(event)
    told = trigger_of(finished(tekton_triggers, created), tmp_path, guarded=True)
    assert told.pop("trust") == "guarded"
    assert "execution.trigger.guarded" in told.pop("reason")
    assert {name: fact.get("value") or fact["sha256"] for name, fact in told.items()} == {
        "eventListener": "github",
        "trigger": "push",
        "eventId": event,
        "interceptors": "github,event-digest",
        "eventType": "push",
        "eventSource": "https://github.com/acme/app",
        "eventDelivery": "72d3162e-cc78",
        "eventDigest": hashlib.sha256(BODY).hexdigest(),
        "creator": f"system:serviceaccount:{NAMESPACE}:github-listener",
    }


def test_without_the_operators_word_the_same_facts_are_claims(
    tekton_triggers: Triggers, tmp_path: Path
) -> None:
    event = tekton_triggers.send(BODY, signed(BODY))["eventID"]
    told = trigger_of(finished(tekton_triggers, tekton_triggers.run_of(event)), tmp_path, guarded=False)
    assert told["trust"] == "claimed"


def test_an_event_with_a_wrong_signature_starts_nothing(tekton_triggers: Triggers) -> None:
    before = tekton_triggers.api.request("GET", RUNS)["items"]
    forged = tekton_triggers.send(BODY + b" ", signed(BODY))["eventID"]
    tekton_triggers.run_of(tekton_triggers.send(BODY, signed(BODY))["eventID"])
    deadline = time.monotonic() + 60
    while "payload signature check failed" not in tekton_triggers.checks.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert tekton_triggers.runs(forged) == []
    assert len(tekton_triggers.api.request("GET", RUNS)["items"]) == len(before) + 1


def test_a_developer_cannot_say_that_an_event_started_a_run(tekton_triggers: Triggers) -> None:
    label, note = "triggers.tekton.dev/eventlistener", "provenance.chains/event-sha256"
    refused = [
        tekton_triggers.refusal("POST", RUNS, run("a", labels={label: "github"})),
        tekton_triggers.refusal("POST", RUNS, run("a", annotations={note: "0" * 64})),
        tekton_triggers.refusal(
            "POST", RUNS, run("a", annotations={"provenance.chains/interceptors": "github"})
        ),
    ]
    assert all(GUARDED in one for one in refused)
    assert label in refused[0]
    assert note in refused[1]
    assert tekton_triggers.refusal("POST", RUNS, run("a", labels={"team": "a"})) == ""
    # what has an owner is called claimed by reports, so it may have them, as Tekton's copies do
    owned = run("a", labels={label: "github"}, ownerReferences=[OWNER])
    assert tekton_triggers.refusal("POST", RUNS, owned) == ""


def test_nobody_changes_afterwards_what_started_a_run(tekton_triggers: Triggers) -> None:
    created = tekton_triggers.run_of(tekton_triggers.send(BODY, signed(BODY))["eventID"])
    path = f"{RUNS}/{created['metadata']['name']}"
    label = {"metadata": {"labels": {"triggers.tekton.dev/trigger": "release"}}}
    gone = {"metadata": {"annotations": {"provenance.chains/event-sha256": None}}}
    for token in (tekton_triggers.developer, tekton_triggers.api.token):
        assert GUARDED in tekton_triggers.refusal("PATCH", path, label, token)
        assert GUARDED in tekton_triggers.refusal("PATCH", path, gone, token)
    assert tekton_triggers.refusal("PATCH", path, {"metadata": {"labels": {"team": "a"}}}) == ""


def test_a_run_does_not_lose_its_owner_to_look_like_a_listeners(tekton_triggers: Triggers) -> None:
    owned = run("owned", labels={"triggers.tekton.dev/trigger": "push"}, ownerReferences=[OWNER])
    tekton_triggers.api.request("POST", RUNS, owned, token=tekton_triggers.developer)
    path = f"{RUNS}/owned"
    refused = tekton_triggers.refusal("PATCH", path, {"metadata": {"ownerReferences": None}})
    assert "a run keeps its owner" in refused


def test_the_creator_is_the_account_that_the_api_server_saw(tekton_triggers: Triggers) -> None:
    lie = run("lie", annotations={"provenance.chains/created-by": "system:admin"})
    made = tekton_triggers.api.request("POST", RUNS, lie, token=tekton_triggers.developer)
    assert creator(made) == f"system:serviceaccount:{NAMESPACE}:developer"
    other = {"metadata": {"annotations": {"provenance.chains/created-by": "system:admin"}}}
    assert "created-by" in tekton_triggers.refusal("PATCH", f"{RUNS}/lie", other)
