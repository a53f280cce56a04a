"""Pause, resume and cancel: written first, told at once, and never lost."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest

from libs.clients.event_stream import EventStream
from libs.settings.redis import RedisSettings
from tests.fixtures.stack import TestServers
from tests.integration.api.conftest import Clients
from tests.integration.api.records import Records, settings_from
from tests.integration.api.test_runs import start


def types(client: httpx.Client, run_id: str) -> list[str]:
    items = client.get(f"/v1/runs/{run_id}/events", params={"limit": 1000}).json()["items"]
    assert [item["seq"] for item in items] == list(range(1, len(items) + 1))
    return [item["type"] for item in items]


def control(client: httpx.Client, run_id: str, verb: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/runs/{run_id}/{verb}", json=body or None)


def test_a_run_that_never_started_is_cancelled_at_once(operator: httpx.Client, agent: str, records: Records) -> None:
    run = start(operator, agent)
    answer = control(operator, run["id"], "cancel", reason="changed my mind")
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["desired"], answer.json()["last_seq"]) == (
        "cancelled",
        "cancelled",
        3,
    )
    assert answer.json()["finished_at"]
    assert types(operator, run["id"]) == ["run.queued", "run.cancelling", "run.cancelled"]
    events = operator.get(f"/v1/runs/{run['id']}/events", params={"after": 1}).json()["items"]
    assert events[0]["data"] == {"by": run["created_by"], "reason": "changed my mind"}
    assert records.sql(f"SELECT key FROM run_events WHERE run_id = '{run['id']}' AND seq = 3") == [("end",)]
    assert control(operator, run["id"], "cancel").json()["code"] == "run_finished"


def test_a_run_that_started_says_cancelling(operator: httpx.Client, agent: str, records: Records) -> None:
    run = start(operator, agent)
    records.start(run["id"])
    answer = control(operator, run["id"], "cancel").json()
    assert (answer["status"], answer["desired"], answer["finished_at"]) == ("cancelling", "cancelled", None)
    assert control(operator, run["id"], "cancel").status_code == 202
    for verb in ("pause", "resume"):
        assert control(operator, run["id"], verb).json()["code"] == "conflict"
    assert types(operator, run["id"]) == ["run.queued", "run.started", "run.cancelling"]
    state = records.sql(f"SELECT control_seq, control_seen, last_seq FROM runs WHERE id = '{run['id']}'")
    assert state == [(1, 0, 3)]


def test_pause_and_resume_repeat_without_change(operator: httpx.Client, agent: str, records: Records) -> None:
    run = start(operator, agent)
    records.start(run["id"])
    first = control(operator, run["id"], "pause", reason="lunch").json()
    assert (first["status"], first["desired"]) == ("pausing", "paused")
    assert control(operator, run["id"], "pause").json() == first
    resumed = control(operator, run["id"], "resume").json()
    assert resumed["desired"] == "run"
    assert control(operator, run["id"], "resume").json() == resumed
    assert types(operator, run["id"]) == ["run.queued", "run.started", "run.pausing", "run.resuming"]


def test_a_finished_run_takes_no_control(operator: httpx.Client, agent: str, records: Records) -> None:
    run = start(operator, agent)
    records.start(run["id"])
    records.complete(run["id"])
    for verb in ("pause", "resume", "cancel"):
        answer = control(operator, run["id"], verb)
        assert (answer.status_code, answer.json()["code"]) == (409, "run_finished")


def test_control_answers_repeated_requests_the_same(operator: httpx.Client, agent: str) -> None:
    run, other = start(operator, agent), start(operator, agent)
    headers = {"Idempotency-Key": "pause-1"}
    first = operator.post(f"/v1/runs/{run['id']}/pause", headers=headers)
    control(operator, run["id"], "resume")
    again = operator.post(f"/v1/runs/{run['id']}/pause", headers=headers)
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    assert operator.get(f"/v1/runs/{run['id']}").json()["desired"] == "run"
    elsewhere = operator.post(f"/v1/runs/{other['id']}/pause", headers=headers)
    assert elsewhere.json()["code"] == "idempotency_key_reused"


def test_the_log_stays_gapless_when_many_ask_at_once(
    client: Clients, tenant: str, operator: httpx.Client, agent: str, records: Records
) -> None:
    run = start(operator, agent)
    records.start(run["id"])
    clients = [client("operator", tenant) for _ in range(6)]

    def ask(number: int) -> set[int]:
        verbs = ("pause", "resume") * 5
        return {control(clients[number], run["id"], verb).status_code for verb in verbs}

    with ThreadPoolExecutor(len(clients)) as pool:
        assert set().union(*pool.map(ask, range(6))) == {202}
    logged = types(operator, run["id"])
    row = records.sql(f"SELECT control_seq, last_seq FROM runs WHERE id = '{run['id']}'")[0]
    assert row == (len(logged) - 2, len(logged))


def test_cancel_and_the_last_commit_race_without_a_loser(operator: httpx.Client, agent: str, records: Records) -> None:
    for _ in range(5):
        run = start(operator, agent)
        records.start(run["id"])
        together = threading.Barrier(2)

        def finish(run_id: str = run["id"], together: threading.Barrier = together) -> None:
            together.wait()
            records.complete(run_id, wake=False)

        finishing = threading.Thread(target=finish)
        finishing.start()
        together.wait()
        status = control(operator, run["id"], "cancel").status_code
        finishing.join()
        logged = types(operator, run["id"])
        assert logged[-1] == "run.completed"
        assert ("run.cancelling" in logged) == (status == 202)


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_workers_are_told(
    operator: httpx.Client, agent: str, records: Records, servers: TestServers, verb: str
) -> None:
    run = start(operator, agent)
    records.start(run["id"])

    async def listen() -> UUID:
        stream = EventStream.open(settings_from(RedisSettings, servers.environment))
        heard: asyncio.Queue[UUID] = asyncio.Queue()
        stream.on_control(lambda tenant_id, run_id: heard.put_nowait(run_id))
        stream.start()
        try:
            await asyncio.sleep(0.5)
            assert stream.live
            await asyncio.to_thread(control, operator, run["id"], verb)
            async with asyncio.timeout(5):
                while (told := await heard.get()) != UUID(run["id"]):
                    pass
                return told
        finally:
            await stream.close()

    assert asyncio.run(listen()) == UUID(run["id"])
