"""Several controllers share the runs of a real API server: killed, ended, cut off, and back again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from chains.cli.main import run as chains
from tests.interop.attested import run_of, slug
from tests.testbed import servers
from tests.testbed.cluster import ApiServer, free_ports
from tests.testbed.images import Registry
from tests.testbed.proxy import Proxy, proxy

pytestmark = pytest.mark.server
Json = Any
CHAINS = Path(sys.executable).with_name("chains")
SHORT = 4
"""Seconds of a lease where a test waits for its end."""


class Replica:
    """A controller process as the pod of that ordinal."""

    def __init__(self, group: Group, ordinal: int, server: ApiServer, seconds: int) -> None:
        folder = group.folder / f"{ordinal}-{time.monotonic_ns()}"
        folder.mkdir()
        self.log, self.port = folder / "log", free_ports(1)[0]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    CHAINS, "controller", "--kubeconfig", server.kubeconfig(folder),
                    "--system-namespace", group.system, "--namespace", group.namespace,
                    "--signing-secrets", group.folder, "--health-port", str(self.port),
                    "--replicas", str(group.count), "--pod-name", f"tekton-chains-controller-{ordinal}",
                    "--lease-seconds", str(seconds), "--workers", "4",
                ],
                stderr=log,
            )  # fmt: skip

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples; -1 while nobody answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except URLError:
            return -1
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    @property
    def held(self) -> float:
        return self.metric("chains_shares_held")

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


class Group:
    """Replicas over the runs of one namespace, each run with an image of its own in the registry."""

    def __init__(self, server: ApiServer, registry: Registry, folder: Path, namespace: str) -> None:
        self.server, self.registry, self.folder, self.count = server, registry, folder, 2
        self.namespace, self.system = namespace, server.create_namespace(f"{namespace}-system")
        server.create_namespace(namespace)
        assert chains(["keys", "generate", str(folder / "x509.pem")]) == 0
        data = {
            "artifacts.taskrun.storage": "oci",
            "storage.oci.encoding-format": "dsse",
            "execution.report": "false",
        }
        body = {"metadata": {"name": "chains-config"}, "data": data}
        server.request("POST", f"/api/v1/namespaces/{self.system}/configmaps", body)
        self.replicas: list[Replica] = []
        self.images: dict[str, tuple[str, str]] = {}

    @contextmanager
    def registry_halted(self) -> Iterator[None]:
        """Halt the registry for the length of the block: what is in work stays in work."""
        os.kill(self.registry.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.registry.pid, signal.SIGCONT)

    def start(self, ordinal: int, *, server: ApiServer | None = None, seconds: int = SHORT) -> Replica:
        found = Replica(self, ordinal, server or self.server, seconds)
        self.replicas.append(found)
        return found

    def create(self, count: int) -> None:
        """Create runs that have ended."""
        self.add(self.built(count))

    def built(self, count: int) -> list[Json]:
        """Push an image for each of as many runs, and return the runs."""
        found = []
        for number in range(len(self.images), len(self.images) + count):
            name = f"run-{number}"
            repository = f"{self.namespace}/{name}"
            digest = self.registry.push_image(repository)
            run = run_of(f"{self.registry.host}/{repository}", digest, name)
            run["metadata"]["namespace"] = self.namespace
            found.append(run)
            self.images[name] = (repository, digest)
        return found

    def add(self, runs: list[Json]) -> None:
        for run in runs:
            self.server.create_run(run)

    def runs(self) -> list[Json]:
        path = f"/apis/tekton.dev/v1/namespaces/{self.namespace}/taskruns"
        found: list[Json] = self.server.request("GET", path)["items"]
        return found

    def signed(self) -> int:
        """Return how many runs are marked as signed; no run may be marked otherwise."""
        marks = [
            run["metadata"].get("annotations", {}).get("chains.tekton.dev/signed") for run in self.runs()
        ]
        assert set(marks) <= {"true", None}
        return marks.count("true")

    def leases(self) -> dict[str, Json]:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.system}/leases"
        items = self.server.request("GET", path)["items"]
        return {item["metadata"]["name"].rpartition("-")[2]: item["spec"] for item in items}

    def wait(self, condition: Callable[[], bool], seconds: float = 100) -> float:
        started = time.monotonic()
        while not condition():
            crashed = any(each.process.poll() not in {None, 0, -signal.SIGKILL} for each in self.replicas)
            if crashed or time.monotonic() > started + seconds:
                logs = [f"{each.log}\n{each.log.read_text()[-3000:]}" for each in self.replicas]
                raise AssertionError(f"not within {seconds:g} s\n" + "\n".join(logs))
            time.sleep(0.05)
        return time.monotonic() - started

    def check_each_was_attested_once(self) -> None:
        """Ask the registry, and nobody else, for the layers of every image's two tags."""
        for name, (repository, digest) in self.images.items():
            for form in ("att", "sig"):
                tag = f"{digest.replace(':', '-')}.{form}"
                manifest = json.loads(self.registry.manifest(repository, tag))
                assert len(manifest["layers"]) == 1, (name, form)

    def writes(self) -> dict[str, int]:
        """Return how often the registry was sent an attestation, by run."""
        log = self.registry.log.read_text()
        found = {}
        for name, (repository, digest) in self.images.items():
            path = f"PUT /v2/{repository}/manifests/{digest.replace(':', '-')}.att"
            found[name] = len(re.findall(re.escape(path) + r"\s", log))
        return found


