"""The floor of the benchmarks: a Temporal worker without a platform, tuned like ours, making the same calls.

`python -m tests.bench.bare_worker`: one call, three rounds in one activity, seven activities, empty activities.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import openai
import redis.asyncio as redis
import uvloop
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.bench import bare_log

QUEUE = "bare"
LOGGED = "bare-logged"
TIMEOUT = timedelta(seconds=60)
HEARTBEAT = timedelta(seconds=10)
RETRIES = RetryPolicy(maximum_attempts=3)


class Activities:
    """One OpenAI client and one HTTP client for the life of the process, as anybody would have."""

    def __init__(self, model_url: str, tool_url: str, pool: asyncpg.Pool[Any], live: redis.Redis) -> None:
        self._pool, self._live = pool, live
        http: Any = httpx.AsyncClient(trust_env=False)
        self._models = openai.AsyncOpenAI(base_url=model_url, api_key="none", max_retries=0, http_client=http)
        self._tools = httpx.AsyncClient(base_url=tool_url, trust_env=False)

    @activity.defn
    async def bare_answer(self, model: str) -> str:
        message = await self._ask(model, [{"role": "user", "content": "hello"}])
        return str(message["content"])

    @activity.defn
    async def bare_logged(self, model: str, run: str) -> None:
        await bare_log.append(self._pool, run, 2, "model.started", "{}")
        message = await self._ask(model, [{"role": "user", "content": "hello"}])
        await bare_log.append(self._pool, run, 3, bare_log.END, json.dumps({"output": message["content"]}))
        await self._live.publish(f"bare:{run}", "3")

    @activity.defn
    async def bare_loop(self, model: str) -> str:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
        while True:
            answer = await self._ask(model, messages)
            messages.append(answer)
            if not answer.get("tool_calls"):
                return str(answer["content"])
            for call in answer["tool_calls"]:
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": await self._call()})

    @activity.defn
    async def bare_turn(self, model: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
        return await self._ask(model, messages)

    @activity.defn
    async def bare_tool(self, name: str) -> str:
        response = await self._tools.post("/item/a", json={})
        return response.text

    @activity.defn
    async def bare_nothing(self) -> None:
        return None

    async def _call(self) -> str:
        return (await self._tools.get("/item/a")).text

    async def _ask(self, model: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
        stream = await self._models.chat.completions.create(
            model=model,
            messages=[],
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"messages": messages},
        )
        content, calls = "", dict[int, dict[str, Any]]()
        async with stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    content += choice.delta.content or ""
                    for piece in choice.delta.tool_calls or ():
                        known = calls.setdefault(piece.index, _empty_call(piece.id or ""))
                        if piece.function is not None:
                            known["function"]["name"] += piece.function.name or ""
                            known["function"]["arguments"] += piece.function.arguments or ""
        message: dict[str, Any] = {"role": "assistant", "content": content}
        return message | ({"tool_calls": list(calls.values())} if calls else {})


def _empty_call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "", "arguments": ""}}


@workflow.defn(name="bare-answer")
class BareAnswer:
    @workflow.run
    async def run(self, model: str) -> str:
        return await workflow.execute_activity_method(
            Activities.bare_answer, model, start_to_close_timeout=TIMEOUT, heartbeat_timeout=HEARTBEAT
        )


@workflow.defn(name=LOGGED)
class BareLogged:
    @workflow.run
    async def run(self, model: str, run: str) -> None:
        await workflow.execute_activity_method(
            Activities.bare_logged, args=[model, run], start_to_close_timeout=TIMEOUT, heartbeat_timeout=HEARTBEAT
        )


@workflow.defn(name="bare-loop")
class BareLoop:
    @workflow.run
    async def run(self, model: str) -> str:
        return await workflow.execute_activity_method(
            Activities.bare_loop, model, start_to_close_timeout=TIMEOUT, heartbeat_timeout=HEARTBEAT
        )


@workflow.defn(name="bare-steps")
class BareSteps:
    @workflow.run
    async def run(self, model: str) -> str:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
        while True:
            answer = await workflow.execute_activity_method(
                Activities.bare_turn,
                args=[model, messages],
                start_to_close_timeout=TIMEOUT,
                heartbeat_timeout=HEARTBEAT,
                retry_policy=RETRIES,
            )
            messages.append(answer)
            if not answer.get("tool_calls"):
                return str(answer["content"])
            for call in answer["tool_calls"]:
                content = await workflow.execute_activity_method(
                    Activities.bare_tool,
                    call["function"]["name"],
                    start_to_close_timeout=TIMEOUT,
                    heartbeat_timeout=HEARTBEAT,
                    retry_policy=RETRIES,
                )
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})


@workflow.defn(name="bare-nothing")
class BareNothing:
    @workflow.run
    async def run(self, count: int) -> None:
        for _ in range(count):
            await workflow.execute_activity_method(
                Activities.bare_nothing,
                start_to_close_timeout=TIMEOUT,
                heartbeat_timeout=HEARTBEAT,
                retry_policy=RETRIES,
            )


async def main() -> None:
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"], namespace=os.environ["TEMPORAL_NAMESPACE"])
    pool = await asyncpg.create_pool(os.environ["BENCH_DATABASE_URL"], min_size=5, max_size=20)
    live = bare_log.open_redis()
    activities = Activities(os.environ["BENCH_MODEL_URL"], os.environ["BENCH_TOOL_URL"], pool, live)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[BareAnswer, BareLogged, BareLoop, BareSteps, BareNothing],
        activities=[
            activities.bare_answer,
            activities.bare_logged,
            activities.bare_loop,
            activities.bare_turn,
            activities.bare_tool,
            activities.bare_nothing,
        ],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await stopped.wait()


if __name__ == "__main__":
    gc.freeze()
    uvloop.run(main())
