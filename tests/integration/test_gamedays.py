"""Game days on a real API server with a real controller, registry, key service and log, each behind a link that is cut.

``tests/testbed/stand_in_node.py`` stands for the kubelet and for Tekton; kubectl is the real one.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.integration.test_deploy import DEPLOY, SYSTEM, applied, apply, make_namespaces, wait
from tests.integration.test_run_credentials import docker_config
from tests.testbed import servers
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.images import Registry
from tests.testbed.key_services import public_pem
from tests.testbed.key_services.vault import vault
from tests.testbed.kustomize import build
from tests.testbed.proxy import Proxy, proxy
from tests.testbed.rekor_v1 import rekor_v1
from tests.testbed.stand_in_node import StandInNode, stand_in_node

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]
Json = Any
GAMEDAY = DEPLOY / "gameday" / "gameday.py"
RUNS = "chains-gameday"
CORE = ("pods", "secrets", "serviceaccounts", "configmaps")
POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{SYSTEM}/networkpolicies"
SIGNERS = tuple(f"artifacts.{artifact}.signer" for artifact in ("taskrun", "oci"))
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
    links: dict[str, Proxy]

    def command(
        self, *options: str | Path, hooks: bool = True, key: Path | None = None, program: Path | None = None
    ) -> list[str | Path]:
        """Return the command of a game day that is short."""
        cut = ("--cut-with", f"touch {self.cuts}/$GAMEDAY_SCENARIO; sleep 0.2")
        restore = ("--restore-with", f"rm -f {self.cuts}/$GAMEDAY_SCENARIO")
        return [
            sys.executable, GAMEDAY, "run", "--kubectl", self.kubectl,
            "--chains", program or Path(sys.executable).with_name("chains"),
            "--state", self.folder / "state.json", "--runs", "2", "--run-seconds", "1", "--hold", "1", "--timeout", "300",
            "--image", self.image, "--yes", "--output", "json", *((*cut, *restore) if hooks else ()), *options,
            "--", "--key", key or self.keys / "x509.pub", "--store", "oci:",
        ]  # fmt: skip

    def after(self) -> Json:
        """Return everything that a game day puts back."""
        secrets = self.server.request("GET", f"/api/v1/namespaces/{SYSTEM}/secrets")["items"]
        policies = self.server.request("GET", POLICIES)["items"]
        accounts = self.server.request("GET", f"/api/v1/namespaces/{SYSTEM}/serviceaccounts")["items"]
        return (
            {each["metadata"]["name"]: each["data"] for each in secrets},
            {each["metadata"]["name"]: each["spec"] for each in policies},
            sorted(each["metadata"]["name"] for each in accounts),
        )

    def versions(self) -> Json:
        """Return the version of every object that a game day could write."""
        paths = [f"/api/v1/namespaces/{SYSTEM}/{kind}" for kind in CORE]
        paths += [POLICIES, "/apis/tekton.dev/v1/taskruns", "/api/v1/namespaces"]
        return {
            each["metadata"]["uid"]: each["metadata"]["resourceVersion"]
            for path in paths
            for each in self.server.request("GET", path)["items"]
        }

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline, self.node.log.read_text()[-3000:]
            time.sleep(0.1)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_CONFIG": str(self.folder / "docker")}

    def hold(self, *options: str | Path, code: int = 0, **more: Any) -> Json:
        """Hold a game day and return its report."""
        done = subprocess.run(
            self.command(*options, **more), env=self.environment(), capture_output=True, text=True, timeout=800,
            check=False,
        )  # fmt: skip
        tail = self.node.log.read_text()[-3000:] if done.returncode != code else ""
        assert done.returncode == code, (done.stdout, done.stderr, self.node.trouble, tail)
        assert not (self.folder / "state.json").exists()
        self.wait_until_gone()
        return json.loads(done.stdout)

    def wait_until_gone(self) -> None:
        """Empty the namespace as its controller would, which does not run here."""
        runs = f"/apis/tekton.dev/v1/namespaces/{RUNS}/taskruns"
        self.server.request("DELETE", runs)
        self.until(lambda: not self.server.request("GET", runs)["items"])
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
        links = {"registry": to_registry, "api": to_api}
        stack.enter_context(cutting(folder / "cuts", links, htpasswd))
        seen_as = replace(api_server, url=f"https://127.0.0.1:{to_api.port}")
        node = stack.enter_context(stand_in_node(api_server, seen_as, manifests, folder / "node"))
        node.tekton.add(RUNS)
        wait(
            lambda: node.log.exists() and "share is gained" in node.log.read_text(),
            "the controller works",
            300,
        )
        yield Place(
            api_server, node, registry, f"{host}/team/gameday@{digest}", folder, node.kubectl(folder / "tool"),
            folder / "keys", folder / "cuts", links,
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
            for name, link in list(links.items()):
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


def test_nothing_is_lost_when_the_controller_is_stopped_or_killed_or_its_token_is_refused(
    place: Place,
) -> None:
    before = place.after()
    names = ["stop", "kill", "token"]
    report = place.hold("--only", ",".join(names))
    check(report, names)
    assert place.after() == before, "everything is as it was"
    assert [each["faultSeconds"] for each in report["scenarios"]] == [None] * 4
    assert place.node.starts == 4, "the first start, and another after each of them"


def test_nothing_is_lost_when_secrets_are_rotated_or_connections_are_lost(place: Place) -> None:
    before = place.after()
    names = ["key", "credential", "registry", "api"]
    report = place.hold(
        "--only", ",".join(names), "--new-key", place.keys / "next.pem", "--new-public-key", place.keys / "next.pub",
        "--new-registry-config", place.folder / "next.json",
    )  # fmt: skip
    check(report, names)
    assert place.after() == before, "everything is as it was"
    facts = {each["name"]: each["fact"] for each in report["scenarios"]}
    assert facts["key"] == "1 signed with the present key, 1 with the new one"
    assert "revoked" in facts["credential"]
    lasting = {each["name"] for each in report["scenarios"] if each["faultSeconds"] is not None}
    assert lasting == set(names)
    assert SECOND not in place.node.log.read_text()


def check(report: Json, names: list[str]) -> None:
    assert [each["name"] for each in report["scenarios"]] == ["baseline", *names]
    for each in report["scenarios"]:
        assert each["verdict"] == "nothing-lost", each
        assert {run["state"] for run in each["runs"]} == {"evidenced"}
        assert each["recoverySeconds"] is not None
        print(
            f"{each['name']}: recovered {each['recoverySeconds']} s after the fault of {each['faultSeconds']} s; "
            f"runs attested {[run['attested'] for run in each['runs']]}; {each['fact'] or ''}"
        )


def test_nothing_is_lost_without_key_service_or_log(place: Place) -> None:
    with vault() as keys, rekor_v1() as log, ExitStack() as stack:
        ports = {"kms": keys.address, "log": log.url}
        for name, url in ports.items():
            place.links[name] = stack.enter_context(proxy(int(url.rpartition(":")[2])))
        reference = keys.reference("ecdsa-p256")
        (place.folder / "token").write_text("root-token")
        public = place.folder / "vault.pub"
        public.write_bytes(public_pem(keys.keys.versions[reference.removeprefix("hashivault://")][0]))
        config = {
            **dict.fromkeys(SIGNERS, "kms"),
            "signers.kms.kmsref": reference,
            "signers.kms.auth.address": f"http://127.0.0.1:{place.links['kms'].port}",
            "signers.kms.auth.token-path": str(place.folder / "token"),
            "transparency.enabled": "true",
            "transparency.url": f"http://127.0.0.1:{place.links['log'].port}",
        }
        configured(place, **config)
        try:
            check(place.hold("--only", "kms,log", key=public), ["kms", "log"])
            assert log.entries, "the log was used"
        finally:
            configured(place, **dict.fromkeys(SIGNERS, "x509"), **{"transparency.enabled": "false"})
            del place.links["kms"], place.links["log"]


def configured(place: Place, **data: str) -> None:
    def times() -> int:
        return place.node.log.read_text().count("a new configuration is in force")

    before = times()
    configure(place.server, **data)
    place.until(lambda: times() > before)


def test_a_run_whose_evidence_is_removed_is_lost_although_it_is_marked(place: Place) -> None:
    digest = place.registry.push_image("team/lost")
    image = f"{place.image.partition('/')[0]}/team/lost@{digest}"
    program = place.folder / "chains"
    program.write_text(REMOVES.format(
        python=sys.executable, chains=Path(sys.executable).with_name("chains"), seen=place.folder / "audits",
        url=f"{place.registry.url}/v2/team/lost/manifests/", tag=digest.replace(":", "-"),
        login=base64.b64encode(f"{place.registry.username}:{place.registry.password}".encode()).decode(),
    ))  # fmt: skip
    program.chmod(0o755)
    report = place.hold("--only", "stop", "--runs", "1", "--image", image, code=1, program=program)
    baseline, stop = report["scenarios"]
    assert baseline["verdict"] == "nothing-lost"
    assert stop["verdict"] == "lost"
    (lost,) = stop["lost"]
    assert (lost["mark"], lost["state"]) == ("true", "missing")
    assert report["exitCode"] == 1


REMOVES = """#!{python}
import os, pathlib, sys, urllib.request
seen = pathlib.Path("{seen}")
if seen.exists():  # the audit of the baseline was before
    def ask(method, name):
        headers = {{"Authorization": "Basic {login}", "Accept": "application/vnd.oci.image.index.v1+json"}}
        return urllib.request.urlopen(urllib.request.Request("{url}" + name, headers=headers, method=method))
    ask("DELETE", ask("HEAD", "{tag}").headers["Docker-Content-Digest"])
