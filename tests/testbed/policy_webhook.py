"""sigstore's policy-controller as its webhook, beside a real API server: a process with its own configuration.

The API server asks it about its own ClusterImagePolicies alone, at a Service that leads to this machine. Whoever tests
it sends AdmissionReviews to it directly. It asks the API server for a service account with each review, 40 times a second
at most: five for each of its eight controllers. Its ``main`` refuses the flags that would change that.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.build import binary, go_for
from tests.testbed.cluster import ApiServer, install_crds
from tests.testbed.ports import free_ports
from tests.testbed.process import ServerError

Json = Any
MODULE, PACKAGE = "policycontroller", "github.com/sigstore/policy-controller"
SYSTEM = "cosign-system"
PORT = 8443
"""Its option for another port is read too late to count (cmd/webhook/main.go)."""
READY_SECONDS = 120
_PLURALS = {
    "ConfigMap": "api/v1/namespaces/{}/configmaps",
    "Secret": "api/v1/namespaces/{}/secrets",
    "ValidatingWebhookConfiguration": "apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "MutatingWebhookConfiguration": "apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
}


@dataclass(frozen=True, slots=True)
class PolicyWebhook:
    """A webhook that is ready: it has the policy."""

    process: subprocess.Popen[bytes]
    port: int
    path: str = "/validations?timeout=10s"


@contextmanager
def policy_webhook(api: ApiServer, folder: Path, policy: str) -> Iterator[PolicyWebhook]:
    """Run the webhook with one ClusterImagePolicy (YAML). Raises :class:`ServerError` with the log's end."""
    port = PORT
    documents = list(_shipped())
    definitions = [each for each in documents if each["kind"] == "CustomResourceDefinition"]
    kinds = ("v1alpha1/clusterimagepolicies", "v1beta1/clusterimagepolicies", "v1alpha1/trustroots")
    install_crds(api, definitions, [f"policy.sigstore.dev/{each}" for each in kinds])
    api.create_namespace(SYSTEM)
    service = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    body = {"metadata": {"name": "webhook"}, "spec": service}
    api.request("POST", f"/api/v1/namespaces/{SYSTEM}/services", body)
    # before the configurations of webhooks: nobody answers yet
    api.request("POST", "/apis/policy.sigstore.dev/v1beta1/clusterimagepolicies", yaml.safe_load(policy))
    for each in documents:
        if (place := _PLURALS.get(each["kind"])) is not None:
            for webhook in each.get("webhooks", ()):
                webhook["clientConfig"]["service"]["port"] = port
            api.request("POST", "/" + place.format(SYSTEM), each)
    folder.mkdir(exist_ok=True)
    log = folder / "policy-webhook.log"
    environment = {
        "KUBECONFIG": str(api.kubeconfig(folder)),
        "SYSTEM_NAMESPACE": SYSTEM,
        "CONFIG_LOGGING_NAME": "config-logging",
        "METRICS_DOMAIN": "sigstore.dev/policy",
        "WEBHOOK_NAME": "webhook",
        "KUBERNETES_MIN_VERSION": "1.21.0",
        "METRICS_PROMETHEUS_PORT": str(free_ports(1)[0]),
        "HOME": str(folder),
    }
    command = [binary("policy-webhook"), "--disable-tuf"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
    try:
        _wait(api, process, log)
        yield PolicyWebhook(process, port)
    finally:
        process.kill()  # its orderly end takes the time in which others learn of it
        process.wait()


def _shipped() -> Iterator[Json]:
    """Yield the documents of the project's own configuration."""
    found = subprocess.check_output(
        [go_for(MODULE), "mod", "download", "-json", PACKAGE], cwd=Path(__file__).with_name(MODULE)
    )
    for path in sorted((Path(json.loads(found)["Dir"]) / "config").glob("*.yaml")):
        yield from (each for each in yaml.safe_load_all(path.read_text()) if each and "kind" in each)


def _wait(api: ApiServer, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it has the policy and listens."""
    place = f"/api/v1/namespaces/{SYSTEM}/configmaps/config-image-policies"
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (api.request("GET", place).get("data") or {}).keys() - {"_example"}:
            with suppress(OSError), socket.create_connection(("127.0.0.1", PORT), 5):
                return
        time.sleep(0.2)
    raise ServerError(f"policy-controller's webhook does not become ready\n{log.read_text()[-4000:]}")
