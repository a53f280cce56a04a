"""Explanations over HTTP: from the row, the log and the table of workers; there is no worker and none is needed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from libs.database.engine import Database
from libs.database.steps import Change
from libs.domain import events
from libs.domain.events import NewEvent
from libs.settings.database import DatabaseSettings
from tests.fixtures.stack import TestServers
from tests.integration.api.records import Records, settings_from
from tests.integration.api.test_control import control
from tests.integration.api.test_runs import start

WORKER = str(uuid4())
LABEL = f"w/{WORKER}"


def explained(client: httpx.Client, run_id: str) -> Any:
    answer = client.get(f"/v1/runs/{run_id}/explain")
    assert answer.status_code == 200, answer.text
    return answer.json()


def model(kind: str, turn: int, attempt: int, **more: Any) -> NewEvent:
    keys = {"started": events.model_opened, "failed": events.model_closed}
    key = keys[kind](turn, attempt) if kind in keys else events.turn_committed(turn)
    data = {"turn": turn, "attempt": attempt, "worker": LABEL, "provider": "p", "model": "m", **more}
    return NewEvent(f"model.{kind}", data, key)


def tool(kind: str, turn: int, index: int, **more: Any) -> NewEvent:
    key = events.tool_result(turn, index) if kind == "completed" else events.tool_opened(turn, index, 1)
    data = {"turn": turn, "index": index, "attempt": 1, "worker": LABEL, "name": "look", "is_error": False, **more}
    return NewEvent(f"tool.{kind}", data, key)


def answered(turn: int, *names: str) -> NewEvent:
    calls = [{"index": i, "id": "", "name": name, "arguments": "{}"} for i, name in enumerate(names)]
    return model("completed", turn, 1, content="x" * 1000, tool_calls=calls, finish_reason="stop")


@pytest.fixture
def worker(servers: TestServers) -> Iterator[Callable[[float], None]]:
    """A row of a worker that is alive, of the queue of this platform; called with seconds it is so old."""

    def seen(seconds: float) -> None:
        as_maintenance(
            servers,
            "INSERT INTO workers (id, name, task_queue, seen_at) "
            f"VALUES ('{WORKER}', 'w', '{servers.task_queue}', clock_timestamp() - interval '{seconds} seconds') "
            "ON CONFLICT (id) DO UPDATE SET seen_at = EXCLUDED.seen_at",
        )

    seen(0)
    yield seen
    as_maintenance(servers, f"DELETE FROM workers WHERE id = '{WORKER}'")


def test_a_run_tells_why_it_waits_from_the_moment_it_is_accepted(
    operator: httpx.Client, user: httpx.Client, agent: str
) -> None:
    run = start(user, agent)
    told = explained(operator, run["id"])
    assert (told["run_id"], told["now"]["code"], told["workers_alive"]) == (run["id"], "no_worker", 0)
    assert told["text"].startswith("No worker is alive")
    assert {action["operation"] for action in told["actions"]} == {None, "list_run_events", "pause_run", "cancel_run"}
    control(operator, run["id"], "pause", reason="not now")
    told = explained(user, run["id"])
    ada = start(operator, agent)["created_by"]
    assert (told["now"]["code"], told["now"]["by"], told["now"]["reason"]) == ("pausing", ada, "not now")
    assert told["text"].startswith(f"{ada} asked the run to pause at ")
    assert explained(operator, run["id"])["text"].startswith("You asked the run to pause at ")
    assert told["actions"][1]["command"] == f"agent-runtime runs resume {run['id']}"
    control(operator, run["id"], "cancel")
    assert explained(user, run["id"])["now"]["code"] == "cancelled"


def test_what_is_in_flight_and_whose_worker_died(
    operator: httpx.Client, agent: str, records: Records, worker: Callable[[float], None]
) -> None:
    run = start(operator, agent)
    assert explained(operator, run["id"])["now"]["code"] == "starting"
    records.start(run["id"])
    records.commit(run["id"], Change((model("started", 1, 1),)))
    told = explained(operator, run["id"])
    assert (told["now"]["code"], told["workers_alive"]) == ("model_call", 1)
    assert told["now"]["details"]["in_flight"][0]["name"] == "p/m"
    worker(9)
    assert explained(operator, run["id"])["now"]["code"] == "no_worker"
    worker(0)
    retry_at = "2099-01-01T00:00:00+00:00"
    failed = model("failed", 1, 1, code="http_429", message="The provider answered 429.", sent=True, retry_at=retry_at)
    records.commit(run["id"], Change((failed,)))
    told = explained(operator, run["id"])
    assert (told["now"]["code"], told["now"]["until"]) == ("provider_limit", "2099-01-01T00:00:00.000000Z")
    assert told["retries"]["reasons"] == [{"kind": "model", "code": "http_429", "count": 1}]
    assert told["retries"]["last"][0] | {"at": "", "retry_at": ""} == {
        "kind": "model", "turn": 1, "index": None, "attempt": 1, "name": "p/m", "worker": LABEL, "code": "http_429",
        "message": "The provider answered 429.", "at": "", "retry_at": "",
    }  # fmt: skip
    records.commit(run["id"], Change((model("started", 1, 2), answered(1, "look", "look")), turn=1))
    records.commit(run["id"], Change((tool("started", 1, 0), tool("started", 1, 1), tool("completed", 1, 0))))
    told = explained(operator, run["id"])
    assert told["now"]["code"] == "tools"
    assert [each["name"] for each in told["now"]["details"]["in_flight"]] == ["look"]
    assert told["attempts"] == {"model_calls": 1, "model_attempts": 2, "tool_calls": 1, "tool_attempts": 2}
    assert [(each["worker"], each["alive"], each["attempts"]) for each in told["workers"]] == [(LABEL, True, 4)]


def test_a_call_that_is_tried_very_often_hides_no_other_one(
    operator: httpx.Client, agent: str, records: Records, worker: Callable[[float], None]
) -> None:
    run = start(operator, agent)["id"]
    records.start(run)
    records.commit(run, Change((model("started", 1, 1), answered(1, "look", "order", "look")), turn=1))
    records.commit(run, Change((tool("started", 1, 1, name="order"), tool("completed", 1, 2))))
    [[last]] = records.sql(f"SELECT last_seq FROM runs WHERE id = '{run}'")
    tries = {"turn": 1, "index": 0, "worker": LABEL, "name": "look", "code": "http_503", "message": "Busy."}
    records.sql(
        "INSERT INTO run_events (tenant_id, run_id, seq, type, key, data, at) "
        f"SELECT tenant_id, id, {last} + n, CASE n % 2 WHEN 1 THEN 'tool.started' ELSE 'tool.failed' END, 'x' || n, "
        f"jsonb_set('{json.dumps(tries)}', '{{attempt}}', to_jsonb((n + 1) / 2)), clock_timestamp() "
        f"FROM runs, generate_series(1, 600) n WHERE id = '{run}'"
    )
    records.sql(f"UPDATE runs SET last_seq = {last} + 600 WHERE id = '{run}'")
    told = explained(operator, run)
    assert (told["now"]["code"], [each["name"] for each in told["now"]["details"]["in_flight"]]) == ("tools", ["order"])
    assert told["attempts"]["tool_attempts"] == 301
    records.commit(run, Change((tool("completed", 1, 1),)))
    now = explained(operator, run)["now"]
    assert (now["code"], now["details"]["pending"]) == ("between_steps", ["look"])


def test_the_place_in_the_queue(
    admin: httpx.Client, operator: httpx.Client, tenant: str, agent: str, records: Records
) -> None:
    plan = f"p-{uuid4().hex[:12]}"
    assert admin.put(f"/v1/plans/{plan}", json={"running_runs": 1}).status_code == 201
    assert admin.patch(f"/v1/tenants/{tenant}", json={"plan": plan}).status_code == 200
    runs = [start(operator, agent)["id"] for _ in range(4)]
    urgent = start(operator, agent, priority=1)["id"]
    told = {run: explained(operator, run)["now"] for run in (*runs[1:], urgent)}
    assert {now["code"] for now in told.values()} == {"waiting_for_place"}
    assert [told[run]["details"]["position"] for run in (urgent, *runs[1:])] == [1, 2, 3, 4]
    assert told[urgent]["details"] | {"position": 0} == {
        "position": 0, "ahead": 0, "waiting": 4, "running": 1, "limit": 1
    }  # fmt: skip


def test_the_time_divides_into_what_the_log_says(operator: httpx.Client, agent: str, records: Records) -> None:
    """Parallel tools count once, a pause and a retry apart, and all parts together are not more than the whole."""
    run = start(operator, agent)["id"]
    log = [
        (0, NewEvent("run.queued", {"by": "ada"})), (2, NewEvent("run.started", {})), (2, model("started", 1, 1)),
        (5, model("failed", 1, 1, code="http_500")), (6, model("started", 1, 2)), (10, answered(1, "look", "look")),
        (10, tool("started", 1, 0)), (12, tool("started", 1, 1)), (15, tool("completed", 1, 0)),
        (17, tool("completed", 1, 1)), (18, NewEvent("run.pausing", {"by": "ada"})),
        (18, NewEvent("run.paused", {}, "p1")), (28, NewEvent("run.resuming", {"by": "ada"})),
        (31, NewEvent("run.resumed", {}, "r2")), (32, model("started", 2, 1)),
        (36, model("failed", 2, 1, code="worker_lost")), (36, model("started", 2, 2)), (37, answered(2)),
        (40, NewEvent("run.completed", {}, "end")),
    ]  # fmt: skip
    rows = [
        f"({seq}, '{event.type}', NULLIF('{event.key or ''}', ''), '{json.dumps(event.data)}', {at})"
        for seq, (at, event) in enumerate(log[1:], 2)
    ]
    records.sql(
        "INSERT INTO run_events (tenant_id, run_id, seq, type, key, data, at) "
        "SELECT tenant_id, id, n, type, key, CAST(data AS jsonb), created_at + after * interval '1 second' "
        f"FROM runs, (VALUES {', '.join(rows)}) AS told (n, type, key, data, after) WHERE id = '{run}'"
    )
    records.sql(
        f"UPDATE runs SET status = 'completed', turn = 2, last_seq = {len(log)}, started_at = created_at, "
        f"finished_at = created_at + interval '40 seconds' WHERE id = '{run}'"
    )
    told = explained(operator, run)
    assert told["seconds"] == {
        "total": 40.0, "model": 8.0, "tools": 7.0, "waiting": 20.0,
        "paused": 10.0, "queue": 5.0, "lost": 4.0, "retry": 1.0,
    }  # fmt: skip
    assert sorted(each["code"] for each in told["retries"]["reasons"]) == ["http_500", "worker_lost"]


def as_maintenance(servers: TestServers, statement: str) -> None:
    async def main() -> None:
        database = Database.open(settings_from(DatabaseSettings, servers.environment))
        async with database.maintenance() as connection:
            await connection.exec_driver_sql(statement)
        await database.close()

    asyncio.run(main())
