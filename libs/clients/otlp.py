"""Sends spans by OTLP/HTTP protobuf; never tries again by itself, and says what became of each request.

What the receiver answers is not passed on: it may quote what it was sent.
"""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from libs.domain.traces import Span, Value, nanoseconds, span_id

LONGEST_ANSWER = 65_536  # bytes that are read of an answer
LONGEST_RETRY_AFTER = 3600.0  # seconds
RETRYABLE = frozenset({408, 425, 429})  # and every 5xx


@dataclass(frozen=True)
class Sent:
    """The receiver has it."""


@dataclass(frozen=True)
class Refused:
    """The receiver will not take it, or not all of it, however often it is sent."""

    status: int
    reason: str


@dataclass(frozen=True)
class Away:
    """The receiver cannot take it now; `after` is when it said that it may, in seconds."""

    reason: str
    after: float | None = None


Outcome = Sent | Refused | Away


class OtlpReceiver:
    """One endpoint, with the headers that it wants."""

    def __init__(
        self, endpoint: str, headers: Mapping[str, str], seconds: float, connections: int, ca_file: str | None = None
    ) -> None:
        self._endpoint = endpoint
        self._seconds = seconds
        own = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", "Accept": "application/x-protobuf"}
        self._http = httpx.AsyncClient(
            headers={**headers, **own},
            timeout=httpx.Timeout(seconds),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            verify=ssl.create_default_context(cafile=ca_file) if endpoint.startswith("https") else False,
            trust_env=False,
        )

    async def send(self, resource: Mapping[str, Value], spans: Sequence[Span]) -> Outcome:
        """Send these spans in one request."""
        body = await asyncio.to_thread(encode, resource, spans)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(body)
        except (TimeoutError, httpx.TimeoutException):
            return Away(f"no answer within {self._seconds:g} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Away(f"cannot be reached: {type(error).__name__}")

    async def _post(self, body: bytes) -> Outcome:
        async with self._http.stream("POST", self._endpoint, content=body) as answer:
            content = b""
            with suppress(httpx.DecodingError):  # the status says whether it was taken
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > LONGEST_ANSWER:
                        break
            return _judged(answer, content)

    async def close(self) -> None:
        await self._http.aclose()


def _judged(answer: httpx.Response, content: bytes) -> Outcome:
    status = answer.status_code
    if status in RETRYABLE or status >= 500:
        return Away(f"answered {status}", retry_after(answer.headers.get("Retry-After")))
    if status >= 400:
        return Refused(status, _help(status))
    if status >= 300:
        return Away(f"answered {status}, which is followed nowhere: check the address")
    return _partial(status, answer.headers.get("Content-Type", ""), content)


def _partial(status: int, media_type: str, content: bytes) -> Outcome:
    """What a success leaves out. Only protobuf is asked for; anything else says nothing of it."""
    if "protobuf" not in media_type or len(content) > LONGEST_ANSWER:
        return Sent()
    try:
        rejected = ExportTraceServiceResponse.FromString(content).partial_success.rejected_spans
    except DecodeError:
        return Sent()
    return Refused(status, f"It took the request but refused {rejected} of its spans.") if rejected else Sent()


def _help(status: int) -> str:
    return {
        400: "It does not accept the request.",
        401: "It does not accept the keys: check the project's public and secret key.",
        403: "The keys may not write traces.",
        404: "It has no such endpoint: check the address.",
        413: "The request is too large for it: lower TRACES_REQUEST_BYTES or TRACES_ATTRIBUTE_BYTES.",
        422: "It does not accept the request.",
    }.get(status, "It refuses the request.")


def retry_after(value: str | None) -> float | None:
    """Seconds, from a number or a date (RFC 9110)."""
    if value is None:
        return None
    try:
        text = value.strip()
        seconds = float(text) if text.isdigit() else email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def encode(resource: Mapping[str, Value], spans: Iterable[Span]) -> bytes:
    """The request's body, compressed; the same for the same spans."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(_attributes(resource))
    scope = resource_spans.scope_spans.add()
    scope.scope.name = "agent-runtime"
    scope.spans.extend(_span(span) for span in spans)
    return gzip.compress(request.SerializeToString(deterministic=True), 6, mtime=0)


def _span(span: Span) -> ProtoSpan:
    encoded = ProtoSpan(
        trace_id=span.run_id.bytes,
        span_id=span_id(span.run_id, span.of),
        parent_span_id=span_id(span.run_id, span.parent) if span.parent else b"",
        name=span.name,
        kind=ProtoSpan.SPAN_KIND_INTERNAL,
        start_time_unix_nano=nanoseconds(span.started_at),
        end_time_unix_nano=nanoseconds(span.ended_at),
        attributes=_attributes(span.attributes),
    )
    if span.failed:
        encoded.status.code = Status.STATUS_CODE_ERROR
    return encoded


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in values.items()]


def _value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=item) for item in value]))
