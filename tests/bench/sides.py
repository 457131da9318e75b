"""The two controllers that are compared, each as a process with its key and its ConfigMap."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from signers.keys.keyfile import generate_key
from tests.testbed.build import binary
from tests.testbed.cluster import ApiServer, free_ports
from tests.testbed.peer_controller import KEYS, seeing_keys

OURS, PEER = "ours", "peer"
KEY = "x509.pem"
CHAINS = Path(sys.executable).with_name("chains")
SAME_WORK = {
    "artifacts.taskrun.format": "slsa/v2alpha4",
    "artifacts.taskrun.storage": "oci",
    "artifacts.oci.storage": "oci",
    "artifacts.oci.signer": "x509",
    "storage.oci.encoding-format": "dsse",
    "transparency.enabled": "false",
    "execution.report": "false",
}
"""What both sides are given: provenance and image signature, no execution report. Each ignores the other's keys."""
EVERYTHING = SAME_WORK | {"storage.oci.encoding-format": "both", "execution.report": "true"}
"""What our deployment sets, which the peer has no equal of."""
PEER_MAPS = ("config-observability", "config-leader-election", "config-logging")
_TUNED_WORKERS = "128"
"""More than the peer's threads, and all in one of ours: a worker waits while it looks after what it wrote."""
_PEER_TUNED = ("--threads-per-controller=32", "--kube-api-qps=5000", "--kube-api-burst=10000")
_STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Place:
    """Where a controller works: its system namespace, the namespace of the runs, a folder of its own."""

    server: ApiServer
    system: str
    namespace: str
    folder: Path

    @property
    def log(self) -> Path:
        """The controller's output."""
        return self.folder / "controller.log"


def command_of(side: str, place: Place, *, tuned: bool) -> tuple[list[str | Path], dict[str, str]]:
    """Return the command and the environment of a side's controller; writes its key and kubeconfig."""
    keys = place.folder / "etc" / KEYS.name
    keys.mkdir(parents=True)
    (keys / KEY).write_bytes(generate_key("ecdsa-p256"))
    health, metrics, profiling = map(str, free_ports(3))
    if side == OURS:
        workers = ["--workers", _TUNED_WORKERS] if tuned else []
        return [
            CHAINS, "controller", "--system-namespace", place.system, "--namespace", place.namespace,
            "--signing-secrets", keys, "--health-port", health, *workers,
        ], _variables_of_a_pod(place.server)  # fmt: skip
    observability, election, logging = PEER_MAPS
    environment = {
        "SYSTEM_NAMESPACE": place.system,
        "METRICS_DOMAIN": "benchmark",
        "METRICS_PROMETHEUS_PORT": metrics,
        "PROFILING_PORT": profiling,
        "PROBES_PORT": health,
        "CONFIG_OBSERVABILITY_NAME": observability,
        "CONFIG_LEADERELECTION_NAME": election,
        "CONFIG_LOGGING_NAME": logging,
    }
    flags = _PEER_TUNED if tuned else ()
    return [
        binary("peer-controller"), "-kubeconfig", place.server.kubeconfig(place.folder), "-namespace", place.namespace, *flags,
    ], environment  # fmt: skip


def _variables_of_a_pod(server: ApiServer) -> dict[str, str]:
    place = urlsplit(server.url)
    return {"KUBERNETES_SERVICE_HOST": str(place.hostname), "KUBERNETES_SERVICE_PORT": str(place.port)}


@contextmanager
def _seeing_account(place: Place, command: Sequence[str | Path]) -> Iterator[list[str | Path]]:
    """Give the command as a pod would run it: it alone sees a service account's token at its fixed path.

    A kubeconfig would cost it the package that reads those, which the shipped image does not have.
    """
    run = place.folder / "run"
    account = run / "secrets" / "kubernetes.io" / "serviceaccount"
    account.mkdir(parents=True)
    (account / "token").write_text(place.server.token)
    (account / "ca.crt").write_bytes(place.server.ca_file.read_bytes())
    mount = f'mount -t overlay overlay -o "lowerdir={run}:/run" /run && exec "$@"'
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    yield [*unshare, "sh", "-c", mount, "sh", *command]


@contextmanager
def controller(side: str, place: Place, *, tuned: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Run a side's controller for the length of the block."""
    command, environment = command_of(side, place, tuned=tuned)
    keys = place.folder / "etc" / KEYS.name
    seeing = seeing_keys(keys, place.folder, command) if side == PEER else _seeing_account(place, command)
    with seeing as started, place.log.open("wb") as log:
        process = subprocess.Popen(
            started,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
