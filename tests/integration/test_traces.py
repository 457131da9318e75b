"""Traces of the controller as a process, sent to a real OTLP/HTTP endpoint; and what never gets out of it."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.integration import test_controller
from tests.interop.attested import slug
from tests.testbed.cluster import free_ports
from tests.testbed.collector import Collector, attributes, collector
from tests.testbed.images import Registry

pytestmark = pytest.mark.server
Json = Any
Running = test_controller.Running
controller = test_controller.controller
finished = test_controller.finished
PARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
REGISTRY_PASSWORD, KEY_PASSWORD, TOKEN = "registry-pa55word", "key-pa55word", "vault-t0ken"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield found


def run_span(endpoint: Collector, name: str, state: str = "signed") -> Any:
    """Return the span of the look at a run that ended in a state; None when there is none yet."""
    wanted = {"chains.run.name": name, "chains.outcome.state": state}
    return next(
        (
            each
            for each in endpoint.spans
            if each.name == "run" and wanted.items() <= attributes(each).items()
        ),
        None,
    )


def below(endpoint: Collector, parent: Any) -> list[Any]:
    return [each for each in endpoint.spans if each.parent_span_id == parent.span_id]


def test_a_run_is_one_trace_from_read_to_mark_linked_to_tekton_s(
    controller: Callable[..., Any], endpoint: Collector
) -> None:
    running = controller(artifacts_oci_storage="tekton")
    run = finished(running.namespace, "traced")
    run["metadata"]["annotations"] = {"tekton.dev/taskrunSpanContext": json.dumps({"traceparent": PARENT})}
    running.server.create_run(run)
    running.start()
    uid = running.attested("traced")["metadata"]["uid"]
    assert running.stop() == 0  # what was not sent yet is sent now
    found = run_span(endpoint, "traced")
    told = attributes(found)
    assert (told["chains.run.kind"], told["chains.run.namespace"]) == ("TaskRun", running.namespace)
    assert told["chains.run.uid"] == uid
    (link,) = found.links
    assert (link.trace_id.hex(), link.span_id.hex()) == ("ab" * 16, "cd" * 8)
    steps = sorted(below(endpoint, found), key=lambda each: each.start_time_unix_nano)
    names = [each.name for each in steps]
    assert [name for name in names if name != "store"] == ["read", "snapshot", "payload", "sign", "mark"]
    stores = {attributes(each)["chains.payload"]: attributes(each) for each in steps if each.name == "store"}
    assert len(stores) >= 2
    assert all(each["chains.store"] == "tekton:" and each["chains.bytes"] > 100 for each in stores.values())
    assert {each.trace_id for each in steps} == {found.trace_id}
    assert all(each.end_time_unix_nano <= found.end_time_unix_nano for each in steps)
    assert endpoint.resources[0]["service.name"] == "tekton-chains-controller"


def test_a_failure_is_an_error_of_the_store_and_of_the_run(
    controller: Callable[..., Any],
    endpoint: Collector,
    referrers_registry: Registry,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "named-otherwise")
    running = controller(
        artifacts_taskrun_storage="oci",
        artifacts_oci_storage="oci",
        storage_oci_encoding__format="sigstore-bundle",
    )
    image = f"{referrers_registry.host}/{slug(request)}"
    running.server.create_run(finished(running.namespace, "failing", image))
    running.start()
    assert running.attested("failing")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "failed"
    assert running.stop() == 0
    found = run_span(endpoint, "failing", "failed")
    assert found.status.code == 2
    assert "does not have sha256:" in found.status.message
    stores = [each for each in below(endpoint, found) if each.name == "store"]
    assert stores
    assert all(each.status.code == 2 for each in stores)
    assert endpoint.resources[0]["service.name"] == "named-otherwise"


@pytest.mark.parametrize("silent", [False, True])
def test_a_dead_collector_keeps_no_run_and_no_shutdown_waiting(
    silent: bool, controller: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1] if silent else free_ports(1)[0]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        running = controller(artifacts_oci_storage="tekton")
        for number in range(5):
            running.server.create_run(finished(running.namespace, f"run-{number}"))
        running.start()
        for number in range(5):
            running.attested(f"run-{number}")
        before = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - before < 15
    assert "Traceback" not in running.log.read_text()


def write_key(folder: Path, password: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    (folder / "cosign.key").write_bytes(pem)
    (folder / "cosign.password").write_text(password)


def test_no_secret_gets_into_log_events_metrics_readiness_annotations_or_traces(
    controller: Callable[..., Any],
    endpoint: Collector,
    secured_registry: Registry,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    auth = base64.b64encode(f"robot:{REGISTRY_PASSWORD}".encode()).decode()
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(
        json.dumps({"auths": {secured_registry.host: {"auth": auth}}})
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    running = controller(
        artifacts_taskrun_storage="oci,tekton",
        artifacts_oci_storage="oci",
        storage_oci_ca__file=str(secured_registry.ca_file),
        signers_kms_auth_token=TOKEN,
    )
    (running.keys / "x509.pem").unlink()
    write_key(running.keys, KEY_PASSWORD)
    image = f"{secured_registry.host}/{slug(request)}"
    running.server.create_run(finished(running.namespace, "refused", image))
    running.start()
    # the registry refuses the password, which is told in the log, the mark and an event
    annotations = running.attested("refused")["metadata"]["annotations"]
    assert annotations["chains.tekton.dev/signed"] == "failed"
    seen = [running.ask(path)[1] for path in ("/readyz", "/metrics")]
    # the key's password is wrong from now on, and the configuration is refused
    (running.keys / "cosign.password").write_text(KEY_PASSWORD + "-typo")
    running.wait(lambda: running.ask("/readyz")[0] == 503)
    assert running.process is not None
    seen += [read_refusal(running), running.ask("/metrics")[1]]
    (running.keys / "cosign.password").write_text(KEY_PASSWORD)
    running.configure({"artifacts.taskrun.format": "nonsense", "signers.kms.auth.tokn": TOKEN})
    running.wait(lambda: "artifacts.taskrun.format" in read_refusal(running))
    seen += [read_refusal(running), running.ask("/metrics")[1]]
    assert running.stop() == 0
    path = f"/api/v1/namespaces/{running.namespace}/events"
    events = running.server.request("GET", path)["items"]
    events += running.server.request("GET", f"/api/v1/namespaces/{running.system}/events")["items"]
    assert {event["reason"] for event in events} == {"AttestationFailed", "ConfigRefused"}
    log = running.log.read_text()
    for word in ("refused", "401", "cosign.key"):
        assert word in log, "the failures that this test is about were provoked"
    told = [
        *seen,
        log,
        json.dumps(events),
        json.dumps(annotations),
        *(each.decode(errors="replace") for each in endpoint.raw),
    ]
    assert endpoint.raw
    for secret in (REGISTRY_PASSWORD, auth, KEY_PASSWORD, TOKEN):
        assert not [text for text in told if secret in text]


def read_refusal(running: Any) -> str:
    """Return what ``/readyz`` says while it refuses."""
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", running.port, timeout=5)
    connection.request("GET", "/readyz")
    text = connection.getresponse().read().decode()
    connection.close()
    return text
