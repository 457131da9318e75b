"""OpenTelemetry traces of the flow: what took how long for which run. Costs next to nothing while off.

On where ``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` is set (the standard
``OTEL_*`` variables hold, https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
Spans leave in batches from a thread of their own: a collector that is down or slow costs spans, never runs.
Attributes are ``chains.`` and the words given, with dots for underscores.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import orjson

from chains.errors import ChainsError
from chains.extras import install_hint
from chains.loop import carry_out
from chains.text import told
from signers.errors import SignerError
from storage.errors import StoreError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

Value = str | int | float | bool
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
SERVICE = "tekton-chains-controller"
SPAN_CONTEXTS = {
    "TaskRun": "tekton.dev/taskrunSpanContext",
    "PipelineRun": "tekton.dev/pipelinerunSpanContext",
}
"""Annotations in which Tekton hands its W3C trace context on (pkg/reconciler/*/tracing.go of Pipelines)."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
_FLUSH_SECONDS = 5.0
_QUIET_SECONDS = 60.0
_MAX_TEXT = 512
_MAX_CONTEXT = 4096
_log = logging.getLogger("chains.trace")
_tracer: Tracer | None = None


_OFF = nullcontext()


def span(name: str, **attributes: Value) -> AbstractContextManager[None]:
    """Return a context manager that times its block as a span below the current one.

    What the block raises is recorded and raised again.
    """
    return _OFF if _tracer is None else _recorded(_tracer, name, attributes)


@contextmanager
def _recorded(tracer: Tracer, name: str, attributes: Mapping[str, Value]) -> Iterator[None]:
    with tracer.start_as_current_span(
        name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # the text of an error that is not ours may quote a secret
            ours = isinstance(error, ChainsError | StoreError | SignerError)
            _fail(current, str(error) if ours else type(error).__name__, type(error).__name__)
            raise


def note(**attributes: Value) -> None:
    """Set attributes of the current span."""
    if _tracer is not None:
        _current().set_attributes(_named(attributes))


def fail(reason: str) -> None:
    """Mark the current span as failed, with the reason; an empty one changes nothing."""
    if _tracer is not None and reason:
        _fail(_current(), reason, "failure")


def traced_run(
    work: Callable[_Parameters, Awaitable[_Result]],
) -> Callable[_Parameters, Awaitable[_Result]]:
    """Time a method whose first argument is a job (kind, namespace, name, uid) as the span ``run``."""

    @wraps(work)
    async def inner(*arguments: _Parameters.args, **keywords: _Parameters.kwargs) -> _Result:
        if _tracer is None:
            return await work(*arguments, **keywords)
        job: Any = arguments[1]
        with span("run", run_kind=job.kind, run_namespace=job.namespace, run_name=job.name, run_uid=job.uid):
            return await work(*arguments, **keywords)

    return inner


def link_to_tekton(raw: Mapping[str, Any]) -> None:
    """Link the current span to the trace in which Tekton executed the run, where the run says it."""
    if _tracer is None:
        return
    from opentelemetry import trace  # noqa: PLC0415 - an extra, and only where traces are on
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    extracted = TraceContextTextMapPropagator().extract(span_context_of(raw))
    found = trace.get_current_span(extracted).get_span_context()
    if found.is_valid and found != _current().get_span_context():
        _current().add_link(found, {"chains.link": "tekton"})


def span_context_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the carrier (``traceparent`` and the like) that Tekton left on a run; empty when it left none.

    Tekton keeps it in ``status.spanContext``, and takes it from the annotation where there is one.
    """
    carrier: Any = (raw.get("status") or {}).get("spanContext")
    if not carrier:
        annotations = (raw.get("metadata") or {}).get("annotations") or {}
        text = str(annotations.get(SPAN_CONTEXTS.get(str(raw.get("kind")), ""), ""))[:_MAX_CONTEXT]
        try:
            carrier = orjson.loads(text)
        except orjson.JSONDecodeError:
            return {}
    if not isinstance(carrier, dict):
        return {}
    return {str(key): value for key, value in carrier.items() if isinstance(value, str)}


@contextmanager
def tracing() -> Iterator[None]:
    """Have spans exported during the block, where the environment asks for it; flush at its end.

    What keeps traces from being sent is told in the log and stops nobody.
    """
    global _tracer  # noqa: PLW0603 - one process, one exporter
    provider = _open_provider() if _wanted() else None
    if provider is None:
        yield
        return
    _tracer = provider.get_tracer("chains")
    try:
        yield
    finally:
        _tracer = None
        # the exporter's own shutdown waits for a collector that does not answer
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(_FLUSH_SECONDS)


def run_traced(work: Coroutine[Any, Any, int]) -> int:
    """Run a program's coroutine under :func:`tracing`, as :func:`carry_out` does; return its exit code."""
    with tracing():
        return carry_out(work)


def _wanted() -> bool:
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    none = os.environ.get("OTEL_TRACES_EXPORTER", "otlp").lower() == "none"
    return not off and not none and any(os.environ.get(name) for name in _ENDPOINTS)


def _open_provider() -> Any:
    protocol = next((value for name in reversed(_PROTOCOLS) if (value := os.environ.get(name))), "")
    if protocol not in {"", "http/protobuf"}:
        _log.error(
            "no traces are sent: OTLP over %s is not available; set OTEL_EXPORTER_OTLP_PROTOCOL to "
            "http/protobuf and the endpoint to the collector's HTTP port, 4318",
            protocol[:20],
        )
        return None
    try:
        provider = _provider()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        _log.error(
            "no traces are sent: the module %s is missing; %s, or unset OTEL_EXPORTER_OTLP_ENDPOINT",
            error.name,
            install_hint("traces"),
        )
        return None
    except Exception as error:  # noqa: BLE001 - a wrong OTEL_* variable must not keep runs from being attested
        # its words may quote a header with a credential
        _log.error("no traces are sent: the OTEL_* variables cannot be used (%s)", type(error).__name__)
        return None
    _log.info("traces are sent to the OTLP endpoint")
    return provider


def _provider() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Exporter(SpanExporter):
        """Tells once a minute that spans are lost, in words without URL or header."""

        def __init__(self) -> None:
            self._inner = OTLPSpanExporter()
            self._lost, self._told = 0, float("-inf")

        def export(self, spans: Any) -> SpanExportResult:
            result = self._inner.export(spans)
            if result is not SpanExportResult.SUCCESS:
                self._lost += len(spans)
                if time.monotonic() - self._told > _QUIET_SECONDS:
                    _log.warning("the OTLP endpoint takes no spans; runs go on", extra={"spans": self._lost})
                    self._told, self._lost = time.monotonic(), 0
            return result

        def shutdown(self) -> None:
            self._inner.shutdown()  # type: ignore[no-untyped-call]

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(
        resource=Resource.create(None if named else {"service.name": SERVICE}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(Exporter()))
    return provider


def _current() -> Span:
    from opentelemetry import trace  # noqa: PLC0415 - an extra, and only where traces are on

    return trace.get_current_span()


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {
        "chains." + key.replace("_", "."): _shown(value) if isinstance(value, str) else value
        for key, value in attributes.items()
    }


def _shown(text: str) -> str:
    """A text without what stands before the @ of a URL, plain and cut."""
    return told(re.sub(r"//[^/@\s]*@", "//…@", text)[:_MAX_TEXT])[:_MAX_TEXT]


def _fail(found: Span, reason: str, kind: str) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

    found.set_status(Status(StatusCode.ERROR, _shown(reason)))
    found.add_event("exception", {"exception.type": kind, "exception.message": _shown(reason)})
