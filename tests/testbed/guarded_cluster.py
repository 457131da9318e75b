"""Two replicas of ``chains admission`` behind one address, in front of a real API server and a registry that may lie."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chains.cli.main import run as chains
from tests.interop.attested import Attested, attest_image
from tests.testbed.admission_server import AdmissionServer, pod
from tests.testbed.balancer import Balancer, balancer
from tests.testbed.cluster import ApiError, ApiServer
from tests.testbed.commands import Command
from tests.testbed.images import Registry
from tests.testbed.ports import free_ports
from tests.testbed.registry_proxy import RegistryProxy, proxy_in_thread

Json = Any
BUILDER = "https://tekton.dev/chains/v2"
UNKNOWN = "sha256:" + "0" * 64
LABEL = "guarded"
RULES = (
    ("serving.knative.dev", "services"),
    ("argoproj.io", "rollouts"),
    ("apps.kruise.io", "clonesets"),
)
"""Kinds of others that the webhook is asked about, too."""


@dataclass(frozen=True)
class Guarded:
    """The cluster, an image that passes, and one that passes by a key of its own."""

    api: ApiServer
    kubectl: Command
    registry: Registry
    proxy: RegistryProxy
    """In front of the registry; its faults are the test's."""
    replicas: tuple[AdmissionServer, AdmissionServer]
    balancer: Balancer
    folder: Path
    good: Attested
    other: Attested
    """Signed by another key that the policy trusts, so that this key can be revoked."""
    closed: str
    """``HOST:PORT`` at which nobody listens; the policy is for its images."""

    def namespace(self, name: str, kind: str = "true") -> str:
        """Create a guarded namespace and return its name. ``kind`` is the value of its label."""
        body = {"metadata": {"name": f"guarded-{name}", "labels": {LABEL: kind}}}
        self.api.request("POST", "/api/v1/namespaces", body)
        return f"guarded-{name}"

    def create(self, namespace: str, body: Json, *, dry: bool = False) -> Json:
        """Create a pod. Raises :class:`ApiError` for a denial."""
        query = "?dryRun=All" if dry else ""
        return self.api.request("POST", f"/api/v1/namespaces/{namespace}/pods{query}", body)

    def refusal(self, namespace: str, *images: str, name: str = "probe") -> str:
        """Return why a pod with these images is refused, as a dry run; empty if it is not."""
        try:
            self.create(namespace, pod(name, *images), dry=True)
        except ApiError as error:
            return str(json.loads(error.text)["message"])
        return ""

    def apply(self, namespace: str, body: Json) -> str:
        """Create an object with kubectl and return what it prints. Raises :class:`CommandError`."""
        file = self.folder / "object.json"
        file.write_text(json.dumps(body))
        done = self.kubectl("-n", namespace, "create", "-f", file)
        return done.stdout + done.stderr

    def image(self, name: str, digest: str = UNKNOWN) -> str:
        return f"{self.registry.host}/{name}@{digest}"

    def attest(self, folder: Path, name: str, *, encoding: str = "both") -> Attested:
        """Push another image, and attest it with the key of the good one."""
        folder.mkdir(exist_ok=True)
        for file in (self.good.private_key, self.good.public_key):
            (folder / file.name).write_bytes(file.read_bytes())
        return attest_image(self.registry, folder, name, encoding=encoding)

    def write_policy(self, exemptions: Sequence[Json] = ()) -> None:
        """Write the policy, and wait until every replica has one that differs from the one before."""
        before = self.digests()
        self.replicas[0].write_policy("guarded", self.spec(exemptions))
        self.wait_for_other_policies(before)

    def spec(self, exemptions: Sequence[Json] = ()) -> Json:
        """Return the specification of the policy."""
        keys = [{"ref": str(one.public_key)} for one in (self.good, self.other)]
        spec: Json = {
            "match": {
                "images": [f"{host}/**" for host in (self.registry.host, self.proxy.host, self.closed)],
                "namespaces": {"names": ["guarded-*"]},
            },
            "mode": "enforce",
            "cacheSeconds": 300,
            "trust": [
                {"name": "tekton", "signer": {"keys": keys}, "builderId": BUILDER, "maxLevel": 2},
            ],
        }
        return spec | ({"exemptions": list(exemptions)} if exemptions else {})

    def digests(self) -> list[list[str]]:
        """Return the digest of the policies in force, of each replica."""
        return [replica.digests() for replica in self.replicas]

    def wait_for_other_policies(self, before: list[list[str]]) -> None:
        """Wait until both replicas have the same policies in force, which are not those of ``before``."""

        def is_changed() -> bool:
            first, second = self.digests()
            return first == second and first not in before and first != []

        self.replicas[0].wait(is_changed)

    def revoke(self, *entry: str) -> None:
        """Add an entry to the revocation list that the replicas read, and sign it."""
        document, signed = str(self.folder / "revocations.json"), str(self.folder / "revocations.signed.json")
        assert chains(["revoke", "add", document, *entry, "--reason", "INC-1"]) == 0
        key = str(self.folder / "lists.key")
        assert chains(["revoke", "sign", document, "--key", key, "--to", signed]) == 0

    def stop(self) -> None:
        """End the replicas that run, both at once."""
        running = [each.process for each in self.replicas if each.process and each.process.poll() is None]
        for process in running:
            process.terminate()
        assert [process.wait(60) for process in running] == [0] * len(running)

    def ask_both(self) -> None:
        """Wait until both replicas get connections again."""
        ports = {replica.ports[0] for replica in self.replicas}
        self.replicas[0].wait(lambda: self.balancer.ready == ports)


