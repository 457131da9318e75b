"""The controller as a process, against a real API server and a real registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from chains.cli.main import run as chains
from chains.text import plain
from tests.interop.attested import run_of, slug
from tests.owners import owned
from tests.testbed.cluster import MERGE, ApiError, ApiServer, free_ports
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry

pytestmark = pytest.mark.server
Json = Any
CHAINS = Path(sys.executable).with_name("chains")
IMAGES = 200
NO_LOG = "--insecure-ignore-tlog=true"


class Running:
    """A controller process: its namespaces, its key folder, its health port and its log."""

    def __init__(self, server: ApiServer, folder: Path, namespace: str, data: dict[str, str]) -> None:
        self.server, self.folder, self.namespace = server, folder, namespace
        self.seen_as = server
        """The API server as the controller reaches it."""
        self.program: tuple[str | Path, ...] = (CHAINS,)
        self.watched: tuple[str, ...] = ()
        """Further namespaces for the controller."""
        self.options: tuple[str, ...] = ()
        """Further options for the controller."""
        self.keys, self.log = folder / "keys", folder / "controller.log"
        self.system = server.create_namespace(f"{namespace}-system")
        server.create_namespace(namespace)
        self.keys.mkdir()
        assert chains(["keys", "generate", str(self.keys / "x509.pem")]) == 0
        self.configure(data, method="POST")
        self.port = free_ports(1)[0]
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, data: dict[str, str], *, method: str = "PATCH") -> None:
        path = f"/api/v1/namespaces/{self.system}/configmaps"
        body = {"metadata": {"name": "chains-config"}, "data": data}
        if method == "POST":
            self.server.request("POST", path, body)
        else:
            self.server.request("PATCH", f"{path}/chains-config", body, kind=MERGE)

    def start(self, expected: int = 200) -> None:
        self.launch()
        self.wait(lambda: self.ask("/readyz")[0] == expected)

    def launch(self) -> None:
        """Start the process, which may end before it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.program, "controller", "--kubeconfig", self.seen_as.kubeconfig(self.folder),
                    "--system-namespace", self.system,
                    "--namespace", ",".join((self.namespace, *self.watched)),
                    "--signing-secrets", self.keys, "--health-port", str(self.port),
                    *self.options,
                ],
                stderr=log, env={**os.environ, "TMPDIR": str(self.folder)},
            )  # fmt: skip

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except OSError as error:  # an answer that is no success, or a process that has just ended
            return getattr(error, "code", 0), getattr(error, "reason", "") and str(error)

    def wait(self, condition: Callable[[], bool], seconds: float = 100) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not within {seconds:g} s; the log ends with\n{self.log.read_text()[-3000:]}"
                )
            time.sleep(0.05)

    def run(self, kind: str, name: str) -> Json:
        return self.server.get_run(kind, self.namespace, name)

    def signed(self, name: str, kind: str = "TaskRun") -> str:
        annotations: Json = self.run(kind, name)["metadata"].get("annotations", {})
        return str(annotations.get("chains.tekton.dev/signed", ""))

    def attested(self, name: str, kind: str = "TaskRun") -> Json:
        """Wait for a run's mark and return the run."""
        self.wait(lambda: self.signed(name, kind) != "")
        return self.run(kind, name)


