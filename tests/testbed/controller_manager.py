"""Kubernetes' own controller manager beside the testbed's API server, with some of its controllers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.build import binary
from tests.testbed.cluster import ApiServer
from tests.testbed.ports import free_ports
from tests.testbed.process import Running, running

READY_SECONDS = 120


@contextmanager
def controller_manager(api: ApiServer, folder: Path, controllers: Sequence[str]) -> Iterator[Running]:
    """Run these controllers (``deployment-controller``, …) as the administrator for the length of the block."""
    kubeconfig = api.kubeconfig(folder)
    command: list[str | Path] = [
        binary("kube-controller-manager"), "--kubeconfig", kubeconfig, "--leader-elect=false",
        "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
        "--authentication-tolerate-lookup-failure", "--bind-address", "127.0.0.1",
        "--secure-port", str(free_ports(1)[0]), "--cert-dir", folder / "pki", "--controllers", ",".join(controllers),
    ]  # fmt: skip
    with running(command, folder / "manager.log", r"(Serving securely on)", seconds=READY_SECONDS) as found:
        yield found
