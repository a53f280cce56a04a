"""The platform as the benchmarks use it: over HTTP, as a client would."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx

from tests.bench.lab import PROVIDER, TENANT, Lab

TERMINAL = {"run.completed", "run.failed", "run.cancelled"}
ITEM = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}


class Ours:
    """One HTTP client with a token."""

    def __init__(self, lab: Lab, tenant: str = TENANT, url: str | None = None) -> None:
        self._lab = lab
        self._http = httpx.AsyncClient(
            base_url=url or lab.api_url,
            headers={"Authorization": f"Bearer {lab.token(tenant=tenant)}"},
            timeout=60,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=64),
        )

    async def agent(self, slug: str, effect: str | None = None) -> None:
        """An agent whose model is the script of the same name; with an `effect`, it has one tool of that kind."""
        spec: dict[str, Any] = {"model": f"{PROVIDER}/{slug}"}
        if effect:
            tool = {
                "type": "http",
                "name": "item",
                "description": "An item.",
                "effect": effect,
                "method": "GET" if effect == "read" else "POST",
                "url": self._lab.tool_url + "/item/{item}",
                "parameters": ITEM,
            }
            spec["tools"] = [tool]
        (await self._http.post("/v1/agents", json={"slug": slug, "spec": spec})).raise_for_status()

    async def post(self, agent: str) -> str:
        """Start a run, with an idempotency key; its id."""
        answer = await self._http.post(
            "/v1/runs", json={"agent": agent, "input": "hello"}, headers={"Idempotency-Key": uuid4().hex}
        )
        answer.raise_for_status()
        return str(answer.json()["id"])

    async def look(self, agent: str, token: str) -> None:
        """Read an agent with a token of its own."""
        answer = await self._http.get(f"/v1/agents/{agent}", headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()

    async def first_event(self, agent: str) -> tuple[float, float]:
        """Seconds from sending POST to its answer, and to the first event over SSE."""
        began = time.perf_counter()
        run = await self.post(agent)
        answered = time.perf_counter()
        async for _ in self.events(run):
            return answered - began, time.perf_counter() - began
        raise RuntimeError("the stream had no event")

    async def complete(self, agent: str) -> str:
        """A run from POST to `run.completed` over SSE; its id."""
        run = await self.post(agent)
        async for event in self.events(run):
            if event["type"] in TERMINAL:
                if event["type"] != "run.completed":
                    raise RuntimeError(f"{event['type']}: {event['data']}")
                return run
        raise RuntimeError("the stream ended before the run")

    async def events(self, run: str) -> AsyncIterator[dict[str, Any]]:
        """Durable events as they come."""
        headers = {"Accept": "text/event-stream"}
        async with self._http.stream("GET", f"/v1/runs/{run}/events", headers=headers) as response:
            response.raise_for_status()
            kind = ""
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: ") and kind != "delta":
                    yield json.loads(line[6:])

    async def close(self) -> None:
        await self._http.aclose()