@pytest.fixture
def controller(
    api_server: ApiServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def make(**data: str) -> Running:
        namespace = slug(request)
        found = Running(
            api_server,
            tmp_path,
            namespace,
            {key.replace("__", "-").replace("_", "."): value for key, value in data.items()},
        )
        started.append(found)
        return found

    yield make
    for each in started:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        if each.log.exists():
            lines = each.log.read_text(encoding="utf-8").split("\n")
            assert [line for line in lines if plain(line) != line] == [], "a terminal would obey it"


def finished(
    namespace: str,
    name: str,
    image: str = "registry.example.com/team/app",
    digest: str = "sha256:" + "ab" * 32,
) -> Json:
    run = run_of(image, digest, name)
    run["metadata"]["namespace"] = namespace
    return run


def test_a_run_there_before_and_one_that_comes_later_are_attested_in_annotations(
    controller: Callable[..., Running],
) -> None:
    running = controller(artifacts_taskrun_format="slsa/v2alpha4", artifacts_oci_storage="tekton")
    running.server.create_run(finished(running.namespace, "before"))
    running.start()
    running.server.create_run(finished(running.namespace, "after"))
    for name in ("before", "after"):
        run = running.attested(name)
        annotations, uid = run["metadata"]["annotations"], run["metadata"]["uid"]
        assert annotations["chains.tekton.dev/signed"] == "true"
        assert run["metadata"]["labels"]["provenance.chains/done"] == "true"
        assert json.loads(annotations["chains.tekton.dev/outcome"])["state"] == "signed"
        statement = json.loads(b64decode(annotations[f"chains.tekton.dev/payload-taskrun-{uid}"]))
        assert statement["predicate"]["runDetails"]["metadata"]["invocationId"] == uid
        envelope = json.loads(b64decode(annotations[f"chains.tekton.dev/signature-taskrun-{uid}"]))
        assert json.loads(b64decode(envelope["payload"])) == statement
    assert running.stop() == 0


def test_a_running_run_is_held_and_its_end_releases_it(controller: Callable[..., Running]) -> None:
    running = controller(artifacts_oci_storage="tekton")
    running.start()
    run = finished(running.namespace, "held")
    status = run.pop("status")
    running.server.create_run(run)
    running.wait(
        lambda: running.run("TaskRun", "held")["metadata"].get("finalizers") == ["chains.tekton.dev/taskrun"]
    )
    path = f"/apis/tekton.dev/v1/namespaces/{running.namespace}/taskruns/held"
    running.server.request("PATCH", f"{path}/status", {"status": status}, kind=MERGE)
    assert "finalizers" not in running.attested("held")["metadata"]


def test_a_run_deleted_while_it_runs_is_let_go(controller: Callable[..., Running]) -> None:
    running = controller(artifacts_oci_storage="tekton")
    running.start()
    run = finished(running.namespace, "deleted")
    del run["status"]
    running.server.create_run(run)
    running.wait(lambda: "finalizers" in running.run("TaskRun", "deleted")["metadata"])
    path = f"/apis/tekton.dev/v1/namespaces/{running.namespace}/taskruns/deleted"
    running.server.request("DELETE", path)

    def gone() -> bool:
        try:
            running.server.request("GET", path)
        except ApiError as error:
            return error.status == 404
        return False

    running.wait(gone)


def test_a_pipeline_run_is_attested_with_its_children(controller: Callable[..., Running]) -> None:
    running = controller(artifacts_pipelinerun_format="slsa/v2alpha4", artifacts_oci_storage="tekton")
    status = {
        "conditions": [{"type": "Succeeded", "status": "True"}], "completionTime": "2026-01-02T03:10:05Z",
        "pipelineSpec": {"tasks": [{"name": "build", "taskRef": {"name": "buildah"}}]},
        "childReferences": [
            {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": "child", "pipelineTaskName": "build"},
            {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": "gone", "pipelineTaskName": "test"},
        ],
    }  # fmt: skip
    whole = running.server.create_run(
        {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "whole", "namespace": running.namespace},
         "spec": {"pipelineRef": {"name": "p"}}, "status": status}
    )  # fmt: skip
    child = finished(running.namespace, "child")
    child["metadata"]["labels"] = {"tekton.dev/pipelineTask": "build"}
    child["metadata"]["ownerReferences"] = owned(whole["metadata"]["uid"], "whole")
    running.server.create_run(child)
    running.start()
    run = running.attested("whole", "PipelineRun")
    annotations, uid = run["metadata"]["annotations"], run["metadata"]["uid"]
    assert annotations["chains.tekton.dev/signed"] == "true"
    statement = json.loads(b64decode(annotations[f"chains.tekton.dev/payload-pipelinerun-{uid}"]))
    resolved = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [item["uri"] for item in resolved] == ["oci://registry.example.com/buildah"]
    report = json.loads(b64decode(annotations[f"chains.tekton.dev/payload-report-{uid}"]))
    gaps = [item for item in report["predicate"]["attributes"] if item["attribute"] == "CHILD_WITHOUT_RECORD"]
    assert [item["conditions"]["pipelineTask"] for item in gaps] == ["test"]


def test_images_in_a_registry_are_attested_and_cosign_verifies_them(
    controller: Callable[..., Running], referrers_registry: Registry, cosign: Cosign
) -> None:
    running = controller(
        artifacts_taskrun_format="slsa/v2alpha4",
        artifacts_taskrun_storage="oci",
        storage_oci_encoding__format="both",
    )
    name = running.namespace
    digest = referrers_registry.push_image(name)
    image = f"{referrers_registry.host}/{name}"
    running.server.create_run(finished(running.namespace, "build", image, digest))
    running.start()
    assert running.attested("build")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    key = running.keys / "x509.pub"
    cosign("verify-attestation", "--key", key, NO_LOG, "--type", "slsaprovenance1", f"{image}@{digest}")
    cosign("verify", "--key", key, NO_LOG, f"{image}@{digest}")


def test_a_store_that_is_down_delays_and_a_run_that_is_wrong_fails_with_an_event(
    controller: Callable[..., Running], referrers_registry: Registry
) -> None:
    running = controller(
        artifacts_taskrun_storage="oci",
        artifacts_oci_storage="oci",
        storage_oci_encoding__format="sigstore-bundle",
    )
    nowhere = f"127.0.0.1:{free_ports(1)[0]}/team/app"
    running.server.create_run(finished(running.namespace, "delayed", nowhere))
    missing = f"{referrers_registry.host}/{running.namespace}"
    running.server.create_run(finished(running.namespace, "wrong", missing))
    running.start()
    annotations = running.attested("wrong")["metadata"]["annotations"]
    assert annotations["chains.tekton.dev/signed"] == "failed"
    assert "does not have" in json.loads(annotations["chains.tekton.dev/outcome"])["reason"]
    events = running.server.request("GET", f"/api/v1/namespaces/{running.namespace}/events")["items"]
    assert [(event["reason"], event["involvedObject"]["name"]) for event in events] == [
        ("AttestationFailed", "wrong")
    ]
    running.wait(lambda: "chains_retries_total 0.0" not in running.ask("/metrics")[1])
    assert running.signed("delayed") == ""


def test_a_run_that_chains_marked_is_taken_over_without_signing_it_again(
    controller: Callable[..., Running],
) -> None:
    running = controller(artifacts_oci_storage="tekton")
    run = finished(running.namespace, "theirs")
    run["metadata"]["annotations"] = {"chains.tekton.dev/signed": "true"}
    run["metadata"]["finalizers"] = ["chains.tekton.dev/taskrun"]
    running.server.create_run(run)
    running.start()
    running.wait(
        lambda: "provenance.chains/done" in running.run("TaskRun", "theirs")["metadata"].get("labels", {})
    )
    metadata = running.run("TaskRun", "theirs")["metadata"]
    assert metadata["annotations"] == {"chains.tekton.dev/signed": "true"}
    assert "finalizers" not in metadata


def test_a_bad_configuration_is_refused_and_the_last_good_one_stays(
    controller: Callable[..., Running],
) -> None:
    running = controller(artifacts_oci_storage="tekton")
    running.start()
    running.configure({"artifacts.taskrun.format": "slsa/v9"})
    running.wait(lambda: running.ask("/readyz")[0] == 503)
    assert "chains_config_refused 1.0" in running.ask("/metrics")[1]
    running.server.create_run(finished(running.namespace, "meanwhile"))
    assert running.attested("meanwhile")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    running.configure({"artifacts.taskrun.format": "slsa/v2alpha4"})
    running.wait(lambda: running.ask("/readyz")[0] == 200)


def test_without_a_usable_key_the_controller_is_not_ready_and_marks_nothing(
    controller: Callable[..., Running],
) -> None:
    running = controller(artifacts_oci_storage="tekton")
    (running.keys / "x509.pem").rename(running.keys / "elsewhere")
    running.server.create_run(finished(running.namespace, "waits"))
    running.start(expected=503)
    assert "neither x509.pem nor cosign.key" in running.log.read_text()
    assert running.signed("waits") == ""
    (running.keys / "elsewhere").rename(running.keys / "x509.pem")
    assert running.attested("waits")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"


def test_killed_at_any_moment_it_signs_each_image_once(
    controller: Callable[..., Running], referrers_registry: Registry, cosign: Cosign
) -> None:
    running = controller(
        artifacts_taskrun_storage="oci", storage_oci_encoding__format="dsse", execution_report="false"
    )
    images = []
    for number in range(IMAGES):
        name = f"{running.namespace}/image-{number}"
        digest = referrers_registry.push_image(name)
        running.server.create_run(
            finished(running.namespace, f"run-{number}", f"{referrers_registry.host}/{name}", digest)
        )
        images.append((name, digest))

    def marked() -> int:
        return running.log.read_bytes().count(b'"run is marked"') if running.log.exists() else 0

    for kill in range(4):
        before = marked()
        running.start()
        while marked() <= before + kill:
            assert running.process is not None
            assert running.process.poll() is None, running.log.read_text()[-3000:]
        running.stop(signal.SIGKILL)
        left = [number for number in range(IMAGES) if not running.signed(f"run-{number}")]
        assert 0 < len(left) < IMAGES, "it was killed while runs were in work"
    running.start()
    for number in range(IMAGES):
        assert (
            running.attested(f"run-{number}")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
        )
    for name, digest in images:
        for form in ("att", "sig"):
            manifest = json.loads(
                referrers_registry.manifest(name, f"sha256-{digest.removeprefix('sha256:')}.{form}")
            )
            assert len(manifest["layers"]) == 1, (name, form)
    reference = f"{referrers_registry.host}/{images[0][0]}@{images[0][1]}"
    cosign("verify", "--key", running.keys / "x509.pub", NO_LOG, reference)


def by_hand(running: Running, *arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Json]:
    capsys.readouterr()
    config = str(running.server.kubeconfig(running.folder))
    code = chains([*arguments, "--kubeconfig", config, "--output", "json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else captured.err


def test_backfill_attests_what_is_left_and_resign_makes_it_left_again(
    controller: Callable[..., Running], capsys: pytest.CaptureFixture[str]
) -> None:
    running = controller(artifacts_oci_storage="tekton")
    for name in ("one", "two"):
        running.server.create_run(finished(running.namespace, name))
    old = finished(running.namespace, "old")
    old["status"]["completionTime"] = "2020-01-02T03:09:05Z"
    running.server.create_run(old)
    where = ["--namespace", running.namespace, "--system-namespace", running.system]
    arguments = ["backfill", "--since", "2025-01-01", *where, "--signing-secrets", str(running.keys)]
    code, done = by_hand(running, *arguments, capsys=capsys)
    assert (code, sorted(item["run"].rpartition("/")[2] for item in done)) == (0, ["one", "two"])
    assert (running.signed("one"), running.signed("two"), running.signed("old")) == ("true", "true", "")
    assert by_hand(running, *arguments, capsys=capsys) == (0, [])

    code, done = by_hand(running, "resign", f"{running.namespace}/one", capsys=capsys)
    assert (code, done[0]["state"]) == (0, "will be attested again")
    metadata = running.run("TaskRun", "one")["metadata"]
    assert not [key for key in metadata.get("annotations", {}) if key.startswith("chains.tekton.dev/")]
    assert len(by_hand(running, *arguments, capsys=capsys)[1]) == 1
    code, error = by_hand(running, "resign", f"{running.namespace}/nobody", capsys=capsys)
    assert code == 2
    assert "there is no TaskRun or PipelineRun of that name" in error["error"]


def test_two_pods_of_an_indexed_job_share_the_runs(
    controller: Callable[..., Running], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = controller(artifacts_oci_storage="tekton")
    for number in range(12):
        running.server.create_run(finished(running.namespace, f"run-{number}"))
    where = ["--namespace", running.namespace, "--system-namespace", running.system]
    monkeypatch.setenv("CHAINS_JOB_COMPLETIONS", "2")
    shares = []
    for index in ("0", "1"):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", index)
        shares.append({item["run"] for item in by_hand(running, "backfill", *where, "--signing-secrets", str(running.keys), capsys=capsys)[1]})  # fmt: skip
    assert len(shares[0] | shares[1]) == 12
    assert not shares[0] & shares[1]
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    code, error = by_hand(running, "backfill", *where, "--signing-secrets", str(running.keys), capsys=capsys)
    assert code == 2
    assert "is not below CHAINS_JOB_COMPLETIONS" in error["error"]


def test_finalizers_are_released_by_hand(
    controller: Callable[..., Running], capsys: pytest.CaptureFixture[str]
) -> None:
    running = controller(artifacts_oci_storage="tekton")
    for name, finalizers in (
        ("ours", ["chains.tekton.dev/taskrun", "keep.example.com/me"]),
        ("theirs", ["keep.example.com/me"]),
    ):
        run = finished(running.namespace, name)
        run["metadata"]["finalizers"] = finalizers
        running.server.create_run(run)
    code, done = by_hand(running, "finalizers", "release", "--namespace", running.namespace, capsys=capsys)
    assert (code, [item["run"].rpartition("/")[2] for item in done]) == (0, ["ours"])
    assert running.run("TaskRun", "ours")["metadata"]["finalizers"] == ["keep.example.com/me"]
    for name in ("ours", "theirs"):
        path = f"/apis/tekton.dev/v1/namespaces/{running.namespace}/taskruns/{name}"
        running.server.request("PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE)


def test_a_cluster_that_is_not_there_and_wrong_words_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert chains(["finalizers", "release"]) == 2
    assert "run in a pod with a service account, pass --kubeconfig" in capsys.readouterr().err
    (tmp_path / "config").write_text("{}")
    assert chains(["resign", "a/b", "--kubeconfig", str(tmp_path / "config")]) == 2
    assert "there is no current-context" in capsys.readouterr().err
    assert chains(["backfill", "--since", "yesterday"]) == 2
    assert "--since 'yesterday': expected a time" in capsys.readouterr().err
