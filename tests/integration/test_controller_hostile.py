"""Runs and configurations that nobody is kind to: none is without evidence or a reason, and no secret is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chains.text import plain
from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_runs import RUNS, outcome, pipeline_run
from tests.testbed.cluster import MERGE, ApiError
from tests.testbed.faulty_api import faulty_api

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
IN_TEKTON = {"artifacts_taskrun_storage": "tekton", "artifacts_oci_storage": "tekton"}
V2 = {"artifacts_taskrun_format": "slsa/v2alpha4", **IN_TEKTON}
UNKNOWN = {"podName": "p", "conditions": [{"type": "Succeeded", "status": "Unknown"}]}
SIGNED = "chains.tekton.dev/signed"


def annotated(namespace: str, name: str, size: int) -> Json:
    run = finished(namespace, name)
    run["metadata"]["annotations"] = {"example.com/notes": "x" * size}
    run["metadata"]["finalizers"] = ["chains.tekton.dev/taskrun"]
    return run


def begun(running: Running, name: str, **metadata: Json) -> Json:
    """Create a run in progress and return the status that it ends with."""
    run = finished(running.namespace, name)
    status = run.pop("status")
    run["metadata"] |= metadata
    running.server.create_run({**run, "status": UNKNOWN})
    return status


def end(running: Running, name: str, status: Json) -> None:
    path = f"{RUNS}/{running.namespace}/taskruns/{name}/status"
    running.server.request("PATCH", path, {"status": status}, kind=MERGE)


def held(running: Running, name: str) -> bool:
    return "chains.tekton.dev/taskrun" in running.run("TaskRun", name)["metadata"].get("finalizers", ())


def test_a_run_whose_annotations_are_full_fails_with_the_reason_and_is_let_go(
    controller: Callable[..., Running],
) -> None:
    running = controller(**V2)
    for name, size in (("evidence", 256_000), ("words", 261_500), ("nothing", 262_100)):
        running.server.create_run(annotated(running.namespace, name, size))
    running.start()
    told = outcome(running.attested("evidence"))
    assert told["state"] == "failed"
    assert told["reason"].startswith("the run cannot hold its evidence: ")
    assert "may not be more than 262144 bytes" in told["reason"]
    assert running.attested("words")["metadata"]["annotations"][SIGNED] == "failed"
    running.wait(lambda: not held(running, "nothing"))
    assert running.run("TaskRun", "nothing")["metadata"]["labels"]["provenance.chains/done"] == "no-room"
    assert not any(held(running, name) for name in ("evidence", "words", "nothing"))
    assert running.log.read_text().count("the run has no room for a mark") == 1


def test_a_run_as_large_as_etcd_takes_is_told_and_let_go(controller: Callable[..., Running]) -> None:
    running = controller(**IN_TEKTON)
    run = finished(running.namespace, "huge")
    run["metadata"]["finalizers"] = ["chains.tekton.dev/taskrun"]
    for size in range(1_572_500, 1_560_000, -500):
        run["status"]["results"] = [{"name": "big", "type": "string", "value": "y" * size}]
        try:
            running.server.create_run(run)
            break
        except ApiError:
            path = f"{RUNS}/{running.namespace}/taskruns/huge"
            running.server.request("PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE)
            running.server.request("DELETE", path)
    running.start()
    running.wait(lambda: not held(running, "huge"))
    assert running.signed("huge") in {"", "failed"}
    assert "request is too large" in running.log.read_text()


def test_a_run_that_ends_without_a_time_is_attested(controller: Callable[..., Running]) -> None:
    running = controller(**V2)
    running.start()
    status = begun(running, "timeless")
    running.wait(lambda: held(running, "timeless"))
    del status["completionTime"]
    end(running, "timeless", status)
    assert running.attested("timeless")["metadata"]["annotations"][SIGNED] == "true"


@pytest.mark.parametrize("when", ["at its birth", "while it is held", "with the label"])
def test_a_mark_on_a_run_in_progress_is_not_believed(controller: Callable[..., Running], when: str) -> None:
    running = controller(**V2)
    running.start()
    marks: Json = {"annotations": {SIGNED: "true", "example.com/kept": "yes"}}
    if when == "at its birth":
        status = begun(running, "early", **marks)
    else:
        status = begun(running, "early")
        running.wait(lambda: held(running, "early"))
        if when == "with the label":
            marks["labels"] = {"provenance.chains/done": "true"}
        path = f"{RUNS}/{running.namespace}/taskruns/early"
        running.server.request("PATCH", path, {"metadata": marks}, kind=MERGE)
    running.wait(lambda: running.signed("early") == "" and held(running, "early"))
    end(running, "early", status)
    annotations = running.attested("early")["metadata"]["annotations"]
    assert any(name.startswith("chains.tekton.dev/payload-taskrun-") for name in annotations)
    assert annotations["example.com/kept"] == "yes"


class _Refusing(BaseHTTPRequestHandler):
    """A registry that refuses everything in words that are not all to be seen, and at length."""

    def do_GET(self) -> None:
        message = "denied\ufe0f\x1b[2J\x9b31m\r\nforged\u202e"
        body = json.dumps({"errors": [{"code": "DENIED", "message": message}]}).encode()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(401 if self.path == "/v2/" else 403)
        self.send_header("WWW-Authenticate", "Negotiate" + "\x0b" * 60_000 + "!")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Tell nothing."""


