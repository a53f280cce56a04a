"""Values over 64 KiB go to the object store by themselves and come back the same, also when it was away."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from agent_runtime import ApiProblem, AsyncClient

from tests.fakes import Plan
from tests.fixtures.platform import NO_TLS, Platform, call

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("platform")]

INPUT = "Grüße an alle, \N{SNOWMAN}. " * 9000  # about 200 KB
OUTPUT = "Und zurück: \N{SNOWMAN}! " * 15000
RESULT = json.dumps({"rows": [f"row {number}" for number in range(30_000)]})


def turns() -> list[dict[str, Any]]:
    return [{"tool_calls": [call("look", item="large")]}, {"content": OUTPUT.strip(), "chunks": 20}]


async def large_agent(platform: Platform, api: AsyncClient) -> str:
    platform.tools.plans["/look/large"] = Plan(body=RESULT)
    async with platform.model() as model:
        tool = platform.tool("look", "read", max_response_bytes=1_000_000)
        return await platform.agent(api, model, turns(), tools=[tool])


async def test_large_values_come_back_the_same(platform: Platform) -> None:
    """Rule 8: input, result and output are objects under the run's own keys; the API gives them back whole."""
    with platform.workers(2):
        async with platform.client() as api, platform.records() as records, platform.model() as model:
            agent = await large_agent(platform, api)
            run = await api.runs.run(agent, INPUT, timeout=40)
            record = await records.run(run.id)
            events = [event async for event in api.runs.events(run.id)]
            [first, second] = [
                json.loads((await model.request(each["id"]))["body"]) for each in await model.requests(agent)
            ]
    record.check()
    assert run.input == INPUT
    assert run.output == OUTPUT.strip()
    assert record.row["input"] is None
    assert record.row["output"] is None
    keys = {name: json.loads(record.row[name])["key"] for name in ("input_object", "output_object")}
    assert keys["input_object"].startswith(f"{record.row['tenant_id']}/")
    assert keys["output_object"].startswith(f"{record.row['tenant_id']}/{run.id}/")
    large = {event.type: set(event.large or ()) for event in events if event.large}
    assert large["tool.completed"] == {"/content"}
    assert large["model.completed"] == {"/content"}
    assert large["run.completed"] == {"/output"}
    assert first["messages"][-1]["content"] == INPUT
    assert RESULT in second["messages"][-1]["content"]


async def test_runs_go_on_while_the_object_store_is_away(platform: Platform) -> None:
    """Rules 8, 17: output stays inline; an input that needs the store is refused with 503 and `Retry-After`."""
    with platform.workers(2):
        async with platform.client() as api, platform.records() as records:
            agent = await large_agent(platform, api)
            with platform.without("object-store"):
                run = await api.runs.run(agent, "small", timeout=40)
                headers = {"Authorization": f"Bearer {platform.token()}"}
                async with httpx.AsyncClient(verify=NO_TLS, timeout=15) as http:
                    refused = await http.post(
                        f"{platform.api_url}/v1/runs", json={"agent": agent, "input": INPUT}, headers=headers
                    )
            record = await records.run(run.id)
            again = await api.runs.run(agent, INPUT, timeout=40)
    record.check()
    assert run.output == OUTPUT.strip()
    assert record.row["output_object"] is None
    assert refused.status_code == 503
    assert refused.json()["code"] == "dependency_unavailable"
    assert int(refused.headers["Retry-After"]) > 0
    assert again.output == OUTPUT.strip()


async def test_an_input_that_is_too_large_is_refused(platform: Platform) -> None:
    """Sizes are limited, and the limit is told."""
    async with platform.client() as api, platform.model() as model:
        agent = await platform.agent(api, model, [{"content": "Never."}])
        with pytest.raises(ApiProblem) as refusal:
            await api.runs.start(agent, "x" * 1_100_000)
    assert refusal.value.status == 413
