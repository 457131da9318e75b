"""Traces in process: what is off costs nothing, what is wrong is told once, no secret gets into a span."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from chains import tracing
from chains.attest.stores import Stores
from chains.errors import InputError
from chains.tekton.runs import Job
from storage.record import Failure, Stored
from tests.testbed.cluster import free_ports
from tests.unit.chains.attest.test_flow import run
from tests.unit.chains.attest.test_outcome import Shelf as OutcomeShelf
from tests.unit.chains.attest.test_outcome import attested
from tests.unit.chains.attest.test_stores import Shelf
from tests.unit.storage import records

PARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
JOB = Job("TaskRun", "ci", "build", "u-1")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def named(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {each.name: each for each in exporter.get_finished_spans()}


def test_while_off_every_span_is_the_same_object_that_does_nothing() -> None:
    first = tracing.span("store", payload="taskrun", store="oci:", bytes=100)
    assert tracing.span("sign") is first
    with first, tracing.span("nested"):
        tracing.note(outcome_state="signed")
        tracing.fail("told nobody")


def test_spans_of_one_run_belong_together_also_across_tasks(spans: InMemorySpanExporter) -> None:
    class Work:
        @tracing.traced_run
        async def handle(self, job: Job) -> str:
            async def store(number: int) -> None:
                with tracing.span(f"store {number}", bytes=number):
                    await asyncio.sleep(0)

            await asyncio.gather(store(1), store(2))
            tracing.note(outcome_state="signed")
            return job.name

    assert asyncio.run(Work().handle(JOB)) == "build"
    found = named(spans)
    run = found["run"]
    assert run.attributes == {
        "chains.run.kind": "TaskRun", "chains.run.namespace": "ci", "chains.run.name": "build",
        "chains.run.uid": "u-1", "chains.outcome.state": "signed",
    }  # fmt: skip
    for number in (1, 2):
        child = found[f"store {number}"]
        assert child.parent is not None
        assert run.context is not None
        assert child.parent.span_id == run.context.span_id


def test_each_store_has_a_span_that_tells_what_went_there_and_the_first_failure(
    spans: InMemorySpanExporter,
) -> None:
    record = records.attestation()
    down = (Failure("b:", "att", "", "no room"), Failure("b:", "sig", "", "also none"))
    shelves = (Shelf("a:"), Shelf("b:", Stored(failures=down)))
    asyncio.run(Stores({Stores.EVERYTHING: shelves}).put("provenance", record, ()))
    made = spans.get_finished_spans()
    size = len(record.payload)
    assert [(one.name, one.attributes) for one in made] == [
        ("store", {"chains.payload": "provenance", "chains.store": store, "chains.bytes": size})
        for store in ("a:", "b:")
    ]
    assert [one.status.status_code for one in made] == [StatusCode.UNSET, StatusCode.ERROR]
    assert made[1].status.description == "no room"


def test_a_run_is_traced_by_its_stages(spans: InMemorySpanExporter) -> None:
    assert attested(run(), OutcomeShelf()).state == "signed"
    told = [(one.name, dict(one.attributes or {})) for one in spans.get_finished_spans()]
    assert told[:2] == [("payload", {}), ("sign", {"chains.payloads": 2})]
    assert [name for name, _ in told[2:]] == ["store", "store"]


def test_errors_are_recorded_and_words_that_are_not_ours_are_left_out(spans: InMemorySpanExporter) -> None:
    with pytest.raises(InputError, match="no such run"), tracing.span("ours"):
        raise InputError("no such run")
    with pytest.raises(ValueError, match="s3cr3t"), tracing.span("theirs"):
        raise ValueError("s3cr3t")
    with tracing.span("told"):
        tracing.fail("")
        tracing.fail("cannot push to https://me:s3cr3t@registry.example.com/a")
    with pytest.raises(asyncio.CancelledError), tracing.span("cancelled"):
        raise asyncio.CancelledError
    found = named(spans)
    assert found["ours"].status.description == "no such run"
    assert found["theirs"].status.description == "ValueError"
    assert found["told"].status.description == "cannot push to https://…@registry.example.com/a"
    assert found["told"].status.status_code is StatusCode.ERROR
    assert found["cancelled"].status.status_code is StatusCode.UNSET
    assert "s3cr3t" not in "".join(each.to_json() for each in spans.get_finished_spans())


@pytest.mark.parametrize(
    "run",
    [
        {"kind": "TaskRun", "metadata": {"annotations": {"tekton.dev/taskrunSpanContext": f'{{"traceparent":"{PARENT}"}}'}}},
        {"kind": "PipelineRun", "metadata": {"annotations": {"tekton.dev/pipelinerunSpanContext": f'{{"traceparent":"{PARENT}"}}'}}},
        {"kind": "PipelineRun", "metadata": {}, "status": {"spanContext": {"traceparent": PARENT}}},
    ],
)  # fmt: skip
def test_a_run_is_linked_to_tekton_s_trace(run: dict[str, object], spans: InMemorySpanExporter) -> None:
    with tracing.span("run"):
        tracing.link_to_tekton(run)
    (link,) = named(spans)["run"].links
    assert f"{link.context.trace_id:032x}" == "ab" * 16
    assert f"{link.context.span_id:016x}" == "cd" * 8


@pytest.mark.parametrize(
    "text", ["", "x", "[1]", '{"traceparent": 5}', '{"traceparent": "00-zz"}', "{" * 9000, '{"a":"b"}']
)
def test_a_span_context_that_makes_no_sense_is_no_link(text: str, spans: InMemorySpanExporter) -> None:
    run = {"kind": "TaskRun", "metadata": {"annotations": {"tekton.dev/taskrunSpanContext": text}}}
    with tracing.span("run"):
        tracing.link_to_tekton(run)
        tracing.link_to_tekton({"kind": "TaskRun", "metadata": {}, "status": {"spanContext": text}})
    assert not named(spans)["run"].links


def test_nothing_is_sent_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracing.tracing():
        assert tracing.span("run") is tracing.span("another")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    for name, value in (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")):
        with monkeypatch.context() as context:
            context.setenv(name, value)
            with tracing.tracing():
                assert tracing.span("run") is tracing.span("another")


def test_a_missing_extra_is_told_with_the_next_step_and_work_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    done = []
    with caplog.at_level(logging.INFO), tracing.tracing(), tracing.span("run"):
        done.append(1)
    assert done == [1]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    packages = "'opentelemetry-exporter-otlp-proto-http>=1.35' 'opentelemetry-sdk>=1.35'"
    assert f"pip install {packages} brings what is needed" in record.getMessage()


def test_a_protocol_that_is_not_spoken_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with tracing.tracing():
        assert tracing.span("run") is tracing.span("another")
    assert "OTLP over grpc is not available; set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf" in caplog.text


@pytest.mark.timeout(60)
def test_a_collector_that_is_not_there_is_told_once_without_its_password_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://me:s3cr3t@127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr(tracing, "_FLUSH_SECONDS", 3)
    with tracing.tracing():
        for _ in range(5000):
            with tracing.span("run"):
                pass
    lost = [record for record in caplog.records if "takes no spans" in record.getMessage()]
    assert len(lost) == 1
    assert "s3cr3t" not in caplog.text
