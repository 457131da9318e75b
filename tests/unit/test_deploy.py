"""The manifests of ``deploy/``: whole, restricted, and telling only of metrics that the controller has."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chains import __version__
from chains.admission.judge import Judged
from chains.admission.reporting.metrics import Metrics as AdmissionMetrics
from chains.admission.review import Answer
from chains.admission.ruling import Ruling
from chains.admission.validate import Validated
from chains.assembly.signers import check_signers
from chains.attest.outcome import FAILED, Outcome
from chains.attest.stores import Entry
from chains.audit.findings import Audit, State, Why
from chains.audit.findings import Judged as Audited
from chains.audit.metrics import to_metrics
from chains.cli.audit.audit import audit
from chains.cli.audit.reverify import reverify_command
from chains.cli.index.index import index
from chains.cli.main import run as chains
from chains.cluster.leases import NAME
from chains.config.parse import is_keyless, lint_config, lint_file, parse_config
from chains.controller.marks.patches import OUTCOME_ANNOTATION, SIGNED_ANNOTATION
from chains.controller.metrics import Metrics
from chains.policy.verdict import Decision
from chains.recheck.metrics import RecheckMetrics
from chains.recheck.rounds import LEASE
from chains.tekton.snapshot import DONE_LABEL
from chains.web.access.metrics import AccessMetrics
from signers.open import KEY_SERVICES, scheme_of
from storage.s3.settings import Lock, parse_s3_url
from tests.testbed.kustomize import FILE, build, identity

Json = Any
ROOT = Path(__file__).parents[2]
DEPLOY, RUNBOOKS = ROOT / "deploy", ROOT / "docs" / "runbooks"
KUSTOMIZATIONS = sorted(path.parent for path in DEPLOY.rglob(FILE))
PROMQL = {"absent", "and", "by", "count", "deriv", "histogram_quantile", "increase", "max", "min", "min_over_time", "offset",
          "or", "rate", "sum", "time", "unless"}  # fmt: skip
SECTIONS = ("## What it means", "## Symptoms", "## How to look", "## What to do", "## When it is over")
MONITORING = ("monitoring", "admission-monitoring", "web-monitoring")
RULES = [DEPLOY / "overlays" / folder / "alerts.yaml" for folder in MONITORING]
API_SERVER = {
    "apiserver_admission_webhook_rejection_count": {
        "error_type",
        "name",
        "operation",
        "rejection_code",
        "type",
    }
}
"""Metrics of the API server that alerts use, with their labels; ``test_runbooks_admission.py`` holds them against it."""


def manifest(kind: str, name: str = "", folder: str = "base") -> Json:
    found = [
        each
        for each in build(DEPLOY / folder)
        if each["kind"] == kind and name in {"", each["metadata"]["name"]}
    ]
    assert len(found) == 1
    return found[0]


def alerts(files: Sequence[Path] = RULES) -> list[Json]:
    """Return the alerts of the controller, of admission and of the evidence browser."""
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["spec"]["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def dashboard(overlay: str) -> Json:
    (text,) = manifest("ConfigMap", folder=f"overlays/{overlay}")["data"].values()
    return json.loads(text)


def exposed() -> dict[str, set[str]]:
    """Return every sample that our metrics can have, with labels."""
    metrics, admission = Metrics(), AdmissionMetrics()
    judged = Judged("image", "container a", Ruling(Decision.DENY))
    admission.count(
        "validate", Validated(Answer(allowed=False), Decision.DENY, (judged,)), 0.0, is_dry_run=False
    )
    admission.policies.labels("sha256:0").set(1)
    RecheckMetrics(metrics.registry, 3600.0)
    access = AccessMetrics()
    access.count(500, 0.1, "")
    failed = Outcome("r", "u", FAILED, "", (Entry("p", "oci", "", "", FAILED, ""),))
    metrics.count_errors("ci", failed)
    for kind in ("TaskRun", "PipelineRun"):
        metrics.count(kind, "ci", failed, 0.0)
    run = Audited("TaskRun", "ci", "r", "u", State.MISSING, Why.NO_EVIDENCE, "")
    audit = to_metrics(Audit(datetime.now(UTC), None, None, (), (), [run]))
    families = [
        *metrics.registry.collect(),
        *admission.registry.collect(),
        *access.registry.collect(),
        *text_string_to_metric_families(audit),
    ]
    samples = [sample for family in families for sample in family.samples]
    return API_SERVER | {name: {label for each in samples if each.name == name for label in each.labels}
                         for name in {each.name for each in samples}}  # fmt: skip


def test_the_folder_has_the_base_and_its_overlays() -> None:
    assert [str(path.relative_to(DEPLOY)) for path in KUSTOMIZATIONS] == [
        "admission",
        "admission/cert-manager",
        "admission/cert-manager/webhooks",
        "admission/certificates",
        "admission/webhooks",
        "audit",
        "audit/scheduled",
        "base",
        "index",
        "index/build",
        "overlays/admission-monitoring",
        "overlays/admission-pull-secrets",
        "overlays/admission-recheck",
        "overlays/admission-recheck-reports",
        "overlays/from-tekton-chains",
        "overlays/hold-at-creation",
        "overlays/index",
        "overlays/keyless",
        "overlays/kms",
        "overlays/ledger",
        "overlays/monitoring",
        "overlays/namespaced",
        "overlays/s3",
        "overlays/tenant-credentials",
        "overlays/web-monitoring",
        "uninstall",
        "web",
    ]


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda path: path.name)
def test_a_kustomization_lists_every_file_of_its_folder_and_each_parses(folder: Path) -> None:
    kustomization = yaml.safe_load((folder / FILE).read_text())
    listed = {*kustomization["resources"], *(each.get("path") for each in kustomization.get("patches", ()))}
    assert {path.name for path in folder.glob("*.yaml")} - {FILE} <= listed
    for each in build(folder):
        assert each["apiVersion"]
        assert all(identity(each)[::2])


def test_what_belongs_to_a_namespace_names_it() -> None:
    cluster_wide = {
        "Namespace", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration",
    }  # fmt: skip
    for folder in KUSTOMIZATIONS:
        for kind, namespace, _ in map(identity, build(folder)):
            assert bool(namespace) == (kind not in cluster_wide), kind


def test_no_manifest_holds_a_secret_or_a_tag_that_moves() -> None:
    for folder in KUSTOMIZATIONS:
        assert "Secret" not in {kind for kind, *_ in map(identity, build(folder))}
    image = manifest("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert re.fullmatch(r"registry\.example\.com/provenance-chains:\d+\.\d+\.\d+", image)


def test_the_configuration_is_one_that_the_linter_has_nothing_against() -> None:
    path = DEPLOY / "base" / "chains-config.yaml"
    assert lint_file(path) == []
    data = yaml.safe_load(path.read_text())["data"]
    for kind in ("taskrun", "pipelinerun"):
        assert data[f"artifacts.{kind}.format"] == "slsa/v2alpha4"
        assert data[f"artifacts.{kind}.storage"] == "oci"
    assert data["storage.oci.encoding-format"] == "both"


def test_the_pod_is_restricted() -> None:
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["privileged"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert mounts["signing-secrets"] == {
        "name": "signing-secrets", "mountPath": "/etc/signing-secrets", "readOnly": True
    }  # fmt: skip
    secrets = [each["secret"] for each in pod["volumes"] if "secret" in each]
    assert all(each["optional"] and each["defaultMode"] == 0o440 for each in secrets)
    assert [name for name, each in mounts.items() if not each.get("readOnly")] == ["tmp"]
    assert pod["terminationGracePeriodSeconds"] == 60
    assert set(container["resources"]) == {"requests", "limits"}


def test_each_part_of_a_reverification_is_done_once_by_a_pod_without_rights() -> None:
    job = manifest("Job", folder="audit")["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    ours = manifest("StatefulSet")["spec"]["template"]["spec"]
    assert pod["securityContext"] == ours["securityContext"]
    assert container["securityContext"] == ours["containers"][0]["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert container["image"] == ours["containers"][0]["image"]
    assert job["completionMode"] == "Indexed"
    total = job["completions"]
    assert (job["parallelism"], job["maxFailedIndexes"], job["backoffLimitPerIndex"]) == (total, total, 0)
    assert container["args"][:2] == ["audit", reverify_command.name]
    options = [word.partition("=") for word in container["args"][2:]]
    assert {name for name, *_ in options} <= {name for one in reverify_command.params for name in one.opts}
    assert ("--shard", "=", f"$(PART)/{total}") in options
    (part,) = (one for one in container["env"] if one["name"] == "PART")
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert part["valueFrom"]["fieldRef"]["fieldPath"] == index


@pytest.mark.parametrize(
    ("folder", "kind", "group", "command"),
    [
        ("index/build", "Job", "index", "build"),
        ("index", "CronJob", "index", "update"),
        ("audit/scheduled", "CronJob", "audit", ""),
    ],
)
def test_what_runs_on_a_schedule_or_in_parts_is_a_command_in_a_pod_without_rights(
    folder: str, kind: str, group: str, command: str
) -> None:
    job = manifest(kind, folder=folder)["spec"]
    if kind == "CronJob":
        assert job["concurrencyPolicy"] == "Forbid"
        job = job["jobTemplate"]["spec"]
        assert job["backoffLimit"] == 0
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    ours = manifest("StatefulSet")["spec"]["template"]["spec"]
    assert pod["securityContext"] == ours["securityContext"]
    assert container["securityContext"] == ours["containers"][0]["securityContext"]
    assert container["image"] == ours["containers"][0]["image"]
    assert pod["automountServiceAccountToken"] is False
    assert [one["name"] for one in container["volumeMounts"] if not one.get("readOnly")] == ["tmp"]
    words = container["args"]
    assert words[: 1 + bool(command)] == [group, *filter(None, [command])]
    found = index.commands[command] if command else audit
    options = {word.partition("=")[0] for word in words[1 + bool(command) :]}
    assert options <= {name for one in found.params for name in one.opts}


def test_every_part_of_a_build_runs_at_once_and_none_may_fail() -> None:
    job = manifest("Job", folder="index/build")["spec"]
    (container,) = job["template"]["spec"]["containers"]
    total = job["completions"]
    # the last part to end finishes the index, so that all of them have to run and to succeed
    assert (job["completionMode"], job["parallelism"], job["maxFailedIndexes"]) == ("Indexed", total, 0)
    assert f"--shard=$(PART)/{total}" in container["args"]
    (part,) = (one for one in container["env"] if one["name"] == "PART")
    named = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert part["valueFrom"]["fieldRef"]["fieldPath"] == named
    update = manifest("CronJob", folder="index")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    database = manifest("ConfigMap", "chains-config", folder="overlays/index")["data"]["index.url"]
    for each in (container, update["containers"][0]):
        assert f"--index={database}" in each["args"]


def test_the_pod_of_admission_is_restricted_as_that_of_the_controller() -> None:
    pod = manifest("Deployment", folder="admission")["spec"]["template"]["spec"]
    ours = manifest("StatefulSet")["spec"]["template"]["spec"]
    assert pod["securityContext"] == ours["securityContext"]
    (container,), (other,) = pod["containers"], ours["containers"]
    assert (container["image"], container["securityContext"]) == (other["image"], other["securityContext"])
    mounts = container["volumeMounts"]
    assert [each["name"] for each in mounts if not each.get("readOnly")] == ["tmp"]
    assert {each["mountPath"] for each in mounts} >= {
        "/etc/chains-admission/policies",
        "/etc/chains-admission/tls",
    }
    assert container["args"] == ["admission", "/etc/chains-admission/policies"]


def test_the_overlay_of_recheck_adds_what_it_asks_and_the_one_of_reports_their_verbs() -> None:
    base, more, most = (
        build(DEPLOY / name)
        for name in ("admission", "overlays/admission-recheck", "overlays/admission-recheck-reports")
    )
    added = {identity(each) for each in more} - {identity(each) for each in base}
    assert added == {
        ("ClusterRole", "", "chains-recheck"),
        ("ClusterRoleBinding", "", "chains-recheck"),
        ("Role", "chains-admission", "chains-recheck"),
        ("RoleBinding", "chains-admission", "chains-recheck"),
    }
    rules = manifest("ClusterRole", "chains-recheck", "overlays/admission-recheck")["rules"]
    assert [(*rule["resources"], *rule["verbs"]) for rule in rules] == [
        ("pods", "list"),
        ("namespaces", "list"),
    ]
    own = manifest("ClusterRole", folder="admission")["rules"]
    assert ("events", "create") in [(*rule["resources"], *rule["verbs"]) for rule in own]
    lease = manifest("Role", folder="overlays/admission-recheck")["rules"][1]
    assert (lease["resourceNames"], lease["verbs"]) == ([LEASE], ["get", "patch"])
    (rule,) = manifest("ClusterRole", "chains-recheck-reports", "overlays/admission-recheck-reports")["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["openreports.io"], ["reports", "clusterreports"])
    for found, wanted in (
        (base, {}),
        (more, {"CHAINS_RECHECK": "1h"}),
        (most, {"CHAINS_RECHECK": "1h", "CHAINS_RECHECK_REPORTS": "true"}),
    ):
        (deployment,) = (each for each in found if each["kind"] == "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        assert {name: value for name, value in environment.items() if "RECHECK" in name} == wanted


def test_the_overlay_of_pull_secrets_reads_them_by_name_in_one_namespace_and_lists_none() -> None:
    base, more = (build(DEPLOY / name) for name in ("admission", "overlays/admission-pull-secrets"))
    added = {identity(each) for each in more} - {identity(each) for each in base}
    assert added == {
        ("Role", "shop", "chains-admission-pull-secrets"),
        ("RoleBinding", "shop", "chains-admission-pull-secrets"),
    }
    (role,) = (each for each in more if each["kind"] == "Role")
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["registry"], "verbs": ["get"]},
    ]
    for found, wanted in ((base, {}), (more, {"CHAINS_PULL_SECRETS": "true"})):
        (deployment,) = (each for each in found if each["kind"] == "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        assert {name: value for name, value in environment.items() if "PULL" in name} == wanted


def test_nothing_that_the_webhooks_need_is_asked_of_them_and_the_mutating_one_never_closes_the_cluster() -> (
    None
):
    for kind, policy in (
        ("ValidatingWebhookConfiguration", "Fail"),
        ("MutatingWebhookConfiguration", "Ignore"),
    ):
        (webhook,) = manifest(kind, folder="admission/webhooks")["webhooks"]
        (left_out,) = webhook["namespaceSelector"]["matchExpressions"]
        assert left_out["operator"] == "NotIn"
        assert {"kube-system", manifest("Namespace", folder="admission")["metadata"]["name"]} <= set(
            left_out["values"]
        )
        assert "objectSelector" not in webhook, "whoever creates a pod sets its labels"
        assert webhook["failurePolicy"] == policy
        assert webhook["sideEffects"] == "NoneOnDryRun"
        service = manifest("Service", folder="admission")
        asked = webhook["clientConfig"]["service"]
        assert (asked["namespace"], asked["name"]) == (
            service["metadata"]["namespace"],
            service["metadata"]["name"],
        )
        assert asked["port"] in {each["port"] for each in service["spec"]["ports"]}


def test_cert_manager_issues_what_the_servers_mount_and_nothing_of_ours_runs_for_it() -> None:
    manifests = build(DEPLOY / "admission" / "cert-manager")
    assert {each["kind"] for each in manifests} == {"Issuer", "Certificate"}
    namespace = manifest("Namespace", folder="admission")["metadata"]["name"]
    assert {each["metadata"]["namespace"] for each in manifests} == {namespace}
    folder = "admission/cert-manager"
    leaf, authority = (
        manifest("Certificate", name, folder)["spec"]
        for name in ("chains-admission", "chains-admission-authority")
    )
    volumes = manifest("Deployment", folder="admission")["spec"]["template"]["spec"]["volumes"]
    assert leaf["secretName"] in {each.get("secret", {}).get("secretName") for each in volumes}
    service = manifest("Service", folder="admission")["metadata"]["name"]
    assert leaf["dnsNames"] == [f"{service}.{namespace}.svc"]
    issuers = {each["metadata"]["name"]: each["spec"] for each in manifests if each["kind"] == "Issuer"}
    assert issuers[leaf["issuerRef"]["name"]] == {"ca": {"secretName": authority["secretName"]}}
    assert issuers[authority["issuerRef"]["name"]] == {"selfSigned": {}}
    assert authority["isCA"] is True
    # the webhooks trust the new CA at once, and servers use a certificate of the old one for some time
    assert authority["privateKey"]["rotationPolicy"] == "Never"
    # it is not the Secret of `chains admission-certificates`
    assert authority["secretName"] not in {leaf["secretName"], "chains-admission-ca"}


@pytest.mark.parametrize("kind", ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"])
def test_the_webhooks_of_cert_manager_are_the_shipped_ones_and_get_their_ca_from_the_certificate(
    kind: str,
) -> None:
    ours = manifest(kind, folder="admission/webhooks")
    theirs = manifest(kind, folder="admission/cert-manager/webhooks")
    certificate = manifest("Certificate", "chains-admission", "admission/cert-manager")["metadata"]
    assert theirs["metadata"].pop("annotations") == {
        "cert-manager.io/inject-ca-from": f"{certificate['namespace']}/{certificate['name']}"
    }
    # no certificate without the pods of cert-manager
    excluded = theirs["webhooks"][0]["namespaceSelector"]["matchExpressions"][0]["values"]
    assert excluded.pop() == "cert-manager"
    assert ours["webhooks"][0]["clientConfig"].pop("caBundle") == "CA_BUNDLE"
    assert theirs == ours


def test_the_pods_know_how_many_they_are_and_which_they_are_and_may_hold_their_leases() -> None:
    workload = manifest("StatefulSet")
    pod = workload["spec"]["template"]["spec"]
    environment = {each["name"]: each for each in pod["containers"][0]["env"]}
    assert environment["CHAINS_REPLICAS"]["value"] == str(workload["spec"]["replicas"])
    assert environment["POD_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    rules = manifest("Role", "tekton-chains-controller")["rules"]
    (named,) = (each for each in rules if each["resources"] == ["leases"] and "resourceNames" in each)
    assert len(named["resourceNames"]) >= workload["spec"]["replicas"]
    assert named["resourceNames"] == [f"{NAME}{share}" for share in range(len(named["resourceNames"]))]
    labels = workload["spec"]["template"]["metadata"]["labels"].items()
    for each in pod["topologySpreadConstraints"]:
        assert each["labelSelector"]["matchLabels"].items() <= labels


def test_probes_service_budget_and_policy_meet_the_pod() -> None:
    workload = manifest("StatefulSet")
    template = workload["spec"]["template"]
    (container,) = template["spec"]["containers"]
    (port,) = container["ports"]
    assert port == {"name": "metrics", "containerPort": 8080}
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")}
    assert paths == {"liveness": "/livez", "readiness": "/readyz"}
    labels = template["metadata"]["labels"].items()
    service = manifest("Service", "tekton-chains-metrics")
    assert service["spec"]["ports"] == [{"name": "http-metrics", "port": 9090, "targetPort": "metrics"}]
    assert workload["spec"]["serviceName"] == service["metadata"]["name"]
    selectors = [
        service["spec"]["selector"],
        workload["spec"]["selector"]["matchLabels"],
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector and selector.items() <= labels for selector in selectors)
    monitor = manifest("ServiceMonitor", folder="overlays/monitoring")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [each["port"] for each in monitor["endpoints"]] == ["http-metrics"]
    assert monitor["endpoints"][0]["honorLabels"] is True


def test_the_namespaced_overlay_has_the_same_rules_and_none_for_the_cluster() -> None:
    manifests = build(DEPLOY / "overlays" / "namespaced")
    kinds = [kind for kind, *_ in map(identity, manifests)]
    assert "ClusterRole" not in kinds
    assert "ClusterRoleBinding" not in kinds
    role = manifest("Role", "tekton-chains-controller-runs", "overlays/namespaced")
    elsewhere = ("runtimeclasses", "configmaps")
    rules = manifest("ClusterRole")["rules"]
    assert role["rules"] == [rule for rule in rules if rule["resources"][0] not in elsewhere]
    container = manifest("StatefulSet", folder="overlays/namespaced")["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert container["args"] == ["controller", f"--namespace={role['metadata']['namespace']}"]


def test_the_s3_overlay_configures_the_store_and_a_web_identity() -> None:
    data = manifest("ConfigMap", "chains-config", "overlays/s3")["data"]
    assert lint_config(data) == []
    config = parse_config(data)
    for artifact in (config.taskrun, config.pipelinerun, config.oci):
        assert artifact.storage == ("oci", "s3")
    settings = parse_s3_url(config.storage.s3.url)
    assert settings.lock_for("any") == Lock("GOVERNANCE", 365, False)
    account = manifest("ServiceAccount", folder="overlays/s3")["metadata"]
    assert account["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")


def test_the_overlay_for_users_of_tekton_chains_is_the_base_without_its_configuration() -> None:
    kept = ("ConfigMap", "tekton-chains", "chains-config")
    base = [each for each in build(DEPLOY / "base") if identity(each) != kept]
    assert build(DEPLOY / "overlays" / "from-tekton-chains") == base


def volume(folder: str, name: str) -> tuple[str, Json]:
    """Return where a volume is mounted and the only source that it projects."""
    pod = manifest("StatefulSet", folder=folder)["spec"]["template"]["spec"]
    (found,) = (each for each in pod["volumes"] if each["name"] == name)
    (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == name)
    assert mount["readOnly"] is True
    (source,) = found["projected"]["sources"]
    return mount["mountPath"], source["serviceAccountToken"]


@pytest.mark.parametrize("name", ["kms", "keyless"])
def test_an_overlay_for_signing_has_a_configuration_that_the_linter_and_the_controller_take(
    name: str, tmp_path: Path
) -> None:
    found = manifest("ConfigMap", "chains-config", f"overlays/{name}")
    path = tmp_path / "chains-config.yaml"
    path.write_text(yaml.safe_dump(found))
    # the public log is told of, since what is in it is public for ever
    assert [each.key for each in lint_file(path)] == {"kms": [], "keyless": ["transparency.url"]}[name]
    config = parse_config(found["data"])
    check_signers(config, key_given=False)
    base = manifest("ConfigMap", "chains-config")["data"]
    assert base.items() < found["data"].items()
    if name == "kms":
        assert {config.taskrun.signer, config.pipelinerun.signer, config.oci.signer} == {"kms"}
        assert scheme_of(config.signers.kms.ref) in KEY_SERVICES
        account = manifest("ServiceAccount", folder="overlays/kms")["metadata"]
        assert list(account["annotations"]) == ["eks.amazonaws.com/role-arn"]
        assert volume("overlays/kms", "vault-token")[1]["audience"] == "vault"
    else:
        assert is_keyless(config)
        assert config.transparency.enabled
        folder, token = volume("overlays/keyless", "oidc-token")
        assert token["audience"] == "sigstore"
        # where Tekton Chains has it
        assert folder == "/var/run/sigstore/cosign"
        assert config.signers.x509.identity_token_file == f"{folder}/{token['path']}"


def test_the_admission_policy_guards_the_names_that_the_controller_writes() -> None:
    policy = json.dumps(manifest("ValidatingAdmissionPolicy")["spec"])
    for name in (SIGNED_ANNOTATION, OUTCOME_ANNOTATION, DONE_LABEL):
        assert f"'{name}'" in policy
    account = manifest("ServiceAccount")["metadata"]
    assert f"'system:serviceaccount:{account['namespace']}:{account['name']}'" in policy


def expressions_of_alerts(files: Sequence[Path] = RULES) -> list[str]:
    return [rule["expr"] for rule in alerts(files)]


def dashboard_expressions(overlays: Sequence[str] = MONITORING) -> list[str]:
    panels = [panel for overlay in overlays for panel in dashboard(overlay)["panels"]]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def words_of(expression: str) -> set[str]:
    """Return the metrics and labels of an expression."""
    bare = re.sub(r'"[^"]*"|\[\w+\]|\boffset \w+', "", expression)
    return set(re.findall(r"[a-zA-Z_]\w*", bare)) - PROMQL


def metrics_of(expression: str) -> set[str]:
    return {word for word in words_of(expression) if word.startswith(("chains_", "watcher_", "apiserver_"))}


@pytest.mark.parametrize("expression", [*expressions_of_alerts(), *dashboard_expressions()])
def test_an_expression_names_only_metrics_and_labels_that_exist(expression: str) -> None:
    known = exposed()
    words, metrics = words_of(expression), metrics_of(expression)
    assert metrics
    assert metrics <= set(known)
    assert words - metrics <= set().union(*(known[name] for name in metrics))


def test_an_alert_has_a_runbook_of_its_name_and_a_runbook_an_alert() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        path = rule["annotations"]["runbook"]
        assert path == f"docs/runbooks/{rule['alert']}.md"
        text = (ROOT / path).read_text()
        assert text.startswith(f"# {rule['alert']}\n")
        for heading in SECTIONS:
            assert heading in text
        assert rule["labels"]["severity"] in {"warning", "critical"}
    written = {path.stem for path in RUNBOOKS.glob("Chains*.md")}
    assert written == set(names)
    index = (RUNBOOKS / "README.md").read_text()
    assert all(f"({path.name})" in index for path in RUNBOOKS.glob("*.md") if path.name != "README.md")


def test_a_runbook_that_tells_symptoms_is_tried() -> None:
    files = (
        "test_runbooks.py", "test_runbooks_admission.py", "test_runbooks_index.py", "test_runbooks_web.py",
        "test_recheck.py", "test_audit.py",
    )  # fmt: skip
    tried = "".join((ROOT / "tests" / "integration" / name).read_text() for name in files)
    for path in RUNBOOKS.glob("*.md"):
        if "## Symptoms" in path.read_text():
            assert (
                f'shows("{path.stem}"' in tried or f'"{path.stem}",' in tried or f'"{path.stem}")' in tried
            ), path.name


@pytest.mark.parametrize("overlay", MONITORING)
def test_a_dashboard_is_one_that_grafana_can_place(overlay: str) -> None:
    panels = dashboard(overlay)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_image_is_of_no_other_image_and_its_user_is_not_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert bases == ["${BUILDER}", "scratch"]
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 65532:65532"


def test_uv_is_the_same_everywhere_and_locked_with_hashes_for_the_image() -> None:
    version = re.search(r'UV_VERSION = "(.+)"', (ROOT / "dev.py").read_text())
    assert version is not None
    locked = (DEPLOY / "image" / "uv-requirements.txt").read_text()
    assert f"uv=={version[1]} " in locked
    assert "--hash=sha256:" in locked
    assert (
        '"--require-hashes", "--requirement", "deploy/image/uv-requirements.txt"'
        in (DEPLOY / "Dockerfile").read_text()
    )


def test_the_version_that_anybody_may_read_is_the_one_that_is_deployed() -> None:
    version = manifest("ConfigMap", "chains-info")["data"]["version"]
    image = manifest("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert version == f"v{__version__}"
    assert image.endswith(f":{__version__}")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_extra_of_the_image_needs_a_compiler(machine: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    locked = {each["name"]: each for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    waiting, seen = {re.split(r"[^\w-]", each)[0] for each in asked}, set[str]()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        wheels = [each["url"].rpartition("/")[2] for each in locked[name].get("wheels", ())]
        fits = re.compile(rf"-none-any\.whl|-(cp311-cp311|cp3\d+-abi3|py3-none)-manylinux.*{machine}")
        assert any(fits.search(wheel) for wheel in wheels), name
        below = locked[name].get("dependencies", ())
        waiting |= {each["name"] for each in below if "win32" not in each.get("marker", "")} - seen


def test_the_image_starts_the_controller_from_what_it_copies() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    (entry,) = (json.loads(line.partition(" ")[2]) for line in lines if line.startswith("ENTRYPOINT "))
    (command,) = (json.loads(line.partition(" ")[2]) for line in lines if line.startswith("CMD "))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(entry) <= set(project["project"]["scripts"])
    module, _, function = project["project"]["scripts"][entry[0]].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == command
    with pytest.raises(SystemExit, match=r"^0$"):
        chains([*command, "--help"])
    copied = {line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line}
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {"chains", "signers", "storage"} <= copied
    shown = tuple(line.removeprefix("!") for line in ignored if line.startswith("!"))
    assert all(
        name in shown or name.startswith(tuple(f"{folder}/" for folder in shown))
        for line in lines
        if re.match(r"COPY (?!--)", line)
        for name in line.split()[1:-1]
    )
    assert pod["securityContext"]["runAsUser"] == 65532
