"""An object that no decoder takes ends nobody's watch: it is put aside by name, and everything else goes on."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

import pytest

from chains.documents.decode import decode_object, decode_page
from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_runs import RUNS
from tests.testbed.cluster import MERGE

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
IN_TEKTON = {"artifacts_oci_storage": "tekton"}
SIGNED = "chains.tekton.dev/signed"
LEVELS = 5000
HOLE = '"the hole"'


@pytest.fixture(autouse=True)
def gone(controller: Callable[..., Running]) -> Iterator[None]:
    """Take the objects away at the end: other tests list all runs of this API server, with Python's own JSON."""
    made: list[tuple[Running, str]] = []
    _made.set(made)
    yield
    for running, path in made:
        send(running, "PATCH", path, b'{"metadata":{"finalizers":null}}', MERGE)
        send(running, "DELETE", path, b"")


_made: ContextVar[list[tuple[Running, str]]] = ContextVar("made")


def send(running: Running, method: str, path: str, data: bytes, kind: str = "application/json") -> bytes:
    """Send bytes that the testbed's own JSON cannot hold; return the answer's."""
    server = running.server
    opener = build_opener(
        ProxyHandler({}), HTTPSHandler(context=ssl.create_default_context(cafile=str(server.ca_file)))
    )
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": kind}
    with opener.open(Request(server.url + path, data or None, headers, method=method), timeout=60) as answer:
        found: bytes = answer.read()
    return found


def nested(levels: int = LEVELS) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def create(running: Running, run: Json, *, ended: bool = True) -> None:
    """Create a run with thousands of levels in its spec."""
    status = run.pop("status")
    run["metadata"].pop("uid", None)
    run["spec"]["params"] = [{"name": "deep", "value": "the hole"}]
    path = f"{RUNS}/{running.namespace}/{run['kind'].lower()}s"
    send(running, "POST", path, json.dumps(run).replace(HOLE, nested()).encode())
    _made.get().append((running, f"{path}/{run['metadata']['name']}"))
    if ended:
        end(running, run["kind"], run["metadata"]["name"], status)


def end(running: Running, kind: str, name: str, status: Json) -> None:
    path = f"{RUNS}/{running.namespace}/{kind.lower()}s/{name}/status"
    send(running, "PATCH", path, json.dumps({"status": status}).encode(), MERGE)


def metadata(running: Running, name: str, kind: str = "TaskRun") -> Json:
    data = send(running, "GET", f"{RUNS}/{running.namespace}/{kind.lower()}s/{name}", b"")
    found = decode_object(data)
    assert found is not None
    return found["metadata"]


def marked(running: Running, name: str, kind: str = "TaskRun") -> Json:
    running.wait(lambda: SIGNED in (metadata(running, name, kind).get("annotations") or {}))
    return metadata(running, name, kind)


def assert_put_aside(running: Running, name: str, kind: str = "TaskRun") -> None:
    found = marked(running, name, kind)
    outcome = json.loads(found["annotations"]["chains.tekton.dev/outcome"])
    assert (found["annotations"][SIGNED], outcome["state"]) == ("failed", "failed")
    assert "cannot be read: it is nested deeper than 200 levels" in outcome["reason"]
    assert found["labels"]["provenance.chains/done"] == "true"
    assert "finalizers" not in found


def test_it_is_what_decoders_fail_on(controller: Callable[..., Running]) -> None:
    running = controller(**IN_TEKTON)
    create(running, finished(running.namespace, "bad"))
    data = send(running, "GET", f"{RUNS}/{running.namespace}/taskruns", b"")
    assert sys.getrecursionlimit() < LEVELS
    with pytest.raises(RecursionError):
        json.loads(data)
    (item,) = decode_page(data)["items"]
    assert item["metadata"]["name"] == "bad"


def test_a_list_with_such_a_run_is_read_and_the_run_is_put_aside(controller: Callable[..., Running]) -> None:
    running = controller(**IN_TEKTON)
    running.server.create_run(finished(running.namespace, "a-before"))
    create(running, finished(running.namespace, "bad"))
    running.server.create_run(finished(running.namespace, "z-behind"))
    running.start()
    assert running.attested("a-before")["metadata"]["annotations"][SIGNED] == "true"
    assert running.attested("z-behind")["metadata"]["annotations"][SIGNED] == "true"
    assert_put_aside(running, "bad")
    running.wait(lambda: "chains_runs_quarantined_total 1.0" in running.ask("/metrics")[1])
    events = running.server.request("GET", f"/api/v1/namespaces/{running.namespace}/events")["items"]
    (event,) = [each for each in events if each["involvedObject"]["name"] == "bad"]
    assert (event["reason"], event["involvedObject"]["kind"]) == ("RunQuarantined", "TaskRun")
    assert "starting it again" not in running.log.read_text()
    assert running.stop() == 0


def test_a_watch_goes_on_over_such_a_run(controller: Callable[..., Running]) -> None:
    running = controller(**IN_TEKTON)
    running.start()
    run = finished(running.namespace, "bad")
    status = dict(run["status"])
    create(running, run, ended=False)
    running.wait(lambda: "chains.tekton.dev/taskrun" in (metadata(running, "bad").get("finalizers") or ()))
    running.server.create_run(finished(running.namespace, "meanwhile"))
    assert running.attested("meanwhile")["metadata"]["annotations"][SIGNED] == "true"
    assert SIGNED not in (metadata(running, "bad").get("annotations") or {}), "it has not ended"
    end(running, "TaskRun", "bad", status)
    assert_put_aside(running, "bad")
    running.server.create_run(finished(running.namespace, "after"))
    assert running.attested("after")["metadata"]["annotations"][SIGNED] == "true"
    assert "starting it again" not in running.log.read_text()


def test_a_pipeline_run_names_such_a_child_as_a_gap(controller: Callable[..., Running]) -> None:
    running = controller(**IN_TEKTON)
    status: Json = {"conditions": [{"type": "Succeeded", "status": "Unknown"}]}
    parent = running.server.create_run(
        {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
         "metadata": {"name": "whole", "namespace": running.namespace},
         "spec": {"pipelineRef": {"name": "p"}}, "status": status}
    )  # fmt: skip
    child = finished(running.namespace, "bad")
    owner = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "whole",
             "uid": parent["metadata"]["uid"], "controller": True}  # fmt: skip
    child["metadata"]["ownerReferences"] = [owner]
    create(running, child)
    reference = {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": "bad", "pipelineTaskName": "build"}
    running.start()
    end(running, "PipelineRun", "whole", {
        "conditions": [{"type": "Succeeded", "status": "True"}], "completionTime": "2999-01-02T03:10:05Z",
        "pipelineSpec": {"tasks": [{"name": "build", "taskRef": {"name": "buildah"}}]}, "childReferences": [reference],
    })  # fmt: skip
    run = running.attested("whole", "PipelineRun")
    assert run["metadata"]["annotations"][SIGNED] == "true"
    assert_put_aside(running, "bad")
