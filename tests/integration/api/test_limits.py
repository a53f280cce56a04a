"""What a plan limits, over HTTP: requests, runs, models and artifacts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.fixtures.stack import TestServers
from tests.integration.api.conftest import Clients
from tests.integration.api.records import Records
from tests.integration.api.test_artifacts import upload
from tests.integration.api.test_outages import api_with, closed_port, silence
from tests.integration.api.test_plans import new_plan
from tests.integration.api.test_runs import start

MODEL = "scripted/x"  # of the fixture's agent


@pytest.fixture
def allow(admin: httpx.Client, tenant: str) -> Any:
    """Give the tenant a plan with these limits alone."""

    def give(**limits: Any) -> None:
        assert admin.patch(f"/v1/tenants/{tenant}", json={"plan": new_plan(admin, **limits)}).status_code == 200

    return give


def flood(clients: list[httpx.Client], count: int) -> Counter[int]:
    """Requests at once, by status."""
    with ThreadPoolExecutor(16) as pool:
        return Counter(pool.map(lambda n: clients[n % len(clients)].get("/v1/agents").status_code, range(count)))


def await_next_second() -> None:
    time.sleep(1.02 - time.time() % 1)


def within_a_second(ask: Callable[[], list[httpx.Response]]) -> list[httpx.Response]:
    """What is answered within one second of the clock; on a busy machine that takes several tries."""
    for _ in range(30):
        await_next_second()
        second = int(time.time())
        answers = ask()
        if int(time.time()) == second:
            return answers
    pytest.skip("this machine does not answer a handful of requests within a second")


def test_requests_per_second(operator: httpx.Client, user: httpx.Client, client: Clients, allow: Any) -> None:
    allow(requests_per_second=3)
    answers = within_a_second(lambda: [who.get("/v1/agents") for who in (operator, user, operator, user, operator)])
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    told = [[answer.headers[f"ratelimit-{name}"] for name in ("limit", "remaining", "reset")] for answer in answers]
    assert told == [["3", "2", "1"], ["3", "1", "1"], ["3", "0", "1"], ["3", "0", "1"], ["3", "0", "1"]]
    refused = answers[-1]
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("rate_limited", "1")
    assert refused.headers["content-type"] == "application/problem+json"
    assert client("admin").get("/v1/tenants").headers.get("ratelimit-limit") is None
    [missing] = within_a_second(lambda: [operator.get("/v1/agents/nobody")])
    assert (missing.status_code, missing.headers["ratelimit-remaining"]) == (404, "2")


def test_requests_per_second_are_counted_over_replicas(
    servers: TestServers, operator: httpx.Client, client: Clients, tenant: str, allow: Any
) -> None:
    allow(requests_per_second=20)
    with api_with(servers) as url:
        both = [operator, client("operator", tenant, url=url)]
        for each in both:
            each.get("/v1/agents")
        await_next_second()
        began = int(time.time())
        counted = flood(both, 60)
        windows = int(time.time()) - began + 1
        assert 18 <= counted[200] <= 20 * windows
        assert counted[200] + counted[429] == 60


@pytest.mark.parametrize("how", ["dead", "hanging"])
def test_without_redis_each_replica_counts_alone(
    servers: TestServers, client: Clients, tenant: str, allow: Any, how: str
) -> None:
    allow(requests_per_second=10)
    with silence() as silent:
        url = f"redis://127.0.0.1:{silent if how == 'hanging' else closed_port()}/0"
        with api_with(servers, REDIS_URL=url, API_REPLICAS="2") as api:
            alone = client("operator", tenant, url=api)
            await_next_second()
            began = time.time()
            counted = Counter(alone.get("/v1/agents").status_code for _ in range(8))
            windows = int(time.time()) - int(began) + 1
            assert time.time() - began < 20  # it does not hang
            assert 5 <= counted[200] <= 5 * windows
            assert counted[200] + counted[429] == 8


def test_runs_wait_above_the_limit(operator: httpx.Client, agent: str, records: Records, allow: Any) -> None:
    allow(running_runs=2, queued_runs=1)
    first, _, waiting = [start(operator, agent)["id"] for _ in range(3)]
    shown = operator.get(f"/v1/runs/{waiting}").json()
    assert (shown["status"], shown["waiting_for"]) == ("queued", "quota")
    body = {"agent": agent, "input": "x"}
    refused = operator.post("/v1/runs", json=body, headers={"Idempotency-Key": "k"})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_runs")
    assert int(refused.headers["retry-after"]) > 0
    assert len(operator.get("/v1/runs").json()["items"]) == 3
    operator.post(f"/v1/runs/{first}/cancel")
    made = operator.post("/v1/runs", json=body, headers={"Idempotency-Key": "k"})
    assert made.status_code == 202
    assert operator.get(f"/v1/runs/{waiting}").json()["waiting_for"] is None
    again = operator.post("/v1/runs", json=body, headers={"Idempotency-Key": "k"})
    assert (again.headers["idempotency-replayed"], again.json()["id"]) == ("true", made.json()["id"])
    assert records.sql("SELECT count(*) FROM runs WHERE admitted_at IS NOT NULL AND finished_at IS NULL") == [(2,)]


def test_no_run_too_many_through_two_replicas(
    servers: TestServers, operator: httpx.Client, client: Clients, tenant: str, agent: str, records: Records, allow: Any
) -> None:
    allow(running_runs=5, queued_runs=7)
    with api_with(servers) as url:
        both = [operator, client("operator", tenant, url=url)]
        body = {"agent": agent, "input": "x"}
        with ThreadPoolExecutor(12) as pool:
            statuses = Counter(pool.map(lambda n: both[n % 2].post("/v1/runs", json=body).status_code, range(40)))
    assert statuses == {202: 12, 429: 28}
    counted = "SELECT count(*) FILTER (WHERE admitted_at IS NOT NULL), count(*) FROM runs"
    assert records.sql(counted) == [(5, 12)]


def test_a_resumed_run_goes_on_at_once_where_there_is_room(
    operator: httpx.Client, agent: str, records: Records, allow: Any
) -> None:
    allow(running_runs=1)
    start(operator, agent)
    waiting = start(operator, agent)["id"]
    assert operator.post(f"/v1/runs/{waiting}/pause").json()["status"] == "paused"
    resumed = operator.post(f"/v1/runs/{waiting}/resume").json()
    assert (resumed["status"], resumed["desired"], resumed["waiting_for"]) == ("paused", "run", "quota")
    allow(running_runs=2)
    assert records.sql(f"SELECT admitted_at IS NOT NULL FROM runs WHERE id = '{waiting}'") == [(True,)]
    assert operator.get(f"/v1/runs/{waiting}").json()["waiting_for"] is None


def test_models(operator: httpx.Client, user: httpx.Client, agent: str, allow: Any) -> None:
    allow(allowed_models=["local/*", "openai/gpt-5"])
    for refused in (
        operator.post("/v1/agents", json={"slug": "other", "spec": {"model": "openai/gpt-4"}}),
        operator.post(f"/v1/agents/{agent}/versions", json={"spec": {"model": "remote/m"}}),
        user.post("/v1/runs", json={"agent": agent, "input": "x"}),  # the plan changed after the version was made
    ):
        assert (refused.status_code, refused.json()["code"]) == (403, "model_not_allowed")
        assert "local/*, openai/gpt-5" in refused.json()["detail"]
    assert MODEL in refused.json()["detail"]
    for slug, model in (("a", "local/anything"), ("b", "openai/gpt-5")):
        assert operator.post("/v1/agents", json={"slug": slug, "spec": {"model": model}}).status_code == 201
        assert user.post("/v1/runs", json={"agent": slug, "input": "x"}).status_code == 202
    allow(allowed_models=[MODEL])
    assert user.post("/v1/runs", json={"agent": agent, "input": "x"}).status_code == 202


SPEC = {"model": MODEL}


def new(operator: httpx.Client, what: str, name: str) -> httpx.Response:
    if what == "agents":
        return operator.post("/v1/agents", json={"slug": name, "spec": SPEC})
    if what == "secrets":
        return operator.put(f"/v1/secrets/{name}", json={"value": "a secret value"})
    return operator.post(f"/v1/agents/{what}/versions", json={"spec": {**SPEC, "instructions": name}})


def refused(answer: httpx.Response, allowed: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (409, "quota_exceeded"), answer.text
    assert f"allows {allowed}" in answer.json()["detail"]


def test_agents_and_secrets_are_counted_exactly(operator: httpx.Client, agent: str, allow: Any) -> None:
    allow(agents=3, secrets=2)
    for what, others, statuses in (("agents", 6, {201: 2, 409: 4}), ("secrets", 6, {201: 2, 409: 4})):
        with ThreadPoolExecutor(6) as pool:
            found = Counter(pool.map(lambda n, what=what: new(operator, what, f"x{n}").status_code, range(others)))
        assert found == statuses
    refused(new(operator, "agents", "one-more"), "3 agents")
    refused(new(operator, "secrets", "one-more"), "2 secrets")
    kept = operator.get("/v1/secrets").json()["items"][0]["name"]
    assert new(operator, "secrets", kept).status_code == 200, "what is there may be changed"
    assert operator.delete(f"/v1/secrets/{kept}").status_code == 204
    assert new(operator, "secrets", "one-more").status_code == 201


def test_versions_of_an_agent(operator: httpx.Client, agent: str, allow: Any) -> None:
    allow(agent_versions=2)
    assert new(operator, agent, "two").status_code == 201
    refused(new(operator, agent, "three"), "2 versions of an agent")
    assert new(operator, agent, "two").status_code == 200, "it is there already"
    assert operator.post("/v1/agents", json={"slug": "other", "spec": SPEC}).status_code == 201
    assert new(operator, "other", "two").status_code == 201


def test_artifacts(operator: httpx.Client, records: Records, allow: Any) -> None:
    assert upload(operator, b"x" * 60).status_code == 201
    allow(artifact_bytes=100)
    too_much = upload(operator, b"x" * 41, **{"Idempotency-Key": "k"})
    assert (too_much.status_code, too_much.json()["code"]) == (409, "quota_exceeded")
    assert "100 bytes" in too_much.json()["detail"]
    assert upload(operator, b"x" * 40, **{"Idempotency-Key": "k"}).status_code == 201
    assert upload(operator, b"x").status_code == 409
    assert records.sql("SELECT artifact_bytes FROM storage") == [(100,)]


def test_artifacts_at_once_never_exceed_the_quota(operator: httpx.Client, records: Records, allow: Any) -> None:
    allow(artifact_bytes=100)
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(lambda _: upload(operator, b"x" * 30).status_code, range(8)))
    assert statuses == {201: 3, 409: 5}
    assert records.sql("SELECT artifact_bytes, (SELECT sum(size) FROM artifacts) FROM storage") == [(90, 90)]
