"""Spans on their way to an OTLP receiver, in batches, behind everything else; what does not get through is dropped.

These are diagnostics: the log has the facts, and a receiver that is away or hangs costs a bounded queue.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from libs.observability.metrics import SPANS
from libs.observability.traceparent import TraceParent
from libs.observability.tracing import EndedSpan, Kind, Tracing, span_id
from libs.settings.tracing import TracingSettings

QUEUE, BATCH, EVERY_MS = 4096, 512, 1000
EXPORT_SECONDS = 5.0  # one batch, with what is tried again of it
CLOSE_SECONDS = 2.0
_KINDS: dict[Kind, SpanKind] = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
}
_SCOPE = InstrumentationScope("agent_runtime")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_RANDOM = (1 << 62) - 1  # the bits of a UUIDv7 that are


class _Counted(SpanExporter):
    """Tells how many spans got through."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            SPANS.labels("sent" if result is SpanExportResult.SUCCESS else "lost").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class OtlpTracing(Tracing):
    """On: of every run, or of a share of them."""

    def __init__(self, settings: TracingSettings, service: str, instance: str) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # it warns of every try
        self._below = int(settings.otel_traces_sampler_arg * (_RANDOM + 1))
        named = {"service.name": service} | ({"service.instance.id": instance} if instance else {})
        self._resource = Resource.create(named)
        exporter = OTLPSpanExporter(
            endpoint=settings.traces_endpoint,
            headers=settings.traces_headers,
            timeout=EXPORT_SECONDS,
            compression=Compression.Gzip,
        )
        for result in ("made", "sent", "lost"):
            SPANS.labels(result)
        self._processor = BatchSpanProcessor(_Counted(exporter), QUEUE, EVERY_MS, BATCH)

    def traces(self, run_id: UUID) -> bool:
        return run_id.int & _RANDOM < self._below

    def add(self, span: EndedSpan) -> None:
        links = [Link(_remote(span.link))] if span.link else []
        attributes = {"agent_runtime.run_id": str(span.run_id), **span.attributes}
        if span.error:
            attributes["error.type"] = span.error
        SPANS.labels("made").inc()
        self._processor.on_end(
            ReadableSpan(
                span.name,
                _context(span.run_id, span.of),
                _context(span.run_id, span.parent) if span.parent else None,
                self._resource,
                attributes,
                links=links,
                kind=_KINDS[span.kind],
                status=Status(StatusCode.ERROR) if span.error else Status(),
                start_time=span.started,
                end_time=max(span.ended, span.started),
                instrumentation_scope=_SCOPE,
            )
        )

    async def close(self) -> None:
        """A receiver that hangs is left behind: the thread ends with the process."""
        closed, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]  # it has no types
            with suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=shut, name="close-tracing", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(closed.wait(), CLOSE_SECONDS)


def _context(run_id: UUID, of: str) -> SpanContext:
    return SpanContext(run_id.int, int(span_id(run_id, of), 16), is_remote=False, trace_flags=_SAMPLED)


def _remote(parent: TraceParent) -> SpanContext:
    flags = TraceFlags(int(parent.flags, 16))
    return SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