@pytest.fixture(scope="module")
def telling_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with servers.registry(tmp_path_factory.mktemp("telling-registry"), quiet=False) as registry:
        yield registry


@pytest.fixture
def group(
    api_server: ApiServer, telling_registry: Registry, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Group]:
    found = Group(api_server, telling_registry, tmp_path, slug(request))
    yield found
    for each in found.replicas:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def link(api_server: ApiServer) -> Iterator[Proxy]:
    with proxy(urlsplit(api_server.url).port or 0) as found:
        yield found


def test_two_replicas_share_a_hundred_runs_and_each_is_attested_once(group: Group) -> None:
    group.create(100)
    replicas = [group.start(ordinal, seconds=15) for ordinal in (0, 1)]
    group.wait(lambda: group.signed() == 100)
    group.wait(lambda: [each.held for each in replicas] == [1, 1])
    counts = [each.metric("chains_runs_total") for each in replicas]
    assert sum(counts) == 100
    assert min(counts) > 20, counts
    assert set(group.writes().values()) == {1}
    group.check_each_was_attested_once()
    assert [each.end(signal.SIGTERM) for each in replicas] == [0, 0]
    leases = group.leases()
    assert sorted(leases) == ["0", "1"]
    assert not any("holderIdentity" in spec for spec in leases.values())


def test_a_single_replica_writes_no_lease(group: Group) -> None:
    group.count = 1
    group.create(1)
    only = group.start(0)
    group.wait(lambda: group.signed() == 1)
    assert only.held == 1
    assert group.leases() == {}


def test_a_killed_replicas_runs_are_taken_over_and_none_is_forgotten(group: Group) -> None:
    first, second = group.start(0), group.start(1)
    group.wait(lambda: (first.held, second.held) == (1, 1))
    group.create(20)
    group.wait(lambda: second.metric("chains_runs_total") > 0 and group.signed() == 20)
    more = group.built(20)
    with group.registry_halted():
        group.add(more)
        group.wait(lambda: second.metric("chains_backlog_runs") > 0)
        second.end(signal.SIGKILL)
        assert group.signed() == 20, "it is killed in the middle of its work"
    group.create(20)
    group.wait(lambda: group.signed() == 60)
    assert first.held == 2
    group.check_each_was_attested_once()


