"""A receiver of OTLP/HTTP that decodes with the official protobufs, keeps every span, and fails as it is told."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.demo import serving

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class Seen:
    """One span as it came."""

    trace: str
    id: str
    parent: str
    name: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    project: str  # who sent it, by the Authorization header
    raw: bytes = field(repr=False)

    @property
    def kind(self) -> str:
        return str(self.attributes["langfuse.observation.type"])


@dataclass(frozen=True)
class Fault:
    """What happens to a request instead of being taken. `taken`: it is kept all the same before that."""

    status: int | None = None
    retry_after: str | None = None
    hang: float = 0.0  # seconds before anything is answered
    reject: int = 0  # so many of the spans are refused, in a partial success
    taken: bool = False
    reset: bool = False  # the connection breaks


class ReceiverOfTraces:
    """Keeps each span of each request, in the order of their coming."""

    def __init__(self) -> None:
        self.requests: list[tuple[float, str, int | None]] = []  # when, by whom, and how it was answered
        self.seen: list[Seen] = []
        self.largest = 0
        self.failed = 0  # requests that something happened to
        self.fault: Callable[[list[Seen]], Fault | None] = lambda spans: None
        self.app = Starlette(
            routes=[Route(path, self._take, methods=["POST"]) for path in ("/api/public/otel/v1/traces", "/v1/traces")]
        )

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        assert request.headers["content-type"] == PROTOBUF
        assert request.headers["content-encoding"] == "gzip"
        unzipped = gzip.decompress(body)
        self.largest = max(self.largest, len(unzipped))
        project = request.headers.get("authorization", "")
        if project:
            assert request.headers["x-langfuse-ingestion-version"] == "4"
        spans = list(decoded(unzipped, project))
        fault = self.fault(spans)
        if fault is None:
            return self._kept(spans, project)
        self.failed += 1
        if fault.taken:
            self.seen += spans
        if fault.reset:
            self.requests.append((time.monotonic(), project, None))
            serving.reset(request.scope)
            return Response(status_code=500)
        if fault.hang:
            await asyncio.sleep(fault.hang)
        if fault.reject:
            answer = ExportTraceServiceResponse()
            answer.partial_success.rejected_spans = fault.reject
            self.seen += spans[fault.reject :]
            self.requests.append((time.monotonic(), project, 200))
            return Response(answer.SerializeToString(), 200, media_type=PROTOBUF)
        self.requests.append((time.monotonic(), project, fault.status))
        headers = {"Retry-After": fault.retry_after} if fault.retry_after else None
        # Real ones quote what they were sent.
        return Response(unzipped[:2000], fault.status or 200, headers)

    def _kept(self, spans: list[Seen], project: str) -> Response:
        self.seen += spans
        self.requests.append((time.monotonic(), project, 200))
        return Response(ExportTraceServiceResponse().SerializeToString(), 200, media_type=PROTOBUF)

    def trace(self, run: str) -> dict[str, list[Seen]]:
        """The spans of a run by their ids, each as often as it came."""
        found: dict[str, list[Seen]] = defaultdict(list)
        for span in self.seen:
            if span.trace == run.replace("-", ""):
                found[span.id].append(span)
        return found

    def complete(self, run: str) -> bool:
        """Whether the run's end has come."""
        return any(
            span.attributes.get("langfuse.observation.metadata.status") not in (None, "running")
            for spans in self.trace(run).values()
            for span in spans
        )


def decoded(body: bytes, project: str) -> Iterator[Seen]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        assert any(a.key == "service.name" for a in resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _seen(span, project)


def _seen(span: ProtoSpan, project: str) -> Seen:
    assert len(span.trace_id) == 16
    assert len(span.span_id) == 8
    assert len(span.parent_span_id) in (0, 8)
    assert span.start_time_unix_nano <= span.end_time_unix_nano
    return Seen(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        {each.key: _value(each.value) for each in span.attributes},
        project,
        span.SerializeToString(deterministic=True),
    )


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


@contextmanager
def receiver_of_traces(port: int = 0) -> Iterator[tuple[ReceiverOfTraces, str]]:
    """The receiver and its URL."""
    receiver = ReceiverOfTraces()
    with serving.serving(receiver.app, port) as url:
        yield receiver, url
