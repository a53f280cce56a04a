"""Usage over HTTP: whose it is, by what it is grouped, over what time, in pages."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from libs.database.steps import Change, ClosedCall, OpenedCall
from libs.domain.events import NewEvent
from libs.domain.runs import Price, Usage
from tests.fixtures.stack import TestServers
from tests.integration.api.records import Records

PRICE = Price(Decimal("0.25"), Decimal("0.025"), Decimal(2))
USED = Usage(1000, 400, 50, 20)
COST = Decimal("0.00026")  # 600 * 0.25 + 400 * 0.025 + 50 * 2, per million


@pytest.fixture
def records(servers: TestServers, tenant: str) -> Records:
    return Records(servers.environment, tenant)


def spend(records: Records, client: httpx.Client, *states: str, price: Price | None = PRICE, **run: Any) -> str:
    """A run with a call that ended so, for each state."""
    body = {"agent": "helper", "input": "hi", **run}
    run_id = str(client.post("/v1/runs", json=body).raise_for_status().json()["id"])
    for turn, state in enumerate(states, 1):
        fact = NewEvent("artifact.created", {})
        opened = OpenedCall(turn, 1, "openai", "gpt-5", 1000, price)
        records.commit(run_id, Change((fact,), opened=opened))
        cost = price.of(USED) if price else Decimal(0)
        records.commit(run_id, Change((fact,), turn=turn, closed=ClosedCall(turn, 1, state, USED, cost)))
    return run_id


def usage(client: httpx.Client, /, **query: Any) -> Any:
    answer = client.get("/v1/usage", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_operator_sees_the_tenant_and_a_user_its_own_runs(
    records: Records, agent: str, operator: httpx.Client, user: httpx.Client, admin: httpx.Client, tenant: str
) -> None:
    bob = user.get(f"/v1/runs/{spend(records, user, 'settled', 'estimated', labels={'team': 'red'})}").json()[
        "created_by"
    ]
    run = spend(records, operator, "settled", price=None)
    assert operator.get(f"/v1/runs/{run}").json()["usage"]["unpriced_calls"] == 1
    today = datetime.now(UTC).date().isoformat()
    report = usage(operator, group_by=["day", "model"])
    [group] = report["items"]
    assert (group["day"], group["model"], group["agent"], group["calls"]) == (today, "openai/gpt-5", None, 3)
    one: dict[str, Any] = {
        "calls": 1, "input_tokens": 1000, "cached_input_tokens": 400, "output_tokens": 50, "reasoning_tokens": 20,
        "cost_usd": str(COST),
    }  # fmt: skip
    both = {"calls": 2, "input_tokens": 2000, "cached_input_tokens": 800, "output_tokens": 100, "reasoning_tokens": 40}
    assert report["total"] == {
        **{name: 3 * value for name, value in one.items() if name != "cost_usd"}, "cost_usd": str(2 * COST),
        "correction_usd": "0", "unpriced_calls": 1, "estimated": one, "settled": {**both, "cost_usd": str(COST)},
    }  # fmt: skip
    assert usage(user)["total"]["calls"] == 2
    assert usage(user, user="somebody else")["total"]["calls"] == 0
    assert usage(operator, user=bob, agent=agent, model="openai/*", label="team:red")["total"]["calls"] == 2
    by_label = usage(operator, group_by="label:team")
    assert [(item["label"], item["calls"]) for item in by_label["items"]] == [("red", 2), (None, 1)]
    by_tenant = {item["tenant"]: item for item in _all(admin, group_by=["tenant", "model"])}
    assert by_tenant[tenant]["calls"] == 3
    assert by_tenant[tenant]["agent"] is None


def _all(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = usage(client, limit=2, **query)
    found += page["items"]
    while page["next_cursor"]:
        page = usage(client, limit=2, cursor=page["next_cursor"], **query)
        found += page["items"]
    return found


def test_a_period_ends_before_its_last_moment(records: Records, agent: str, operator: httpx.Client) -> None:
    spend(records, operator, "settled")
    for since, until, calls in (
        ("2020-01-01", "2020-02-01", 0), ("2020-01-01T00:00:00+01:00", "2020-01-01", 0),
        (datetime.now(UTC).date().isoformat(), None, 1),
    ):  # fmt: skip
        query = {"from": since, **({"to": until} if until else {})}
        assert usage(operator, **query)["total"]["calls"] == calls
    report = usage(operator, **{"from": "2020-01-01T00:00:00+01:00", "to": "2020-01-01"})
    assert (report["since"], report["until"]) == ("2019-12-31T23:00:00.000000Z", "2020-01-01T00:00:00.000000Z")


@pytest.mark.parametrize(
    "query",
    [
        {"group_by": "tenant"}, {"group_by": "label"}, {"group_by": "label:A B"}, {"group_by": ["label:a", "label:b"]},
        {"group_by": "hour"}, {"from": "2026-02-01", "to": "2026-01-01"}, {"from": "2020-01-01", "to": "2026-01-01"},
        {"from": "2026-13-01"}, {"from": "yesterday"}, {"model": "gpt"}, {"label": "red"}, {"cursor": "!"},
        {"cursor": "WyJhIl0"}, {"group_by": "day", "cursor": "WyJcdTAwMDAiXQ"}, {"limit": 0},
    ],
)  # fmt: skip
def test_odd_queries_are_refused(operator: httpx.Client, query: dict[str, Any]) -> None:
    assert operator.get("/v1/usage", params=query).status_code == 422


@pytest.mark.parametrize("query", [{"group_by": "agent"}, {"group_by": "label:a"}, {"agent": "a"}, {"user": "ada"}])
def test_an_administrator_sees_no_agents_users_and_labels(admin: httpx.Client, query: dict[str, str]) -> None:
    assert admin.get("/v1/usage", params=query).status_code == 422
