"""Game days on a real API server with a real controller, registry, key service and log, each behind a link that is cut.

``tests/testbed/stand_in_node.py`` stands for the kubelet and for Tekton; kubectl is the real one.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.integration.test_deploy import DEPLOY, SYSTEM, applied, apply, make_namespaces
from tests.integration.test_run_credentials import docker_config
from tests.testbed import servers
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.images import Registry
from tests.testbed.kustomize import build
from tests.testbed.proxy import Proxy, proxy
from tests.testbed.stand_in_node import StandInNode, stand_in_node

pytestmark = pytest.mark.server
Json = Any
GAMEDAY = DEPLOY / "gameday" / "gameday.py"
RUNS = "chains-gameday"
SECOND = "robot-rotated"
PAUSE = 0.02


@dataclass
class Place:
    """A cluster with a controller, and the files with which a game day is held."""

    server: ApiServer
    node: StandInNode
    registry: Registry
    image: str
    folder: Path
    kubectl: Path
    keys: Path
    cuts: Path
    """A file here, with the name of a scenario, cuts its link."""

    def command(self, *options: str | Path, hooks: bool = True) -> list[str | Path]:
        """Return the command of a game day that is short."""
        cut = ("--cut-with", f"touch {self.cuts}/$GAMEDAY_SCENARIO; sleep 0.2")
        restore = ("--restore-with", f"rm -f {self.cuts}/$GAMEDAY_SCENARIO")
        return [
            sys.executable, GAMEDAY, "run", "--kubectl", self.kubectl, "--chains", Path(sys.executable).with_name("chains"),
            "--state", self.folder / "state.json", "--runs", "2", "--run-seconds", "1", "--hold", "2", "--timeout", "60",
            "--image", self.image, "--yes", "--output", "json", *((*cut, *restore) if hooks else ()), *options,
            "--", "--key", self.keys / "x509.pub", "--store", "oci:",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_CONFIG": str(self.folder / "docker")}

    def hold(self, *options: str | Path, code: int = 0, hooks: bool = True) -> Json:
        """Hold a game day and return its report."""
        done = subprocess.run(
            self.command(*options, hooks=hooks), env=self.environment(), capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip
        tail = self.node.log.read_text()[-3000:] if done.returncode != code else ""
        assert done.returncode == code, (done.stdout, done.stderr, self.node.trouble, tail)
        assert not (self.folder / "state.json").exists()
        self.wait_until_gone()
        return json.loads(done.stdout)

    def wait_until_gone(self) -> None:
        """Empty the namespace as its controller would, which does not run here."""
        with_runs = f"/apis/tekton.dev/v1/namespaces/{RUNS}/taskruns"
        self.server.request("DELETE", with_runs)
        body = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": RUNS},
            "spec": {"finalizers": []},
        }
        try:
            self.server.request("PUT", f"/api/v1/namespaces/{RUNS}/finalize", body)
        except ApiError as error:
            if error.status != 404:
                raise


@pytest.fixture(scope="module")
def place(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("gameday")
    for name in ("keys", "registry", "node", "cuts", "tool", "docker"):
        (folder / name).mkdir()
    for name in ("x509.pem", "next.pem"):
        assert chains(["keys", "generate", str(folder / "keys" / name)]) == 0
    make_namespaces(api_server)
    manifests = build(DEPLOY / "base")
    with ExitStack() as stack:
        stack.enter_context(applied(api_server, manifests))
        registry = stack.enter_context(servers.distribution(folder / "registry", htpasswd=True))
        (folder / "docker" / "config.json").write_text("{}")
        to_registry = stack.enter_context(proxy(int(registry.host.rpartition(":")[2])))
        to_api = stack.enter_context(proxy(int(api_server.url.rpartition(":")[2])))
        digest = registry.push_image("team/gameday")
        host = f"127.0.0.1:{to_registry.port}"
        config = docker_config(host, registry.username, registry.password)
        (folder / "docker" / "config.json").write_text(config)
        (folder / "next.json").write_text(docker_config(host, SECOND, registry.password))
        htpasswd = folder / "registry" / "htpasswd"
        both = htpasswd.read_text() + htpasswd.read_text().replace(servers.USERNAME, SECOND, 1)
        htpasswd.write_text(both)
        secret(api_server, "signing-secrets", "x509.pem", (folder / "keys" / "x509.pem").read_bytes())
        secret(api_server, "registry-credentials", ".dockerconfigjson", config.encode())
        configure(api_server)
        stack.enter_context(cutting(folder / "cuts", {"registry": to_registry, "api": to_api}, htpasswd))
        seen_as = replace(api_server, url=f"https://127.0.0.1:{to_api.port}")
        node = stack.enter_context(stand_in_node(api_server, seen_as, manifests, folder / "node"))
        node.tekton.add(RUNS)
        yield Place(
            api_server, node, registry, f"{host}/team/gameday@{digest}", folder, node.kubectl(folder / "tool"),
            folder / "keys", folder / "cuts",
        )  # fmt: skip


def secret(server: ApiServer, name: str, key: str, content: bytes) -> None:
    kind = "kubernetes.io/dockerconfigjson" if key.startswith(".") else "Opaque"
    data = {key: base64.b64encode(content).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "type": kind, "data": data}
    apply(server, {**body, "metadata": {"name": name, "namespace": SYSTEM}})


def configure(server: ApiServer, **more: str) -> None:
    data = {"artifacts.taskrun.storage": "oci", "artifacts.oci.storage": "oci"}
    data |= {"storage.oci.encoding-format": "sigstore-bundle"} | more
    path = f"/api/v1/namespaces/{SYSTEM}/configmaps/chains-config"
    server.request("PATCH", path, {"data": data}, kind=MERGE)


@contextmanager
def cutting(folder: Path, links: dict[str, Proxy], htpasswd: Path) -> Iterator[None]:
    """Cut the link of each scenario that has a file in the folder; for ``credential`` revoke the first user."""
    over, both = threading.Event(), htpasswd.read_text()

    def work() -> None:
        revoked = False
        while not over.wait(PAUSE):
            cut = {each.name for each in folder.iterdir()}
            for name, link in links.items():
                (link.cut if name in cut else link.restore)()
            if revoked != ("credential" in cut):
                revoked = not revoked
                htpasswd.write_text(both.partition("\n")[2] if revoked else both)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_nothing_is_lost_when_the_controller_is_stopped_or_killed_or_loses_its_registry(place: Place) -> None:
    report = place.hold("--only", "stop,kill,registry")
    check(report, ["stop", "kill", "registry"])


def check(report: Json, names: list[str]) -> None:
    assert [each["name"] for each in report["scenarios"]] == ["baseline", *names]
    for each in report["scenarios"]:
        assert each["verdict"] == "nothing-lost", each
        assert {run["state"] for run in each["runs"]} == {"evidenced"}
        print(
            f"{each['name']}: recovered {each['recoverySeconds']} s after the fault of {each['faultSeconds']} s; "
            f"runs attested {[run['attested'] for run in each['runs']]}; {each['fact'] or ''}"
        )