def test_a_rolling_restart_hands_over_at_once_and_back_again(group: Group) -> None:
    running = run_of("registry.example.com/app", "sha256:" + "ab" * 32, "running")
    running["metadata"]["namespace"] = group.namespace
    del running["status"]
    group.server.create_run(running)
    group.create(30)
    # a share that is not handed over is free when its minute has passed
    first, second = group.start(0, seconds=60), group.start(1, seconds=60)
    group.wait(lambda: (first.held, second.held) == (1, 1) and group.signed() > 0)

    def held_run() -> Json:
        return group.server.get_run("TaskRun", group.namespace, "running")["metadata"]

    group.wait(lambda: "finalizers" in held_run())
    version = held_run()["resourceVersion"]
    assert second.end(signal.SIGTERM) == 0
    assert group.wait(lambda: first.held == 2) < 30
    group.create(10)
    back = group.start(1, seconds=60)
    assert group.wait(lambda: (first.held, back.held) == (1, 1)) < 50
    group.create(10)
    group.wait(lambda: group.signed() == 50)
    assert set(group.writes().values()) == {1}
    group.check_each_was_attested_once()
    group.wait(lambda: "unmarked runs were listed" in back.log.read_text())
    assert held_run()["resourceVersion"] == version, "a run in progress is held once"


def test_replicas_of_a_new_number_begin_when_the_last_of_the_old_one_is_gone(group: Group) -> None:
    old = group.start(0)
    group.wait(lambda: old.held == 2)
    group.count = 3
    new = [group.start(ordinal) for ordinal in (1, 2)]
    group.wait(lambda: [each.held for each in new] == [0, 0])
    group.create(10)
    group.wait(lambda: group.signed() == 10)
    assert old.metric("chains_runs_total") == 10
    assert old.end(signal.SIGTERM) == 0
    group.wait(lambda: sum(each.held for each in new) == 3)
    group.create(10)
    group.wait(lambda: group.signed() == 20)
    assert set(group.writes().values()) == {1}


def test_what_is_in_work_at_the_end_is_finished_and_what_waits_is_left(group: Group) -> None:
    group.count = 1
    group.create(6)
    with group.registry_halted():
        only = group.start(0)
        group.wait(lambda: only.metric("chains_backlog_runs") == 2)
        only.process.send_signal(signal.SIGTERM)
        time.sleep(7)  # kopf waits for five seconds before it cancels what it takes for its own
        assert only.process.poll() is None
    assert only.process.wait(60) == 0
    assert group.signed() == 4
    group.start(0)
    group.wait(lambda: group.signed() == 6)
    assert set(group.writes().values()) == {1}


def test_a_replica_cut_off_from_the_api_server_marks_nothing_and_works_again_afterwards(
    group: Group, link: Proxy
) -> None:
    behind = replace(group.server, url=f"https://127.0.0.1:{link.port}")
    first, second = group.start(0), group.start(1, server=behind)
    group.wait(lambda: (first.held, second.held) == (1, 1))
    group.create(20)
    group.wait(lambda: second.metric("chains_runs_total") > 0 and group.signed() == 20)
    more = group.built(40)
    with group.registry_halted():
        group.add(more)
        group.wait(lambda: second.metric("chains_backlog_runs") > 0)
        link.cut()
        assert group.signed() == 20, "it is cut off in the middle of its work"
    group.create(10)
    group.wait(lambda: group.signed() == 70)
    assert first.held == 2
    group.wait(lambda: second.held == 0)
    assert "its lease was not renewed in time" in second.log.read_text()
    link.restore()
    group.wait(lambda: (first.held, second.held) == (1, 1))
    before = second.metric("chains_runs_total")
    group.create(20)
    group.wait(lambda: group.signed() == 90)
    group.wait(lambda: second.metric("chains_runs_total") > before)
    group.check_each_was_attested_once()
    # what was marked before the cut may be told of after it
    group.wait(lambda: sum(each.metric("chains_runs_total") for each in (first, second)) == 90)
