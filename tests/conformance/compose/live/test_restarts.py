"""Any one service is restarted while a run is in the middle of a model call: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from agent_runtime import AsyncClient, Delta

from deploy.demo.props import INVENTORY_PORT
from tests.fixtures.compose.engine import docker
from tests.fixtures.compose.project import Installation
from tests.fixtures.platform import eventually

pytestmark = pytest.mark.asyncio

INVENTORY = f"http://props:{INVENTORY_PORT}"
SECONDS = 150
ORDER: dict[str, Any] = {
    "type": "http",
    "name": "place_order",
    "description": "Orders an item; every call is an order of its own.",
    "effect": "write",
    "method": "POST",
    "url": f"{INVENTORY}/orders",
    "parameters": {
        "type": "object",
        "properties": {"sku": {"type": "string"}, "quantity": {"type": "integer"}},
        "required": ["sku", "quantity"],
    },
}
# The ones that take longest to come back are last.
SERVICES = ["redis", "minio", "postgres", "temporal", "api", "kong", "worker", "keycloak"]


def turns(sku: str) -> list[dict[str, Any]]:
    """A write, then an answer in the middle of which the model waits."""
    words = "This is the answer, word by word, for as long as it takes. " * 3
    return [
        {"tool_calls": [{"name": "place_order", "arguments": {"sku": sku, "quantity": 1}}]},
        {"content": words, "chunks": 12, "delay_ms": 150, "hold_after_chunks": 3, "hold_times": 1},
    ]


async def followed(api: AsyncClient, run_id: str) -> list[dict[str, Any]]:
    return [item.as_json() async for item in api.runs.follow(run_id) if not isinstance(item, Delta)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_run_goes_on(installation: Installation, service: str) -> None:
    sku = f"{service}-{uuid4().hex[:6]}"
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, turns(sku), tools=[ORDER])
        run = await api.runs.start(agent, "hello")
        following = asyncio.create_task(followed(api, run.id))
        await model.requests(agent, state="held", wait=30)
        await asyncio.to_thread(installation.compose, "restart", service, seconds=200)
        await model.release(agent)
        seen = await asyncio.wait_for(following, SECONDS)
        await asyncio.to_thread(installation.wait_until_ready)
        ended = await api.runs.get(run.id)
        log = [event.as_json() async for event in api.runs.events(run.id)]
    assert ended.status == "completed", ended.error
    assert str(ended.output).startswith("This is the answer")
    assert [event["seq"] for event in seen] == list(range(1, len(log) + 1))
    assert seen == log
    assert [event["type"] for event in log].count("run.completed") == 1
    orders = await asyncio.to_thread(installation.world.orders)
    assert [order["sku"] for order in orders].count(sku) == 1
    if service not in ("worker", "postgres"):  # whose going away costs the call in progress, or may
        assert max(event["data"].get("attempt", 1) for event in log if event["type"] == "model.started") == 1


@pytest.mark.timeout(300)
async def test_a_killed_container_comes_back(installation: Installation) -> None:
    """The restart policy: a process that dies by itself is started again."""
    container = installation.container("redis")

    async def restarts() -> int:
        return int(await asyncio.to_thread(docker, "inspect", "--format", "{{.RestartCount}}", container))

    async def came_back() -> bool:
        return await restarts() > before

    before = await restarts()
    # As its own user: without capabilities not even root may end another's process.
    await asyncio.to_thread(installation.compose, "exec", "--detach", "redis", "sh", "-c", "kill -9 -1")
    await eventually(came_back, 30)
    await asyncio.to_thread(installation.wait_until_ready, 60)
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, [{"content": "Back again."}])
        run = await api.runs.run(agent, "hello", timeout=60)
    assert run.output == "Back again."
