"""Runs of a real platform, and the traces that a receiver has of them."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conformance.observability.comparing import Happened, check_counted, check_whole
from tests.conformance.observability.receiver import ReceiverOfTraces
from tests.fixtures.embedded import EmbeddedPlatform
from tests.fixtures.platform import NO_TLS, call, eventually

pytestmark = [pytest.mark.timeout(120)]
FAST = {
    "TRACES_LOOK_SECONDS": "0.2",
    "TRACES_PAUSE_SECONDS": "0.5",
    "TRACES_TIMEOUT_SECONDS": "2",
    "TRACES_RETRY_SECONDS": "1",
}


def langfuse(url: str) -> dict[str, str]:
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-default", "LANGFUSE_SECRET_KEY": "sk-lf-default"}
    return {"LANGFUSE_HOST": url, **keys, **FAST}


class Patient(httpx.AsyncHTTPTransport):
    """Asks again after a 503, as its Retry-After says: the database restarts."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(20):
            answer = await super().handle_async_request(request)
            if answer.status_code != 503:
                return answer
            await answer.aclose()
            await asyncio.sleep(float(answer.headers["Retry-After"]))
        return answer


def api_of(platform: EmbeddedPlatform) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {platform.token()}"}
    return httpx.AsyncClient(base_url=platform.api_url, headers=headers, transport=Patient(verify=NO_TLS), timeout=30)


async def complete(receiver: ReceiverOfTraces, run: str, seconds: float = 20) -> None:
    async def look() -> bool | None:
        return receiver.complete(run) or None

    await eventually(look, seconds)


async def test_a_run_is_one_trace(platform: EmbeddedPlatform, receiving: tuple[ReceiverOfTraces, str]) -> None:
    receiver, url = receiving
    item = f"t-{uuid4().hex[:8]}"
    tools = [platform.tool("look", "read"), platform.tool("order", "write")]
    turns: list[dict[str, Any]] = [
        {"content": "I look.", "tool_calls": [call("look", item=item), call("order", item=item)]},
        {"content": "I look again.", "tool_calls": [call("look", wrong=1)]},
        {"content": "Done.", "hold_after_chunks": 1},
    ]
    async with platform.client() as api, platform.model() as model, api_of(platform) as http:
        with platform.workers(2, **langfuse(url)):
            agent = await platform.agent(
                api, model, turns, tools=tools, instructions="Be brief.", parameters={"temperature": 0.5}
            )
            run = await api.runs.start(agent, "hello", labels={"team": "blue"})
            await model.requests(agent, state="held", wait=20)
            await eventually(lambda: _early(receiver, run.id))
            await model.release(agent)
            await api.runs.wait(run.id, timeout=20)
            await complete(receiver, run.id)
        happened = await Happened.read(http, run.id)
        requests = await model.requests(agent)
    check_counted(receiver, [happened], requests)
    check_whole(receiver, happened, {"tenant:chaos", f"agent:{agent}", "version:1", "team:blue"})
    generations = [s[-1] for s in receiver.trace(run.id).values() if s[-1].kind == "generation"]
    assert {s.attributes["langfuse.observation.model.parameters"] for s in generations} == {'{"temperature":0.5}'}


async def _early(receiver: ReceiverOfTraces, run: str) -> bool | None:
    """The root came before the run has ended, and what has ended with it."""
    trace = receiver.trace(run)
    return (len(trace) == 6 and not receiver.complete(run)) or None
