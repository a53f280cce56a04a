"""Following a run: pages, streams that resume anywhere, deltas beside them, and how streams end."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import islice
from typing import Any

import httpx
import psutil
import pytest

from libs.contracts.live import Delta
from libs.database.steps import Change
from libs.domain.events import NewEvent
from tests.fixtures.stack import TestServers
from tests.integration.api.conftest import Clients
from tests.integration.api.records import Records
from tests.integration.api.sse import Frame, events_of
from tests.integration.api.test_runs import start


def shape(found: list[Frame]) -> list[tuple[str, str | None]]:
    return [(frame.event, frame.id) for frame in found]


def finished_run(operator: httpx.Client, agent: str, records: Records) -> str:
    run_id: str = start(operator, agent)["id"]
    records.start(run_id)
    records.model_started(run_id)
    records.model_completed(run_id)
    records.complete(run_id)
    return run_id


def test_pages_follow_each_other(operator: httpx.Client, agent: str, records: Records) -> None:
    run_id = finished_run(operator, agent, records)
    first = operator.get(f"/v1/runs/{run_id}/events", params={"limit": 3}).json()
    assert [item["seq"] for item in first["items"]] == [1, 2, 3]
    assert first["next_cursor"] == "3"
    rest = operator.get(f"/v1/runs/{run_id}/events", params={"after": first["next_cursor"]}).json()
    assert [item["seq"] for item in rest["items"]] == [4, 5]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("by", ["header", "query"])
def test_a_finished_run_streams_from_any_point_and_ends(
    operator: httpx.Client, agent: str, records: Records, by: str
) -> None:
    run_id = finished_run(operator, agent, records)
    whole = operator.get(f"/v1/runs/{run_id}/events").json()["items"]
    for seen in range(7):
        headers = {"Last-Event-ID": str(seen)} if by == "header" else {}
        params = f"?after={seen}" if by == "query" else ""
        with operator.stream(
            "GET", f"/v1/runs/{run_id}/events{params}", headers={"Accept": "text/event-stream", **headers}
        ) as response:
            text = response.read().decode()
        assert text.startswith("retry: ")
        ids = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
        assert ids == [item["seq"] for item in whole if item["seq"] > seen]


def test_events_arrive_as_they_are_committed(operator: httpx.Client, agent: str, records: Records) -> None:
    run_id = start(operator, agent)["id"]
    with events_of(operator, run_id) as frames:
        assert [frame.event for frame in islice(frames, 2)] == ["retry", "run.queued"]
        time.sleep(0.3)
        began = time.monotonic()
        records.start(run_id)
        assert next(frames).event == "run.started"
        records.complete(run_id)
        assert next(frames).event == "run.completed"
        assert list(frames) == []
        assert time.monotonic() - began < 3


def test_what_nobody_announced_is_found_by_polling(operator: httpx.Client, agent: str, records: Records) -> None:
    run_id = start(operator, agent)["id"]
    with events_of(operator, run_id) as frames:
        list(islice(frames, 2))
        time.sleep(0.3)
        began = time.monotonic()
        records.complete(run_id, wake=False)
        assert next(frames).event == "run.completed"
        assert time.monotonic() - began < 6.5


def test_deltas_come_between_the_events_around_them(operator: httpx.Client, agent: str, records: Records) -> None:
    run_id = start(operator, agent)["id"]
    with events_of(operator, run_id) as frames:
        list(islice(frames, 2))
        time.sleep(0.3)
        records.start(run_id)
        records.model_started(run_id, wake=False)
        records.delta(run_id, *(Delta(1, 1, 3, index, f"{index}") for index in range(3)))
        found = list(islice(frames, 5))
        assert shape(found) == [("run.started", "2"), ("model.started", "3"), *[("delta", None)] * 3]
        assert found[2].data == {"turn": 1, "attempt": 1, "base_seq": 3, "index": 0, "text": "0"}
        records.model_completed(run_id)
        records.delta(run_id, Delta(1, 1, 3, 3, "late"))
        records.complete(run_id)
        assert shape(list(frames)) == [("model.completed", "4"), ("run.completed", "5")]


def test_coming_back_gives_what_was_missed_then_the_turn_in_progress(
    operator: httpx.Client, agent: str, records: Records
) -> None:
    run_id = start(operator, agent)["id"]
    records.start(run_id)
    records.model_started(run_id)
    records.delta(run_id, Delta(1, 1, 3, 0, "of a finished turn"))
    records.model_completed(run_id)
    records.model_started(run_id, turn=2)
    records.delta(run_id, Delta(2, 1, 5, 0, "of a lost attempt"))
    records.model_started(run_id, turn=2, attempt=2)
    records.delta(run_id, Delta(2, 2, 6, 0, "Hel"), Delta(2, 2, 6, 1, "lo"))
    with events_of(operator, run_id, **{"Last-Event-ID": "3"}) as frames:
        found = list(islice(frames, 6))
        assert shape(found) == [
            ("retry", None), ("model.completed", "4"), ("model.started", "5"), ("model.started", "6"),
            ("delta", None), ("delta", None),
        ]  # fmt: skip
        assert "".join(frame.data["text"] for frame in found[4:]) == "Hello"
        records.delta(run_id, Delta(2, 2, 6, 1, "twice"), Delta(2, 2, 6, 2, "!"))
        assert next(frames).data["text"] == "!"
    with events_of(operator, run_id, **{"Last-Event-ID": "6"}) as frames:
        assert [frame.data["text"] for frame in islice(frames, 1, 4)] == ["Hel", "lo", "!"]


def test_what_a_lost_attempt_wrote_is_not_told_again(operator: httpx.Client, agent: str, records: Records) -> None:
    run_id = start(operator, agent)["id"]
    records.start(run_id)
    records.model_started(run_id)
    records.delta(run_id, Delta(1, 1, 3, 0, "of a lost attempt"))
    records.model_started(run_id, attempt=2)
    with events_of(operator, run_id, **{"Last-Event-ID": "4"}) as frames:
        assert next(frames).event == "retry"
        time.sleep(0.5)
        records.model_completed(run_id, attempt=2)
        assert shape([next(frames)]) == [("model.completed", "5")]


def test_many_readers_of_one_run_get_the_same(
    client: Clients, tenant: str, operator: httpx.Client, agent: str, records: Records
) -> None:
    run_id = start(operator, agent)["id"]
    results: list[list[tuple[str, str | None]]] = []

    def read(reader: httpx.Client) -> None:
        with events_of(reader, run_id) as frames:
            results.append(shape(list(frames)))

    threads = [threading.Thread(target=read, args=(client("operator", tenant),)) for _ in range(12)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    records.start(run_id)
    for turn in range(1, 4):
        records.model_started(run_id, turn)
        records.model_completed(run_id, turn)
    records.complete(run_id)
    for thread in threads:
        thread.join(20)
    assert len(results) == 12
    assert {tuple(result) for result in results} == {tuple(results[0])}
    assert [event_id for _, event_id in results[0][1:]] == [str(seq) for seq in range(1, 10)]


def test_long_logs_stream_whole(operator: httpx.Client, agent: str, records: Records) -> None:
    run_id = start(operator, agent)["id"]
    records.start(run_id)
    records.commit(run_id, Change(tuple(NewEvent("run.resumed", {"n": n}) for n in range(2500))))
    records.complete(run_id)
    with events_of(operator, run_id) as frames:
        ids = [int(frame.id) for frame in frames if frame.id]
    assert ids == list(range(1, 2504))


def test_large_values_are_named_beside_the_data(operator: httpx.Client, agent: str, records: Records) -> None:
    run_id = start(operator, agent)["id"]
    refs = {"/content": {"key": "secret/key", "size": 99_000, "sha256": "ab" * 32}}
    data: dict[str, Any] = {"turn": 1, "attempt": 1, "content": None, "tool_calls": []}
    records.commit(run_id, Change((NewEvent("model.completed", data, refs=refs),)))
    item = operator.get(f"/v1/runs/{run_id}/events", params={"after": 1}).json()["items"][0]
    assert item["large"] == {"/content": {"size": 99_000, "sha256": "ab" * 32}}


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "99999999999", "\uff11"])
def test_odd_last_event_ids_are_declined(operator: httpx.Client, agent: str, value: str) -> None:
    run_id = start(operator, agent)["id"]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": value.encode()}
    answer = operator.get(f"/v1/runs/{run_id}/events", headers=headers)  # type: ignore[arg-type]  # bytes on purpose
    assert answer.status_code == 422


def test_streams_end_with_the_token(servers: TestServers, api_url: str, tenant: str, agent: str) -> None:
    token = servers.stack.token(tenant=tenant, subject="ada", lifetime=2)
    with httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as brief:
        run_id = start(brief, agent)["id"]
        began = time.monotonic()
        with events_of(brief, run_id) as frames:
            assert [frame.event for frame in frames] == ["retry", "run.queued"]
        assert time.monotonic() - began < 4


def test_streams_end_when_the_tenant_is_suspended(
    admin: httpx.Client, operator: httpx.Client, agent: str, tenant: str
) -> None:
    run_id = start(operator, agent)["id"]
    with events_of(operator, run_id) as frames:
        list(islice(frames, 2))
        admin.patch(f"/v1/tenants/{tenant}", json={"status": "suspended"})
        began = time.monotonic()
        assert list(frames) == []
        assert time.monotonic() - began < 8


def test_clients_that_vanish_leave_nothing_behind(operator: httpx.Client, api_url: str, agent: str) -> None:
    def followers() -> float:
        lines = httpx.get(f"{api_url}/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("agent_runtime_api_followers "))

    run_id = start(operator, agent)["id"]
    for _ in range(20):
        with events_of(operator, run_id) as frames:
            list(islice(frames, 2))
    deadline = time.monotonic() + 5
    while followers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert followers() == 0


@pytest.fixture
def own_api(servers: TestServers, worker_id: str) -> tuple[str, psutil.Process]:
    """An API process that a test may stop."""
    name = f"api-own-{worker_id}-{os.urandom(3).hex()}"
    url = servers.stack.add_api(name, environment=servers.environment)
    pid = servers.stack.pid(name)
    assert pid is not None
    return url, psutil.Process(pid)


def test_streams_end_at_once_when_the_api_is_told_to_stop(
    own_api: tuple[str, psutil.Process], client: Clients, tenant: str, agent: str
) -> None:
    url, process = own_api
    reader = client("operator", tenant, url=url)
    run_id = start(reader, agent)["id"]
    waiting = threading.Thread(target=lambda: reader.get(f"/v1/runs/{run_id}", params={"wait": 60}))
    with events_of(reader, run_id) as frames:
        list(islice(frames, 2))
        waiting.start()
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert [frame.event for frame in frames] == ["retry"]
    waiting.join()
    process.wait(5)
    assert time.monotonic() - began < 3
