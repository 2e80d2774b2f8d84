"""Traces, metrics and logs, the same for every service.

Span and metric names use the subject *template*, never an id. The trace context travels in the stored metadata of every message, so one trace
goes from the click to the upload. Spans are recorded only when ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; the context travels in any case.
Span names and attributes follow the OpenTelemetry messaging conventions (status: development).
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from contracts import subjects
from contracts.envelope import Envelope, Metadata
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from chassis.ids import new_id

DELIVERIES = Counter(
    "aircheck_deliveries_total", "Deliveries by how they were settled.", ["service", "consumer", "outcome"]
)
CONFLICTS = Counter("aircheck_append_conflicts_total", "Appends that met a newer version and were decided again.")
PROCESS_SECONDS = Histogram(
    "aircheck_process_seconds", "Time from delivery to settlement.", ["template"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)  # fmt: skip
OUTBOX_PENDING = Gauge("aircheck_outbox_pending", "Rows that wait for the relay.", ["service"])
OUTBOX_OLDEST = Gauge(
    "aircheck_outbox_oldest_age_seconds", "Age of the oldest row that waits for the relay.", ["service"]
)
RELAYED = Counter("aircheck_relay_messages_total", "Messages the relay has published.", ["service"])
RELAY_BATCH = Histogram(
    "aircheck_relay_batch_size", "Messages in one publish.", ["service"], buckets=(1, 10, 50, 100, 250, 500, 1000)
)
RELAY_SECONDS = Histogram(
    "aircheck_relay_publish_seconds", "Time from the turn of a batch to its acknowledgement.", ["service"]
)
LEASES_HELD = Gauge("aircheck_leases_held", "Leases in hand.", ["service", "kind"])
LOOP_LAG = Gauge("aircheck_event_loop_lag_seconds", "How late the event loop runs its timers.", ["service"])

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})\Z")
_tracer: Any = None


def start_tracing(service: str) -> Any:
    """Begin to export spans when an OTLP endpoint is configured; returns what :func:`stop_tracing` takes, or ``None``."""
    global _tracer  # noqa: PLW0603  (one tracer per process, chosen once at start)
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(
        resource=Resource.create({"service.name": f"aircheck-{service}", "service.namespace": "aircheck"})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("aircheck.chassis")
    return provider


def stop_tracing(provider: Any) -> None:
    """Send what is left and record nothing more. Blocks for as long as the exporter tries, so call it in a thread."""
    global _tracer  # noqa: PLW0603
    _tracer = None
    provider.shutdown()


def new_metadata(*, actor: str | None = None) -> Metadata:
    """The start of a new story: a fresh correlation and a fresh trace."""
    return Metadata(correlation_id=new_id(), traceparent=_traceparent() or _root(), actor=actor)


def caused_by(envelope: Envelope) -> Metadata:
    """Metadata for whatever a message leads to: same correlation, same trace, caused by it."""
    before = envelope.metadata
    return Metadata(
        correlation_id=before.correlation_id,
        causation_id=envelope.id,
        traceparent=_traceparent() or child_of(before.traceparent),
        tracestate=before.tracestate,
        actor=before.actor,
    )


def child_of(traceparent: str | None) -> str:
    """A new span id in the same trace (W3C Trace Context: ``version-traceid-spanid-flags``)."""
    before = _TRACEPARENT.match(traceparent or "")
    if before is None:
        return _root()
    return f"00-{before['trace']}-{secrets.token_hex(8)}-{before['flags']}"


def trace_id(traceparent: str | None) -> str:
    """The id of the trace, or an empty text for what is not a traceparent: senders may write anything."""
    found = _TRACEPARENT.match(traceparent or "")
    return found["trace"] if found else ""


@contextmanager
def processing(envelope: Envelope, deliveries: int) -> Iterator[None]:
    """Around the handling of one message: a CONSUMER span, the duration, and ids bound to the logs."""
    template = subjects.template_of(envelope.type)
    started = time.perf_counter()
    fields = {"event_id": str(envelope.id), "trace_id": trace_id(envelope.metadata.traceparent)}
    with structlog.contextvars.bound_contextvars(**fields):
        try:
            if _tracer is None:
                yield
            else:
                with _span(f"process {template}", envelope, template, deliveries):
                    yield
        finally:
            PROCESS_SECONDS.labels(template).observe(time.perf_counter() - started)


@contextmanager
def _span(name: str, envelope: Envelope, template: str, deliveries: int) -> Iterator[None]:
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": envelope.metadata.traceparent or "", "tracestate": envelope.metadata.tracestate or ""}
    context = TraceContextTextMapPropagator().extract(carrier)
    attributes = {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.template": template,
        "messaging.message.id": str(envelope.id),
        "messaging.message.conversation_id": str(envelope.metadata.correlation_id),
        "messaging.message.body.size": len(envelope.data),
        "aircheck.deliveries": deliveries,
        "aircheck.replay": envelope.replayed,
    }
    with _tracer.start_as_current_span(name, context=context, kind=SpanKind.CONSUMER, attributes=attributes):
        yield


def _traceparent() -> str | None:
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    span = get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"


def _root() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


__all__ = [
    "REGISTRY",
    "caused_by",
    "child_of",
    "new_metadata",
    "processing",
    "start_tracing",
    "stop_tracing",
    "trace_id",
]
