"""The manifests of the evidence browser: restricted, with options that the command has, and an access file that counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from chains.cli.web.web import web
from chains.index.database import place_of
from chains.web.access.metrics import AccessMetrics
from chains.web.access.reading import check_access
from chains.web.health import health_application
from chains.web.source import Source
from tests.testbed.kustomize import build

Json = Any
DEPLOY = Path(__file__).parents[2] / "deploy"


def manifest(kind: str, folder: str = "web") -> Json:
    (found,) = (each for each in build(DEPLOY / folder) if each["kind"] == kind)
    return found


def pod() -> Json:
    return manifest("Deployment")["spec"]["template"]["spec"]


def test_the_pod_of_the_browser_is_restricted_and_has_no_right_in_the_cluster() -> None:
    ours, base = pod(), manifest("StatefulSet", "base")["spec"]["template"]["spec"]
    (container,), (other,) = ours["containers"], base["containers"]
    assert ours["securityContext"] == base["securityContext"]
    assert (container["image"], container["securityContext"]) == (other["image"], other["securityContext"])
    assert ours["automountServiceAccountToken"] is False
    assert manifest("ServiceAccount")["automountServiceAccountToken"] is False
    assert not {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} & {
        each["kind"] for each in build(DEPLOY / "web")
    }
    assert [each["name"] for each in container["volumeMounts"] if not each.get("readOnly")] == ["tmp"]
    assert all(each["secret"]["defaultMode"] == 0o440 for each in ours["volumes"] if "secret" in each)
    assert set(container["resources"]) == {"requests", "limits"}
    # a password is never in a manifest
    assert all("value" not in each for each in container["env"] if "PASSWORD" in each["name"])


def test_its_options_are_those_of_the_command_and_its_ports_those_of_the_service() -> None:
    (container,) = pod()["containers"]
    command, *options = container["args"]
    assert command == web.name
    given = dict(word.split("=", 1) for word in options)
    assert set(given) <= {name for one in web.params for name in one.opts}
    # nobody is let in without being asked who they are
    assert given["--host"] == "0.0.0.0"
    assert given["--access"] == "/etc/chains-web/access/access.yaml"
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"http": int(given["--port"]), "metrics": int(given["--health-port"])}
    served = {each["name"]: each["targetPort"] for each in manifest("Service")["spec"]["ports"]}
    assert served == {"http": "http", "http-metrics": "metrics"}
    monitor = manifest("ServiceMonitor", "overlays/web-monitoring")
    assert {each["port"] for each in monitor["spec"]["endpoints"]} == {"http-metrics"}
    assert (
        monitor["spec"]["selector"]["matchLabels"].items()
        <= manifest("Service")["metadata"]["labels"].items()
    )


def test_its_probes_ask_what_the_health_port_has() -> None:
    source = Source(place_of("index.db"))
    app = health_application(source, AccessMetrics())
    known = {resource.canonical for resource in app.router.resources()}
    (container,) = pod()["containers"]
    asked = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness", "startup")}
    assert asked == {"/healthz", "/readyz"}
    assert known == asked | {"/metrics"}
    assert all(
        container[f"{kind}Probe"]["httpGet"]["port"] == "metrics"
        for kind in ("liveness", "readiness", "startup")
    )


def test_several_replicas_share_their_sessions_and_stay_while_nodes_are_drained() -> None:
    assert manifest("Deployment")["spec"]["replicas"] == 2
    assert manifest("PodDisruptionBudget")["spec"]["minAvailable"] == 1
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        assert manifest(kind)["spec"][key]["matchLabels"].items() <= labels.items()
    assert "sessionKeyFile" in yaml.safe_load(manifest("ConfigMap")["data"]["access.yaml"])
    (container,) = pod()["containers"]
    assert any(
        each["name"] == "CHAINS_INDEX" and each["value"].startswith("postgresql://")
        for each in container["env"]
    )


def test_the_access_file_as_it_is_shipped_counts(tmp_path: Path) -> None:
    text = manifest("ConfigMap")["data"]["access.yaml"]
    mounts = {each["name"]: each["mountPath"] for each in pod()["containers"][0]["volumeMounts"]}
    for name in ("client-secret", "session-key"):
        assert f"{mounts['secrets']}/{name}" in text
        text = text.replace(f"{mounts['secrets']}/{name}", name)
        (tmp_path / name).write_text("x" * 64)
    (tmp_path / "access.yaml").write_text(text)
    access, problems = check_access(tmp_path / "access.yaml")
    assert problems == ()
    assert access is not None
    assert access.namespaces_of("alice", ["shop-developers"]) == ("shop",)
    assert access.namespaces_of("alice", []) == ()


def test_the_network_lets_in_the_ingress_and_the_metrics_alone() -> None:
    policy = manifest("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    let_in = [
        (
            [one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for one in rule["from"]],
            [one["port"] for one in rule["ports"]],
        )
        for rule in policy["ingress"]
    ]
    assert let_in == [(["ingress"], ["http"]), (["monitoring"], ["metrics"])]
