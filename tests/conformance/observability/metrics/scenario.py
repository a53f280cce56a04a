"""Real runs of every fate, so that every metric has something to tell."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
from agent_runtime import AsyncClient, Run

from deploy.demo.model_control import ModelControl
from tests.fixtures.embedded import EmbeddedPlatform
from tests.fixtures.platform import NO_TLS, call, eventually

GOOD: dict[str, Any] = {"content": '{"ok": true}'}
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
HELD: list[dict[str, Any]] = [{"content": "no", "hold_after_chunks": 1}, {**GOOD, "hold_after_chunks": 1}]
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def scripts(item: str) -> dict[str, list[dict[str, Any]]]:
    look, put, order = (call(name, item=item) for name in ("look", "put", "order"))
    write = call("write_artifact", name="a.txt", content="text")
    return {
        "answer": [GOOD],
        "tools": [{"tool_calls": [look, put, order]}, {"tool_calls": [write]}, GOOD],
        "tool fails": [{"tool_calls": [call("look", item=f"broken-{item}")]}, GOOD],
        "refused": [{"tool_calls": [call("nothing")]}, GOOD],
        "provider fails": [{**GOOD, "fault": {"kind": "status", "status": 500, "times": 1}}],
        "wrong form": [{"content": "no"}, GOOD],
        "key refused": [{"fault": {"kind": "status", "status": 401}}],
        "no usage": [{**GOOD, "fault": {"kind": "no_usage"}}],
    }


async def furnish(platform: EmbeddedPlatform) -> dict[str, str]:
    """An agent for each script, by its name."""
    item = f"o-{uuid4().hex[:8]}"
    platform.tools.fail(f"/look/broken-{item}", 404)
    tools = [platform.tool("look", "read"), platform.tool("put", "idempotent"), platform.tool("order", "write")]
    spec: dict[str, Any] = {"tools": [*tools, {"type": "artifacts"}], "output_schema": SCHEMA}
    async with platform.client() as api, platform.model() as model:
        return {
            name: await platform.agent(api, model, turns, **spec)
            for name, turns in {**scripts(item), "cancelled": HELD}.items()
        }


async def play(platform: EmbeddedPlatform, agents: dict[str, str], text: str) -> dict[str, Run]:
    """One run of each agent, to its end."""
    async with platform.client() as api, platform.model() as model:

        async def one(name: str, agent: str) -> Run:
            run = await api.runs.start(agent, text)
            if name == "cancelled":
                await _control(api, model, agent, run.id)
            return await api.runs.wait(run.id, timeout=60)

        ended = await asyncio.gather(*(one(*each) for each in agents.items()))
    return dict(zip(agents, ended, strict=True))


async def _control(api: AsyncClient, model: ModelControl, agent: str, run_id: str) -> None:
    """Paused while the model answers, resumed, and cancelled in the next turn."""

    async def paused() -> bool:
        return (await api.runs.get(run_id)).status == "paused"

    await model.requests(agent, state="held", wait=20)
    await api.runs.pause(run_id)
    await model.release(agent)
    await eventually(paused)
    await api.runs.resume(run_id)
    await model.requests(agent, state="held", wait=20)
    await api.runs.cancel(run_id)


async def start_traced(platform: EmbeddedPlatform, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    """A run with tools, asked for twice with one key by somebody who traces; its id and the tools' own item."""
    item = f"traced-{uuid4().hex[:8]}"
    tools = [platform.tool("look", "read"), platform.tool("order", "write")]
    turns = [{"tool_calls": [call("look", item=item)]}, {"tool_calls": [call("order", item=item)]}, GOOD]
    async with platform.client() as api, platform.model() as model:
        agent = await platform.agent(api, model, turns, tools=tools)
        sent = {
            "Authorization": f"Bearer {platform.token()}",
            "Idempotency-Key": item,
            "traceparent": PARENT,
            **headers,
        }
        async with httpx.AsyncClient(base_url=platform.api_url, headers=sent, verify=NO_TLS) as http:
            for _ in range(2):
                answer = await http.post("/v1/runs", json={"agent": agent, "input": "hello"})
                answer.raise_for_status()
        run = await api.runs.wait(answer.json()["id"], timeout=60)
    assert run.status == "completed"
    return str(run.id), {"look": f"/look/{item}", "order": f"/order/{item}"}


async def ask_without_store(platform: EmbeddedPlatform) -> int:
    """A large input while the object store is away: the status that says so."""
    platform.stack.stop_service("object-store", 0)
    try:
        headers = {"Authorization": f"Bearer {platform.token()}"}
        async with httpx.AsyncClient(base_url=platform.api_url, headers=headers, verify=NO_TLS, timeout=30) as http:
            async with platform.client() as api, platform.model() as model:
                agent = await platform.agent(api, model, [GOOD])
            return (await http.post("/v1/runs", json={"agent": agent, "input": "x" * 600_000})).status_code
    finally:
        platform.stack.start_service("object-store")
