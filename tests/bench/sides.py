"""The two controllers that are compared, each as a process with its key and its ConfigMap."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from signers.keyfile import generate_key
from tests.testbed.build import binary
from tests.testbed.cluster import ApiServer, free_ports

OURS, PEER = "ours", "peer"
CHAINS = Path(sys.executable).with_name("chains")
PEER_KEYS = Path("/etc/signing-secrets")
"""Where the peer reads its key; the path is fixed in its source."""
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
    config = place.server.kubeconfig(place.folder)
    keys = place.folder / "etc" / PEER_KEYS.name
    keys.mkdir(parents=True)
    (keys / "x509.pem").write_bytes(generate_key("ecdsa-p256"))
    health, metrics, profiling = map(str, free_ports(3))
    if side == OURS:
        workers = ["--workers", "32"] if tuned else []
        return [
            CHAINS, "controller", "--kubeconfig", config, "--system-namespace", place.system,
            "--namespace", place.namespace, "--signing-secrets", keys, "--health-port", health, *workers,
        ], {}  # fmt: skip
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
    command = [binary("peer-controller"), "-kubeconfig", config, "-namespace", place.namespace, *flags]
    return [*_with_etc(keys.parent), *command], environment


def _with_etc(folder: Path) -> list[str | Path]:
    """Return a prefix that shows a command the files of ``folder`` below ``/etc``, and nobody else.

    The command takes the place of the prefix, process id included.
    """
    mount = f'mount -t overlay overlay -o "lowerdir={folder}:/etc" /etc && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *user, "sh", "-c", mount, "sh"]


@contextmanager
def controller(side: str, place: Place, *, tuned: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Run a side's controller for the length of the block."""
    command, environment = command_of(side, place, tuned=tuned)
    with place.log.open("wb") as log:
        process = subprocess.Popen(
            command,
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