seen.touch()
os.execv("{chains}", ["chains", *sys.argv[1:]])
"""
"""``chains``, and before it somebody who removes evidence from the registry."""


def test_a_dry_run_says_what_would_be_touched_and_writes_nothing(place: Place) -> None:
    before = place.versions()
    command = place.command("--dry-run", "--output", "text", hooks=False)
    done = subprocess.run(command, env=place.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for told in (
        f"create namespace {RUNS}",
        f"delete pod {SYSTEM}/tekton-chains-controller-0",
        f"delete serviceaccount {SYSTEM}/tekton-chains-controller",
        f"replace networkpolicy {SYSTEM}/tekton-chains-controller",
        "no key service signs TaskRuns",
        "dry run: nothing was touched",
    ):
        assert told in done.stdout
    assert place.versions() == before
    # nobody agreed, and a namespace of others is not ours
    for options in (["--only", "stop"], ["--only", "stop", "--yes", "--namespace", "default"]):
        command = [each for each in place.command(hooks=False) if each != "--yes"]
        at = command.index("--")
        refused = subprocess.run(
            [*command[:at], *options, *command[at:]], env=place.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert refused.returncode == 2, refused.stderr
    assert place.versions() == before


def test_a_network_plugin_that_does_not_enforce_policies_decides_nothing(place: Place) -> None:
    before = place.after()
    report = place.hold("--only", "registry", hooks=False, code=4)
    registry = report["scenarios"][1]
    assert registry["verdict"] == "undecided"
    assert "does not enforce policies" in registry["reason"]
    assert place.after() == before


def test_what_kill_9_leaves_is_undone_from_the_state_file_and_a_signal_undoes_by_itself(place: Place) -> None:
    before, state = place.after(), place.folder / "state.json"
    policies, name = before[1], "tekton-chains-controller"
    with started(place.command("--only", "registry", hooks=False), place) as process:
        place.until(lambda: place.after()[1] != policies)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    (rule,) = place.after()[1][name]["egress"][1:]
    assert {"cidr": "0.0.0.0/0", "except": ["127.0.0.1/32"]} in [each.get("ipBlock") for each in rule["to"]]
    again = subprocess.run(
        place.command("--only", "stop", "--namespace", "another"), env=place.environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 2
    assert "gameday.py undo" in again.stderr
    assert "PRIVATE KEY" not in state.read_text()
    undone = subprocess.run(
        [sys.executable, GAMEDAY, "undo", "--state", state], capture_output=True, text=True, check=False
    )
    assert undone.returncode == 0, undone.stderr
    assert "everything is undone" in undone.stdout
    assert place.after() == before
    assert not state.exists()
    place.wait_until_gone()

    with started(place.command("--only", "registry", "--hold", "200"), place) as process:
        place.until((place.cuts / "registry").exists)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 4, err
    assert json.loads(out)["interrupted"] == "interrupted by SIGTERM"
    assert not (place.cuts / "registry").exists()
    assert not state.exists()
    place.wait_until_gone()


@contextmanager
def started(command: list[str | Path], place: Place) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, env=place.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