@contextmanager
def guarded_cluster(api: ApiServer, kubectl: Command, registry: Registry, folder: Path) -> Iterator[Guarded]:
    """Run the replicas and let the API server ask them; afterwards it asks nobody."""
    (closed,) = free_ports(1)
    assert chains(["keys", "generate", str(folder / "lists.key")]) == 0
    with proxy_in_thread(registry.url) as proxy:
        replicas = _replicas(api, folder)
        ports = [replica.ports for replica in replicas]
        good = attest_image(registry, folder / "good", "guarded/good")
        other = attest_image(registry, folder / "other", "guarded/other")
        with balancer(ports) as between:
            found = Guarded(
                api, kubectl, registry, proxy, replicas, between, folder, good, other, f"127.0.0.1:{closed}"
            )
            found.revoke("--builder", "https://old.example.com")
            replicas[0].write_policy("guarded", found.spec())
            try:
                yield from _asked(found)
            finally:
                for replica in replicas:
                    replica.close()


def _replicas(api: ApiServer, folder: Path) -> tuple[AdmissionServer, AdmissionServer]:
    """Return two servers with the same policies, revocation list and certificate."""

    def made(name: str) -> AdmissionServer:
        given = {
            "--revocations": folder / "revocations.signed.json",
            "--revocations-key": folder / "lists.pub",
            "--revocations-state": folder / f"seen-{name}.json",
            "--workload": "apps.kruise.io/CloneSet=spec.template",
            "--linger-seconds": 2,
        }
        return AdmissionServer(folder / name, api, [str(word) for option in given.items() for word in option])

    first, second = made("first"), made("second")
    second.policies = first.policies
    second.renew(first.certificates)
    return first, second


def _asked(found: Guarded) -> Iterator[Guarded]:
    first, second = found.replicas
    first.start()
    second.start()
    found.ask_both()
    rules = [
        {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": [plural],
        }
        for group, plural in RULES
    ]
    port = found.balancer.port
    chosen = {"matchExpressions": [{"key": LABEL, "operator": "In", "values": ["true", "pins"]}]}
    first.register("validating", "guarded", chosen, timeout=10, port=port, rules=rules)
    first.register("mutating", "guarded-pins", {"matchLabels": {LABEL: "pins"}}, timeout=10, port=port)
    first.register("validating", "guarded-slow", {"matchLabels": {LABEL: "slow"}}, timeout=5, port=port)
    probes = [found.namespace(f"probe-{kind}", kind) for kind in ("true", "pins", "slow")]
    unsigned = found.image("guarded/never")
    first.wait(lambda: all("denied by policy guarded" in found.refusal(name, unsigned) for name in probes))
    yield found
    first.unregister()
    found.stop()
    for replica in found.replicas:
        assert "Traceback" not in replica.log.read_text()