def test_what_strangers_say_is_plain_in_events_marks_and_the_log(controller: Callable[..., Running]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as registry:
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        try:
            running = controller(
                artifacts_oci_storage="tekton", artifacts_taskrun_storage="oci",
                storage_oci_repository=f"127.0.0.1:{registry.server_port}/x", storage_oci_repository_insecure="true",
            )  # fmt: skip
            hostile = "a\x1b[2J\x9b31m\x7f\r\nforged\u202e\u2028\u200b"
            run = finished(running.namespace, "hostile")
            run["spec"]["params"] = [{"name": hostile, "value": hostile}]
            running.server.create_run(run)
            endless = pipeline_run(running.namespace, "endless", ["x"])
            endless["status"]["conditions"] = run["status"]["conditions"]
            (task,) = endless["status"]["pipelineSpec"]["tasks"]
            task["params"] = [{"name": "p", "value": "$(" + "." * 500_000}]
            running.server.create_run(endless)
            running.start()
            mark = running.attested("hostile")["metadata"]["annotations"]
            assert running.attested("endless", "PipelineRun")["metadata"]["annotations"][SIGNED] == "true"
            path = f"/api/v1/namespaces/{running.namespace}/events"
            running.wait(lambda: len(running.server.request("GET", path)["items"]) > 0)
            events = [event["message"] for event in running.server.request("GET", path)["items"]]
        finally:
            registry.shutdown()
    log = running.log.read_text()
    assert mark[SIGNED] == "failed"
    texts = [
        mark["chains.tekton.dev/outcome"],
        *events,
        *running.ask("/metrics")[1].split("\n"),
        *log.split("\n"),
    ]
    assert [text for text in texts if plain(text) != text] == []
    assert all(r"denied\ufe0f" in text for text in events)
    assert json.loads(mark["chains.tekton.dev/outcome"])["reason"].count(r"denied\ufe0f") == 1
    assert "denied" in log


def test_no_password_of_a_store_is_told(controller: Callable[..., Running]) -> None:
    running = controller(
        artifacts_oci_storage="tekton", artifacts_taskrun_storage="tekton,docdb,archivista",
        storage_docdb_url="mongo://user:hunter2@db/c", storage_archivista_url="https://user:hunter2@host",
    )  # fmt: skip
    running.server.create_run(finished(running.namespace, "told"))
    running.start()
    running.wait(lambda: "chains_store_errors_total{" in running.ask("/metrics")[1])
    running.wait(lambda: "trying again later" in running.log.read_text())
    events = running.server.request("GET", f"/api/v1/namespaces/{running.system}/events")["items"]
    assert len(events) == 2
    said = running.log.read_text() + running.ask("/metrics")[1] + str(events)
    assert "hunter2" not in said
    assert "mongo://db/c" in said


def test_a_controller_that_starts_before_the_api_server_answers_waits_for_it(
    controller: Callable[..., Running],
) -> None:
    running = controller(**V2)
    running.server.create_run(finished(running.namespace, "early"))
    with faulty_api(running.server) as (api, seen):
        running.seen_as, api.down = seen, True
        running.start(expected=503)
        running.wait(lambda: "the configuration cannot be read" in running.log.read_text())
        api.down = False
        assert running.attested("early")["metadata"]["annotations"][SIGNED] == "true"
        assert running.stop() == 0


@pytest.mark.parametrize("missing", ["/apis/tekton.dev/v1", "/apis"])
def test_tekton_may_be_installed_after_the_controller(
    controller: Callable[..., Running], missing: str
) -> None:
    running = controller(**V2)
    with faulty_api(running.server) as (api, seen):
        running.seen_as = seen
        api.on(rf"^GET {missing}$", code=404, reason="NotFound", times=2)
        running.start(expected=503)
        running.wait(lambda: running.ask("/readyz")[0] == 200)
        running.server.create_run(finished(running.namespace, "seen"))
        assert running.attested("seen")["metadata"]["annotations"][SIGNED] == "true"
        assert running.stop() == 0
