"""``chains admission`` as a process, and the webhook configurations with which a real API server asks it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.testbed.certificates import Certificates, make_certificates
from tests.testbed.cluster import ApiError, ApiServer
from tests.testbed.ports import free_ports

Json = Any
CHAINS = Path(sys.executable).with_name("chains")
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
WEBHOOKS = Path(__file__).parents[2] / "deploy" / "admission" / "webhooks" / "webhooks.yaml"


def shipped_webhook(kind: str) -> Json:
    """Return the webhook of the configuration that is shipped, ``validating`` or ``mutating``."""
    (found,) = (
        each for each in yaml.safe_load_all(WEBHOOKS.read_text()) if each["kind"].lower().startswith(kind)
    )
    (webhook,) = found["webhooks"]
    return webhook


@dataclass
class AdmissionServer:
    """A server of admission: its folder with policies, keys and certificates, its ports and its log."""

    folder: Path
    api: ApiServer
    options: Sequence[str] = ()
    token: str = ""
    """The token of the server's account; without one it is the administrator."""
    process: subprocess.Popen[bytes] | None = None
    ports: tuple[int, int] = (0, 0)
    registered: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policies, self.tls = self.folder / "policies", self.folder / "tls"
        self.log = self.folder / "admission.log"
        self.policies.mkdir(parents=True)
        first, second = free_ports(2)
        self.ports = first, second
        self.renew(self.new_certificates())

    def new_certificates(self) -> Certificates:
        """Make a new CA with a certificate, which is not used yet."""
        return make_certificates(self.folder / f"certificates-{time.monotonic_ns()}")

    def renew(self, certificates: Certificates) -> None:
        """Write a certificate into the folder that the server reads."""
        self.certificates = certificates
        self.tls.mkdir(exist_ok=True)
        for file, name in ((certificates.cert_file, "tls.crt"), (certificates.key_file, "tls.key")):
            shutil.copy(file, self.tls / f".{name}")
            (self.tls / f".{name}").replace(self.tls / name)

    def start(self, *, ready: bool = True) -> None:
        """Start the process, and wait until it is ready."""
        port, health = self.ports
        command = [
            CHAINS, "admission", self.policies, "--certificates", self.tls, "--host", "127.0.0.1",
            "--port", str(port), "--health-port", str(health), "--linger-seconds", "0",
            "--kubeconfig", self.api.kubeconfig(self.folder, self.token), *self.options,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stderr=log, env={**os.environ, "TMPDIR": str(self.folder)}
            )
        self.wait(lambda: self.ask("/readyz" if ready else "/livez")[0] == 200)

    def stop(self) -> int:
        """End the process and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and text of the health port; the status is 0 without an answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.ports[1]}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except OSError as error:
            return getattr(error, "code", 0), str(error)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels, over all processes."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.ask("/metrics")[1])
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def digests(self) -> list[str]:
        """Return the digest of the policies in force, of each process."""
        families = text_string_to_metric_families(self.ask("/metrics")[1])
        return [
            sample.labels["digest"]
            for family in families
            for sample in family.samples
            if sample.name == "chains_admission_policies"
        ]

    def wait(self, condition: Callable[[], bool], seconds: float = 100) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not within {seconds:g} s; the log ends with\n{self.log.read_text()[-3000:]}"
                )
            time.sleep(0.05)

    def register(
        self,
        kind: str,
        name: str,
        selector: Json,
        *,
        timeout: int,
        port: int = 0,
        rules: Sequence[Json] = (),
    ) -> None:
        """Create the shipped ``validating`` or ``mutating`` configuration, for the namespaces of a selector.

        ``port`` is asked in place of the server's own. ``rules`` come in addition to those of the shipped one.
        """
        webhook = shipped_webhook(kind)
        ca = base64.b64encode(self.certificates.ca_file.read_bytes()).decode()
        path = webhook["clientConfig"]["service"]["path"]
        client = {"url": f"https://127.0.0.1:{port or self.ports[0]}{path}", "caBundle": ca}
        webhook["rules"] += rules
        webhook |= {"timeoutSeconds": timeout, "namespaceSelector": selector, "clientConfig": client}
        place = f"{REGISTRATION}/{kind}webhookconfigurations"
        self.api.request("POST", place, {"metadata": {"name": name}, "webhooks": [webhook]})
        self.registered.append(f"{place}/{name}")

    def trust(self, *certificates: Certificates, selector: Json = None) -> None:
        """Write these CAs into the webhook of the first configuration, and another selector of namespaces."""
        pems = b"".join(one.ca_file.read_bytes() for one in certificates)
        patch = [
            {
                "op": "replace",
                "path": "/webhooks/0/clientConfig/caBundle",
                "value": base64.b64encode(pems).decode(),
            }
        ]
        if selector is not None:
            patch.append({"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": selector})
        self.api.request("PATCH", self.registered[0], patch, kind="application/json-patch+json")

    def unregister(self) -> None:
        """Remove the configurations, so that the API server asks no more."""
        while self.registered:
            try:
                self.api.request("DELETE", self.registered.pop())
            except ApiError as error:
                if error.status != 404:
                    raise

    def close(self) -> None:
        """Remove the configurations first, then end the process: so nobody is locked out."""
        self.unregister()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def write_policy(self, name: str, spec: Json) -> None:
        """Write one policy into the folder of policies."""
        document = {
            "apiVersion": "provenance.chains/v1",
            "kind": "Policy",
            "metadata": {"name": name},
            "spec": spec,
        }
        new = self.policies / f".{name}"
        new.write_text(json.dumps(document))
        new.replace(self.policies / f"{name}.json")


def pod(name: str, *images: str, **spec: Json) -> Json:
    """Return a pod with a container for each image; ``spec`` has further parts of its specification."""
    containers = [{"name": f"c{at}", "image": image} for at, image in enumerate(images)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": containers, **spec},
    }
