"""Runs Tekton Chains' own controller against the API server of the testbed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.cluster import ApiError, ApiServer, free_ports
from tests.testbed.process import ServerError, running

KEYS = Path("/etc/signing-secrets")
"""The folder of its key; the path is fixed in its source."""
_MAPS = ("config-observability", "config-leader-election", "config-logging")
_SPEED = ("--threads-per-controller=8", "--kube-api-qps=5000", "--kube-api-burst=10000")


@contextmanager
def peer_controller(
    program: Path, server: ApiServer, folder: Path, *, system: str, namespace: str, keys: Path
) -> Iterator[Path]:
    """Run it for the length of the block; yields its log.

    ``system`` is the namespace of its ConfigMap, ``namespace`` that of the runs, ``keys`` the folder that it
    sees as the mounted Secret.
    """
    for name in _MAPS:
        try:
            server.request(
                "POST", f"/api/v1/namespaces/{system}/configmaps", {"metadata": {"name": name}, "data": {}}
            )
        except ApiError as error:
            if error.status != 409:
                raise
    probes, metrics, profiling = map(str, free_ports(3))
    observability, election, logging = _MAPS
    environment = {
        "SYSTEM_NAMESPACE": system,
        "METRICS_DOMAIN": "testbed",
        "METRICS_PROMETHEUS_PORT": metrics,
        "PROFILING_PORT": profiling,
        "PROBES_PORT": probes,
        "CONFIG_OBSERVABILITY_NAME": observability,
        "CONFIG_LEADERELECTION_NAME": election,
        "CONFIG_LOGGING_NAME": logging,
    }
    command: list[str | Path] = [program, "-kubeconfig", server.kubeconfig(folder), "-namespace", namespace]
    log = folder / "peer-controller.log"
    with (
        seeing_keys(keys, folder, [*command, *_SPEED]) as started,
        running(started, log, "(Starting controller)", env=environment),
    ):
        yield log


@contextmanager
def seeing_keys(keys: Path, folder: Path, command: Sequence[str | Path]) -> Iterator[list[str | Path]]:
    """Yield a command with the same process id that sees ``keys`` at :data:`KEYS`; no other process does.

    If mounts are not allowed, the folder itself is made for the length of the block. Raises
    :class:`ServerError` if that is not allowed either, or the folder exists.
    """
    etc = folder / "etc-of-the-peer"
    if not etc.is_dir():
        shutil.copytree(keys, etc / KEYS.name)
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = f'mount -t overlay overlay -o "lowerdir={etc}:/etc" /etc && exec "$@"'
    private = [*unshare, "sh", "-c", mount, "sh"]
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode == 0:
        yield [*private, *command]
        return
    try:
        shutil.copytree(keys, KEYS)
    except OSError as error:
        raise ServerError(f"{KEYS}: the peer reads its key there, and it cannot be made: {error}") from error
    try:
        yield list(command)
    finally:
        shutil.rmtree(KEYS)
