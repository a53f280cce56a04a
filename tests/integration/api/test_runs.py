"""Starting, reading and listing runs over HTTP."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.api.schemas.runs import RunRead
from tests.integration.api.conftest import Clients
from tests.integration.api.records import Records


def start(client: httpx.Client, agent: str, value: Any = "hi", **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/runs", json={"agent": agent, "input": value, **more})
    assert answer.status_code == 202, answer.text
    run: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/runs/{run['id']}"
    return run


def test_a_run_is_queued_with_its_first_event(operator: httpx.Client, agent: str, records: Records) -> None:
    run = start(operator, agent, {"question": [1, 2.5, None, "ü"]}, labels={"team": "red"}, priority=1)
    assert run["status"] == "queued"
    assert run["version"] == 1
    assert UUID(run["id"]).version == 7
    assert run["created_at"].endswith("Z")
    assert operator.get(f"/v1/runs/{run['id']}").json() == run
    RunRead.model_validate(run)
    events = operator.get(f"/v1/runs/{run['id']}/events").json()
    assert [(event["seq"], event["type"]) for event in events["items"]] == [(1, "run.queued")]
    assert events["items"][0]["data"] == {"agent": agent, "version": 1, "by": run["created_by"]}
    assert records.sql(f"SELECT admitted_at IS NOT NULL FROM runs WHERE id = '{run['id']}'")[0][0]


def test_the_first_answer_comes_again_whatever_became_of_the_run(
    operator: httpx.Client, agent: str, records: Records
) -> None:
    body = {"agent": agent, "input": "once", "limits": {"seconds": 60}}
    headers = {"Idempotency-Key": "k-1"}
    first = operator.post("/v1/runs", json=body, headers=headers)
    records.start(first.json()["id"])
    records.complete(first.json()["id"])
    shuffled = json.dumps(dict(reversed(body.items())), indent=3)
    again = operator.post("/v1/runs", content=shuffled, headers={**headers, "Content-Type": "application/json"})
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    other = operator.post("/v1/runs", json={**body, "input": "twice"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(operator.get("/v1/runs").json()["items"]) == 1


def test_one_of_many_at_once_makes_the_run(client: Clients, tenant: str, agent: str) -> None:
    clients = [client("operator", tenant) for _ in range(8)]
    together = threading.Barrier(len(clients))

    def post(one: httpx.Client) -> tuple[int, str, bool]:
        together.wait()
        answer = one.post("/v1/runs", json={"agent": agent, "input": 1}, headers={"Idempotency-Key": "same"})
        return answer.status_code, answer.json()["id"], "idempotency-replayed" in answer.headers

    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(post, clients))
    assert {status for status, _, _ in answers} == {202}
    assert len({run_id for _, run_id, _ in answers}) == 1
    assert sorted(replayed for _, _, replayed in answers) == [False] + [True] * 7


def test_keys_are_of_one_subject_and_a_day(
    operator: httpx.Client, user: httpx.Client, agent: str, records: Records
) -> None:
    headers = {"Idempotency-Key": "mine"}
    body = {"agent": agent, "input": 1}
    first = operator.post("/v1/runs", json=body, headers=headers).json()["id"]
    assert user.post("/v1/runs", json=body, headers=headers).json()["id"] != first
    records.sql("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
    later = operator.post("/v1/runs", json={**body, "input": 2}, headers=headers)
    assert later.status_code == 202
    assert later.json()["id"] != first


def test_a_declined_request_keeps_no_key(operator: httpx.Client) -> None:
    headers = {"Idempotency-Key": "early"}
    body = {"agent": "late", "input": 1}
    assert operator.post("/v1/runs", json=body, headers=headers).status_code == 404
    operator.post("/v1/agents", json={"slug": "late", "spec": {"model": "p/m"}})
    assert operator.post("/v1/runs", json=body, headers=headers).status_code == 202


def test_large_inputs_come_back_the_same(operator: httpx.Client, agent: str, records: Records) -> None:
    value = {"text": "añ\\u0000" * 30_000, "n": [1.5, 10**30, -0.0]}
    body = {"agent": agent, "input": value}
    run = operator.post("/v1/runs", json=body, headers={"Idempotency-Key": "large"}).json()
    assert run["input"] == value
    assert operator.get(f"/v1/runs/{run['id']}").json()["input"] == value
    assert records.sql(f"SELECT input, input_object IS NULL FROM runs WHERE id = '{run['id']}'") == [(None, False)]
    again = operator.post("/v1/runs", json=body, headers={"Idempotency-Key": "large"})
    assert again.json() == run


def test_what_cannot_be_stored_is_replaced_and_noted(operator: httpx.Client, agent: str) -> None:
    body = '{"agent": "helper", "input": {"a\\u0000": "\\ud800x\\u0000", "ok": "\\ud83d\\ude00"}}'
    answer = operator.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202
    assert answer.json()["input"] == {"a\ufffd": "\ufffdx\ufffd", "ok": "\U0001f600"}
    events = operator.get(f"/v1/runs/{answer.json()['id']}/events").json()["items"]
    assert events[0]["data"]["replaced"] == 3


def test_limits_tighten_those_of_the_version(operator: httpx.Client, records: Records) -> None:
    spec = {"model": "p/m", "limits": {"steps": 5, "seconds": 100, "cost_usd": "0.5"}}
    operator.post("/v1/agents", json={"slug": "limited", "spec": spec})
    run = start(operator, "limited", limits={"steps": 9, "tokens": 1000, "cost_usd": "0.25", "seconds": 50})
    columns = "limit_steps, limit_tokens, limit_cost::text, deadline_at - created_at = interval '50 seconds'"
    assert records.sql(f"SELECT {columns} FROM runs WHERE id = '{run['id']}'") == [(5, 1000, "0.25", True)]
    assert run["deadline_at"] > run["created_at"]


def test_what_cannot_run_is_declined(operator: httpx.Client, agent: str) -> None:
    assert operator.post("/v1/runs", json={"agent": "nobody", "input": 1}).json()["code"] == "not_found"
    assert operator.post("/v1/runs", json={"agent": agent, "input": 1, "version": 9}).json()["code"] == "not_found"
    operator.delete(f"/v1/agents/{agent}")
    assert operator.post("/v1/runs", json={"agent": agent, "input": 1}).json()["code"] == "agent_archived"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"agent": "Not A Slug"}, "/agent"),
        ({"priority": 6}, "/priority"),
        ({"priority": "1"}, "/priority"),
        ({"labels": {"UPPER": "x"}}, "/labels/UPPER"),
        ({"labels": {"a": "x" * 256}}, "/labels/a"),
        ({"labels": {f"k{n}": "" for n in range(21)}}, "/labels"),
        ({"limits": {"steps": 0}}, "/limits/steps"),
        ({"version": 2**31}, "/version"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_flaws_are_named(operator: httpx.Client, agent: str, change: dict[str, Any], pointer: str) -> None:
    answer = operator.post("/v1/runs", json={"agent": agent, "input": 1, **change})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert any(flaw["pointer"].startswith(pointer) for flaw in answer.json()["errors"]), answer.text


def test_users_see_their_own_runs(operator: httpx.Client, user: httpx.Client, client: Clients, agent: str) -> None:
    theirs, own = start(operator, agent), start(user, agent)
    assert [run["id"] for run in user.get("/v1/runs").json()["items"]] == [own["id"]]
    assert {run["id"] for run in operator.get("/v1/runs").json()["items"]} == {theirs["id"], own["id"]}
    for path in ("", "/events", "/artifacts"):
        assert user.get(f"/v1/runs/{theirs['id']}{path}").status_code == 404
    for verb in ("pause", "resume", "cancel"):
        assert user.post(f"/v1/runs/{theirs['id']}/{verb}").status_code == 404


def test_no_tenant_sees_another(client: Clients, admin: httpx.Client, operator: httpx.Client, agent: str) -> None:
    run = start(operator, agent)
    slug = f"other-{uuid4().hex[:8]}"
    admin.post("/v1/tenants", json={"slug": slug})
    stranger = client("operator", slug)
    assert stranger.get("/v1/runs").json()["items"] == []
    assert stranger.get("/v1/agents").json()["items"] == []
    for path in (f"/v1/runs/{run['id']}", f"/v1/runs/{run['id']}/events", f"/v1/agents/{agent}"):
        assert stranger.get(path).status_code == 404
    assert stranger.post(f"/v1/runs/{run['id']}/cancel").status_code == 404
    assert stranger.post("/v1/runs", json={"agent": agent, "input": 1}).status_code == 404


def test_lists_filter_and_page(operator: httpx.Client, agent: str) -> None:
    operator.post("/v1/agents", json={"slug": "second", "spec": {"model": "p/m"}})
    made = [start(operator, agent, n, labels={"n": str(n), "all": "yes"}) for n in range(5)]
    other = start(operator, "second")
    ids = [run["id"] for run in reversed(made)]
    seen, cursor = [], None
    while True:
        params = {"agent": agent, "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = operator.get("/v1/runs", params=params).json()
        seen += [run["id"] for run in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids
    assert "input" not in page["items"][0]

    def listed(**params: Any) -> list[str]:
        return [run["id"] for run in operator.get("/v1/runs", params=params).json()["items"]]

    assert listed(label=["n:3", "all:yes"]) == [made[3]["id"]]
    assert listed(label="n:9") == []
    assert listed(created_after=made[3]["created_at"], agent=agent) == [made[4]["id"], made[3]["id"]]
    assert listed(created_before=made[1]["created_at"]) == [made[0]["id"]]
    operator.post(f"/v1/runs/{other['id']}/cancel")
    assert listed(status="cancelled") == [other["id"]]
    assert len(listed(status=["cancelled", "queued"])) == 6


def test_waiting_ends_with_the_run(operator: httpx.Client, agent: str, records: Records) -> None:
    run = start(operator, agent)
    records.start(run["id"])
    finishing = threading.Timer(0.5, lambda: records.complete(run["id"], '{"answer":42}'))
    finishing.start()
    began = time.monotonic()
    answer = operator.get(f"/v1/runs/{run['id']}", params={"wait": 20}).json()
    finishing.join()
    assert (answer["status"], answer["output"]) == ("completed", {"answer": 42})
    assert 0.3 < time.monotonic() - began < 5
    assert operator.get(f"/v1/runs/{run['id']}", params={"wait": 20}).json() == answer


def test_waiting_ends_with_the_time(operator: httpx.Client, agent: str) -> None:
    run = start(operator, agent)
    began = time.monotonic()
    assert operator.get(f"/v1/runs/{run['id']}", params={"wait": 0.3}).json()["status"] == "queued"
    assert 0.3 <= time.monotonic() - began < 3
