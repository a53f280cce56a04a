"""Following a run gives every durable event exactly once, wherever connections break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from agent_runtime import AnswerNotUnderstood, Delta, Event, NotFound, Retry, StreamBroken
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sdk.scripted import ScriptedApi, events, ok, problem, run

LOG: list[tuple[str, dict[str, Any]]] = [
    ("run.queued", {}),
    ("run.started", {}),
    ("model.started", {"turn": 1, "attempt": 1}),
    ("model.completed", {"turn": 1, "attempt": 1, "content": "größer"}),
    ("run.completed", {"output": "größer"}),
]


@pytest.fixture(autouse=True, scope="module")
def _without_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent_runtime.following.RECONNECT", 0.0)
        yield


def durable(seq: int, log: list[tuple[str, dict[str, Any]]] = LOG) -> bytes:
    kind, data = log[seq - 1]
    body = json.dumps({"seq": seq, "type": kind, "data": data, "version": 1}, ensure_ascii=False)
    return f"id: {seq}\nevent: {kind}\ndata: {body}\n\n".encode()


def delta(turn: int, attempt: int, index: int, text: str) -> bytes:
    data = {"turn": turn, "attempt": attempt, "base_seq": 3, "index": index, "text": text}
    return f"event: delta\ndata: {json.dumps(data)}\n\n".encode()


def served(after: int) -> bytes:
    """What the API sends to a client that has read `after`."""
    parts = [b"retry: 0\n\n"]
    for seq in range(after + 1, len(LOG) + 1):
        parts.append(durable(seq))
        if seq == 3:
            parts += [delta(1, 1, 0, "grö"), b": heartbeat\n\n", delta(1, 1, 1, "ßer")]
    return b"".join(parts)


class CuttingApi(ScriptedApi):
    """Serves the log, cut after a given number of bytes of each connection; whole when the cuts are used up."""

    def __init__(self, cuts: list[int], broken: bool) -> None:
        super().__init__(self.serve)
        self.cuts, self.broken = list(cuts), broken

    def serve(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return ok(run("running", last_seq=3))(request)
        assert request.headers["last-event-id"] == request.url.params["after"]
        stream = served(int(request.headers["last-event-id"]))
        if not self.cuts:
            return events([stream])(request)
        return events([stream[: self.cuts.pop(0)]], self.broken)(request)


def seqs(items: list[Event | Delta]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Event)]


@pytest.mark.parametrize(("broken", "stride"), [(True, 1), (False, 7)])
def test_cut_at_every_byte(broken: bool, stride: int) -> None:
    for cut in range(0, len(served(0)), stride):
        items = list(CuttingApi([cut], broken).client().runs.follow("01"))
        assert seqs(items) == [1, 2, 3, 4, 5], cut
        assert "".join(item.text for item in items if isinstance(item, Delta)) in {"größer", "grö", ""}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(served(0))), max_size=4), st.booleans())
def test_cut_many_times(cuts: list[int], broken: bool) -> None:
    assert seqs(list(CuttingApi(cuts, broken).client().runs.follow("01"))) == [1, 2, 3, 4, 5]


def test_async_follows_the_same_way() -> None:
    async def follow() -> list[Event | Delta]:
        async with CuttingApi([40, 300], True).async_client() as client:
            return [item async for item in client.runs.follow("01", after=1)]

    assert seqs(asyncio.run(follow())) == [2, 3, 4, 5]


def test_deltas_of_older_attempts_are_dropped() -> None:
    log = [*LOG[:3], ("model.failed", {"turn": 1, "attempt": 1}), ("model.started", {"turn": 1, "attempt": 2})]
    chunks = [durable(seq, log) for seq in (1, 2, 3)]
    chunks += [delta(1, 1, 0, "old"), delta(1, 1, 0, "repeated"), durable(4, log), delta(1, 1, 1, "late")]
    chunks += [durable(5, log), delta(1, 1, 2, "later"), delta(1, 2, 0, "new")]
    api = ScriptedApi(events([*chunks, durable(6, [*log, ("run.completed", {})]), delta(1, 2, 1, "after the end")]))
    texts = [item.text for item in api.client().runs.follow("01") if isinstance(item, Delta)]
    assert texts == ["old", "new"]


def test_deltas_can_be_left_out() -> None:
    items = list(CuttingApi([], False).client().runs.follow("01", deltas=False))
    assert all(isinstance(item, Event) for item in items)
    assert len(items) == 5


def test_an_event_that_was_skipped_is_asked_for_again() -> None:
    api = ScriptedApi(events([durable(1), durable(3)]), events([durable(n) for n in (2, 3, 4, 5)]))
    assert seqs(list(api.client().runs.follow("01"))) == [1, 2, 3, 4, 5]
    assert api.headers("last-event-id") == ["0", "1"]


def test_repeated_events_are_dropped() -> None:
    api = ScriptedApi(events([durable(n) for n in (1, 2, 1, 2, 3, 4, 4, 5)]))
    assert seqs(list(api.client().runs.follow("01"))) == [1, 2, 3, 4, 5]


def test_nothing_left_after_the_end() -> None:
    api = ScriptedApi(events([b"retry: 0\n\n"]), ok(run("completed", last_seq=5)))
    assert list(api.client().runs.follow("01", after=5)) == []


def test_a_stream_that_never_brings_anything() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        streaming = request.url.path.endswith("/events")
        return (events([b"retry: 0\n\n"]) if streaming else ok(run("running", last_seq=9)))(request)

    retry = Retry(first_pause=0.0, longest_pause=0.0)
    object.__setattr__(retry, "patient", lambda: Retry(attempts=4, first_pause=0.0))
    with pytest.raises(StreamBroken, match="follow it again"):
        list(ScriptedApi(serve).client(retry=retry).runs.follow("01"))


def test_a_quiet_stream_that_is_alive_is_followed_for_ever() -> None:
    """A paused run brings heartbeats only, and its streams end with the token, again and again."""

    def serve(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return ok(run("paused", last_seq=1))(request)
        connections.append(request)
        heartbeats = events([b"retry: 0\n\n", b": still here\n\n", b": still here\n\n"])
        return (heartbeats if len(connections) < 20 else events([durable(n) for n in (1, 2, 3, 4, 5)]))(request)

    connections: list[httpx.Request] = []
    retry = Retry(first_pause=0.0, longest_pause=0.0)
    object.__setattr__(retry, "patient", lambda: Retry(attempts=2, first_pause=0.0))
    assert seqs(list(ScriptedApi(serve).client(retry=retry).runs.follow("01"))) == [1, 2, 3, 4, 5]


def test_the_token_is_asked_for_at_each_connection() -> None:
    tokens = iter(["first", "second", "third"])
    api = ScriptedApi(events([durable(1)]), problem(401, "unauthenticated"), events([durable(n) for n in (2, 3, 4, 5)]))
    assert seqs(list(api.client(token=lambda: next(tokens)).runs.follow("01"))) == [1, 2, 3, 4, 5]
    assert api.headers("authorization") == ["Bearer first", "Bearer second", "Bearer third"]


def test_what_the_api_declines_is_raised() -> None:
    with pytest.raises(NotFound):
        list(ScriptedApi(problem(404, "not_found")).client().runs.follow("01"))


@pytest.mark.parametrize("answer", [ok({}), events([b"id: 1\nevent: run.queued\ndata: {\n\n"])])
def test_an_answer_that_is_no_stream_of_events(answer: Any) -> None:
    with pytest.raises(AnswerNotUnderstood):
        list(ScriptedApi(answer).client().runs.follow("01"))


def test_leaving_the_loop_closes_the_connection() -> None:
    closed: list[bool] = []

    class Watched(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield durable(1)
            yield durable(2)

        def close(self) -> None:
            closed.append(True)

    headers = {"content-type": "text/event-stream"}
    api = ScriptedApi(httpx.Response(200, headers=headers, stream=Watched()))
    items = api.client().runs.follow("01")
    next(items)
    items.close()
    assert closed == [True]
