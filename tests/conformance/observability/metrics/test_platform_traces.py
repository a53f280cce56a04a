"""The platform's own traces of real runs, as a receiver decodes them, held against the log and what tools were sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from uuid import UUID

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from libs.observability.tracing import span_id
from tests.conformance.observability.metrics import scenario
from tests.conformance.observability.metrics.conftest import ObservedPlatform
from tests.fixtures.platform import eventually
from tests.fixtures.records import Record
from tests.fixtures.trace_receiver import Receiver, receiver

pytestmark = pytest.mark.timeout(170)


def told(span: Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


async def traced(platform: ObservedPlatform, receiver: Receiver) -> tuple[Record, dict[str, Span], dict[str, str]]:
    """A run, its spans by id, and the path of each tool."""
    with platform.workers(1):
        run_id, paths = await scenario.start_traced(platform, {"baggage": "secret=1", "tracestate": "a=b"})
        async with platform.records() as records:
            record = await records.run(run_id)
    root = bytes.fromhex(span_id(UUID(run_id), "accept"))

    async def there() -> bool:
        return root in {span.span_id for span in receiver.spans}

    await eventually(there)  # the worker has left and sent what it had
    await asyncio.sleep(1.2)  # what the api has beside it
    mine = [span for span in receiver.spans if span.trace_id == UUID(run_id).bytes]
    assert len({span.span_id for span in mine}) == len(mine), "a span came twice"
    return record, {span.span_id.hex(): span for span in mine}, paths


async def test_a_run_is_one_trace_from_the_request_to_its_tools(
    observed_platform: tuple[ObservedPlatform, Receiver],
) -> None:
    platform, traces = observed_platform
    record, spans, paths = await traced(platform, traces)
    run = record.row["id"]

    def one(of: str) -> Span:
        return spans[span_id(run, of)]

    root, start = one("accept"), one("start")
    assert (root.name, root.parent_span_id, root.kind) == ("POST /v1/runs", b"", Span.SPAN_KIND_SERVER)
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in root.links] == [
        tuple(scenario.PARENT.split("-")[1:3])
    ]
    assert (start.name, start.parent_span_id, start.kind) == ("start agent-run", root.span_id, Span.SPAN_KIND_PRODUCER)
    claims = {data["claim"] for data in record.of("model.started", "tool.started")}
    steps = [one(claim) for claim in claims]
    assert {step.parent_span_id for step in steps} == {start.span_id}
    assert {step.name for step in steps} == {"take_turn", "run_tool"}
    for data in record.of("model.started"):
        span = one(f"m{data['turn']}.{data['attempt']}")
        assert span.parent_span_id == one(data["claim"]).span_id
        assert told(span)["gen_ai.request.model"] == data["model"]
        row = next(row for row in record.ledger if row["turn"] == data["turn"])
        assert told(span)["gen_ai.usage.input_tokens"] == row["input_tokens"]
    for data in record.of("tool.started"):
        span = one(f"t{data['turn']}.{data['index']}.{data['attempt']}")
        assert span.parent_span_id == one(data["claim"]).span_id
        assert (span.name, told(span)["agent_runtime.tool.effect"]) == (f"execute_tool {data['name']}", data["effect"])
        (request,) = [each for each in platform.tools.received if each.path == paths[data["name"]]]
        assert request.traceparent == f"00-{run.hex}-{span.span_id.hex()}-01"
        assert request.baggage is None
    again = [span for span in spans.values() if span.name == "POST /v1/runs" and span is not root]
    assert [span.parent_span_id for span in again] == [root.span_id]
    times = [(span.start_time_unix_nano, span.end_time_unix_nano) for span in spans.values()]
    assert all(started <= ended for started, ended in times)
    parents = {span.parent_span_id.hex() for span in spans.values() if span.parent_span_id}
    assert parents <= set(spans)


async def test_no_trace_holds_what_was_asked_or_answered(
    observed_platform: tuple[ObservedPlatform, Receiver],
) -> None:
    platform, traces = observed_platform
    _, spans, paths = await traced(platform, traces)
    everything = b"".join(span.SerializeToString() for span in spans.values())
    item = paths["look"].rpartition("/")[2].encode()
    assert spans
    for content in (item, b"hello", b'{"ok"', b"secret=1"):
        assert content not in everything


async def test_a_receiver_that_hangs_holds_up_neither_runs_nor_the_end_of_a_worker(
    observed_platform: tuple[ObservedPlatform, Receiver],
) -> None:
    platform, _ = observed_platform
    with receiver(silent=True) as silent:
        worker = platform.start_worker(
            "hanging", OTEL_EXPORTER_OTLP_ENDPOINT=silent.url, LANGFUSE_HOST=silent.url, WORKER_GRACE_SECONDS="1"
        )
        began = time.monotonic()
        await scenario.start_traced(platform, {})
        assert time.monotonic() - began < 30
        began = time.monotonic()
        worker.end(15)
        took = time.monotonic() - began
    assert took < 14


def test_what_traces_is_not_loaded_when_off() -> None:
    """`opentelemetry.sdk.metrics` is loaded by redis-py, which takes whatever it finds installed."""
    code = (
        "import sys, services.api.main, services.worker.main\n"
        "from libs.observability.tracing import OFF, open_tracing\n"
        "from libs.settings.tracing import TracingSettings\n"
        "assert open_tracing(TracingSettings(), 'x') is OFF\n"
        "ours = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'opentelemetry.proto', 'requests')\n"
        "loaded = [name for name in sys.modules if name.startswith(ours)]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)}, timeout=120)
