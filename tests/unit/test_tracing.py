"""Traces of the platform itself: ids that follow from the run, the caller's trace linked, nothing at all when off."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from libs.clients.openai import ModelAnswer, ModelFailed
from libs.observability import traceparent
from libs.observability.tracing import OFF, EndedSpan, Tracing, open_tracing, span_id
from libs.settings.tracing import TracingSettings
from services.api.tracing import trace_request
from services.worker.metering import Meter
from services.worker.observing import Observer, Place
from tests.fixtures.trace_receiver import receiver

RUN = UUID("0199f000-0000-7000-8000-00000000abcd")
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def opened(url: str, **settings: Any) -> Tracing:
    values = {"otel_exporter_otlp_endpoint": url, "otel_exporter_otlp_headers": "x-key=a%3Db", **settings}
    return open_tracing(TracingSettings(**values), "agent-runtime-test", "one")


class Kept(Tracing):
    """Keeps spans instead of sending them."""

    def __init__(self) -> None:
        self.spans: list[EndedSpan] = []

    def traces(self, run_id: UUID) -> bool:
        return True

    def add(self, span: EndedSpan) -> None:
        self.spans.append(span)


async def test_spans_arrive_with_the_ids_that_the_run_says() -> None:
    with receiver() as server:
        tracing = opened(server.url + "/")
        link = traceparent.read([(b"traceparent", PARENT.encode())])
        tracing.add(EndedSpan(RUN, "accept", "POST /v1/runs", "server", 1_000, 2_000, link=link))
        tracing.add(
            EndedSpan(RUN, "m1.1", "chat m", "client", 3_000, 4_000, "c", {"agent_runtime.turn": 1}, "http_500")
        )
        await tracing.close()
    accept, chat = sorted(server.spans, key=lambda span: span.start_time_unix_nano)
    assert accept.trace_id == chat.trace_id == RUN.bytes
    assert (accept.span_id.hex(), accept.parent_span_id) == (span_id(RUN, "accept"), b"")
    assert (chat.span_id.hex(), chat.parent_span_id.hex()) == (span_id(RUN, "m1.1"), span_id(RUN, "c"))
    assert [(each.trace_id.hex(), each.span_id.hex()) for each in accept.links] == [tuple(PARENT.split("-")[1:3])]
    assert (accept.kind, chat.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert (accept.status.code, chat.status.code) == (0, 2)
    told = {each.key: each.value.string_value or each.value.int_value for each in chat.attributes}
    assert told == {"agent_runtime.run_id": str(RUN), "agent_runtime.turn": 1, "error.type": "http_500"}
    assert server.resources[0]["service.name"] == "agent-runtime-test"
    assert (server.headers[0]["path"], server.headers[0]["x-key"]) == ("/v1/traces", "a=b")


async def test_a_receiver_that_hangs_holds_up_neither_work_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.observability.otlp_tracing.CLOSE_SECONDS", 0.2)
    with receiver(silent=True) as server:
        tracing = opened(server.url)
        began = time.monotonic()
        for number in range(6_000):
            tracing.add(EndedSpan(RUN, f"m{number}.1", "chat m", "client", 1, 2))
        assert time.monotonic() - began < 10
        began = time.monotonic()
        await tracing.close()
        assert time.monotonic() - began < 2


def test_a_share_of_runs_is_traced_and_everybody_agrees_which() -> None:
    settings = TracingSettings(otel_exporter_otlp_endpoint="http://127.0.0.1:9", otel_traces_sampler_arg=0.25)
    one, other = open_tracing(settings, "a"), open_tracing(settings, "b")
    runs = [
        UUID(int=(RUN.int & ~((1 << 62) - 1)) | (number * 0x9E3779B97F4A7C15 & ((1 << 62) - 1)))
        for number in range(800)
    ]
    chosen = [run for run in runs if one.traces(run)]
    assert 120 < len(chosen) < 280
    assert chosen == [run for run in runs if other.traces(run)]
    assert one.headers(chosen[0], "t1.0.1") == {"traceparent": f"00-{chosen[0].hex}-{span_id(chosen[0], 't1.0.1')}-01"}
    assert one.headers(next(run for run in runs if run not in chosen), "t1.0.1") == {}


@pytest.mark.parametrize(
    "header",
    [
        "", "nonsense", PARENT + "-extra", PARENT.upper(), "ff" + PARENT[2:],
        "00-" + "0" * 32 + PARENT[35:], PARENT[:36] + "0" * 16 + "-01", PARENT + "\n",
    ],
)  # fmt: skip
def test_what_is_no_traceparent_is_nobodys(header: str) -> None:
    assert traceparent.read([(b"traceparent", header.encode())]) is None


def test_two_parents_are_none() -> None:
    one = (b"traceparent", PARENT.encode())
    assert str(traceparent.read([one])) == PARENT
    assert traceparent.read([one, one]) is None


class Route:
    def __init__(self, path: str) -> None:
        self.path = path


def request(
    path: str, headers: list[tuple[bytes, bytes]], status: int = 202, run: str | None = None
) -> list[EndedSpan]:
    kept = Kept()
    scope = {"method": "POST", "route": Route(path), "headers": [(b"traceparent", PARENT.encode())]}
    scope["path_params"] = {"run_id": run} if run else {}
    trace_request(kept, scope, {"status": status, "headers": headers}, 1)
    return kept.spans


def test_the_request_that_was_accepted_is_the_root_of_the_runs_trace() -> None:
    location = (b"Location", f"/v1/runs/{RUN}".encode())
    (root,) = request("/v1/runs", [location])
    assert (root.run_id, root.of, root.parent, root.error) == (RUN, "accept", None, "")
    assert str(root.link) == PARENT
    (again,) = request("/v1/runs", [location, (b"Idempotency-Replayed", b"true")])
    assert (again.of != "accept", again.parent) == (True, "accept")
    (refused,) = request("/v1/runs/{run_id}/pause", [], 409, str(RUN))
    assert (refused.parent, refused.error) == ("accept", "409")
    for status in (401, 403, 404, 429):
        assert request("/v1/runs/{run_id}/pause", [], status, str(RUN)) == [], "others' runs are not written into"
    assert request("/v1/runs", [], 422) == []
    assert request("/v1/runs/{run_id}/pause", [], 422, "no-id") == []
    assert request("/v1/agents", [location]) == []


def test_spans_of_the_worker_hold_no_content() -> None:
    kept = Kept()
    observer, place, answer = Observer(Meter(), kept), Place(RUN, "c1", 2, 3, 1), ModelAnswer()
    answer.content.append("what the model said")
    with observer.step("take_turn", RUN, "c1") as observed:
        observed.result = "more"
        with pytest.raises(ModelFailed), observer.model_call(Place(RUN, "c1", 2, 3), "p", "m", answer):
            raise ModelFailed("http_500", "what the provider said", retryable=True)
        with observer.tool_call(place, "look_up", object(), "read") as called:
            called.result = "ok"
    assert [(span.of, span.parent, span.error) for span in kept.spans] == [
        ("m2.3", "c1", "http_500"), ("t2.1.3", "c1", ""), ("c1", "start", ""),
    ]  # fmt: skip
    assert called.headers == {"traceparent": f"00-{RUN.hex}-{span_id(RUN, 't2.1.3')}-01"}
    assert "said" not in str(kept.spans)


async def test_a_start_that_failed_leaves_its_place_to_the_next() -> None:
    kept = Kept()
    with pytest.raises(OSError, match="away"), kept.starting(str(RUN)):
        raise OSError("away")
    with kept.starting(str(RUN)):
        pass
    failed, started = kept.spans
    assert (failed.error, failed.of != "start", started.of, started.parent) == ("OSError", True, "start", "accept")
    with OFF.starting(str(RUN)):
        pass
