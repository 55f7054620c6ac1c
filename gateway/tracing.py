"""Traces by OpenTelemetry: each call and each question to a tower is a span of the caller's own trace.

Off unless the standard variables name who receives them (`OTEL_EXPORTER_OTLP_ENDPOINT` or
`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, by OTLP over HTTP); until then nothing of OpenTelemetry is imported.
The SDK reads the other variables: sampling, names, headers, batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
HEADERS = ("traceparent", "tracestate")
"""W3C's trace context, as HTTP's headers and gRPC's metadata have it."""
PARENT: ContextVar[Mapping[str, str]] = ContextVar("parent", default={})  # noqa: B039  # never changed
"""What came of these with the present request."""
_tracer: Any = None


class TracingError(ValueError):
    """Traces are asked for and cannot be had; the message says why."""


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def start(environment: Mapping[str, str]) -> Callable[[], None]:
    """Export spans, if the environment says where to → what sends the last ones and ends it.

    Raises:
        TracingError: OpenTelemetry's packages are missing.
    """
    global _tracer
    named = next((name for name in _ENDPOINTS if environment.get(name)), None)
    if named is None or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingError(
            f"{named} is set, and a package is missing ({error.name}); install opentelemetry-sdk and"
            " opentelemetry-exporter-otlp-proto-http"
        ) from None
    service = environment.get("OTEL_SERVICE_NAME") or "babelclip-gateway"
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("gateway")

    def end() -> None:
        global _tracer
        _tracer = None
        provider.shutdown()

    return end


@contextmanager
def call_span(name: str) -> Iterator[Any]:
    """The span of a call, a child of the caller's; None while tracing is off."""
    if _tracer is None:
        yield None
        return
    from opentelemetry import context, propagate, trace

    parent = propagate.extract(PARENT.get())
    span = _tracer.start_span(name, context=parent, kind=trace.SpanKind.SERVER)
    # Never detached: a call has a task of its own, and a stream may be closed from another.
    context.attach(trace.set_span_in_context(span, parent))
    try:
        yield span
    finally:
        span.end()


def stage_spans(stages: Sequence[tuple[str, float]], began: int, ended: int) -> None:
    """The spans of what a tower did for a message, within that of the question.

    The tower tells seconds and no times of day: its clock may be another one. So they stand one after the
    other up to the answer, in their true lengths; what is left before them is the way and the queue.

    Args:
        began, ended: when the message was sent, and its answer was there, in nanoseconds since 1970.
    """
    if _tracer is None or not stages:
        return
    at = max(began, ended - sum(_nanoseconds(seconds) for _, seconds in stages))
    _tracer.start_span("wait", start_time=began).end(at)
    for name, seconds in stages:
        span = _tracer.start_span(name, start_time=at)
        at = min(at + _nanoseconds(seconds), ended)
        span.end(at)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def in_call() -> bool:
    """Whether there is a span that is kept, in which what is done now is done."""
    if _tracer is None:
        return False
    from opentelemetry.trace import get_current_span

    return bool(get_current_span().is_recording())


def note(span: Any, facts: Mapping[str, Any], *, failed: bool) -> None:
    """Write down what has come of a call; a collector keeps the traces of errors by their status."""
    span.set_attributes(facts)
    if failed:
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR)


def exemplar(span: Any) -> dict[str, str] | None:
    """What leads from a measured value to the trace of a span; None where nothing is kept of it."""
    if span is None or not (context := span.get_span_context()).trace_flags.sampled:
        return None
    return {"trace_id": f"{context.trace_id:032x}"}


@contextmanager
def tower_span(tower: str, items: int, version: str) -> Iterator[None]:
    """The span of a question to a tower, within that of a call."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    facts = {"babelclip.tower": tower, "babelclip.items": items, "babelclip.version": version}
    with _tracer.start_as_current_span(f"embed {tower}", kind=SpanKind.CLIENT, attributes=facts):
        yield
