"""Followers that lose their connection again and again get every durable event once, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from agent_runtime import AsyncClient, Delta, Event
from agent_runtime.client import settings as client_settings

from tests.fixtures.embedded import EmbeddedPlatform
from tests.fixtures.platform import NO_TLS, call

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150), pytest.mark.xdist_group("chaos")]

RUNS = 200
AT_ONCE = 25
SEED = 20261123


class Cut(httpx.AsyncByteStream):
    """A response that breaks after some bytes, often in the middle of an event."""

    def __init__(self, whole: httpx.AsyncByteStream, after: int) -> None:
        self._whole = whole
        self._left = after

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._whole:
            if len(chunk) > self._left:
                yield chunk[: self._left]
                raise httpx.ReadError("the test has cut the stream")
            self._left -= len(chunk)
            yield chunk

    async def aclose(self) -> None:
        await self._whole.aclose()


class UnreliableTransport(httpx.AsyncBaseTransport):
    """Cuts two of three event streams."""

    def __init__(self) -> None:
        self._wrapped = httpx.AsyncHTTPTransport(
            verify=NO_TLS, limits=httpx.Limits(max_connections=None, max_keepalive_connections=50)
        )
        self._random = random.Random(SEED)
        self.cuts = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._wrapped.handle_async_request(request)
        streams = "text/event-stream" in response.headers.get("content-type", "")
        if streams and self._random.random() < 2 / 3 and isinstance(response.stream, httpx.AsyncByteStream):
            self.cuts += 1
            response.stream = Cut(response.stream, self._random.randint(0, 2500))
        return response

    async def aclose(self) -> None:
        await self._wrapped.aclose()


async def test_two_hundred_followers_lose_their_connections(platform: EmbeddedPlatform) -> None:
    """Rule 25: whatever is cut, each durable event arrives once and in order, and deltas belong to their turn."""
    turns: list[dict[str, Any]] = [
        {"content": "I look around a little. ", "delay_ms": 10, "tool_calls": [call("look", item="stream")]},
        {"content": "That was all there is to see.", "delay_ms": 10},
    ]
    transport, slots = UnreliableTransport(), asyncio.Semaphore(AT_ONCE)
    http = httpx.AsyncClient(
        **{name: value for name, value in client_settings(platform.api_url, 30).items() if name != "limits"},
        transport=transport,
    )
    with platform.workers(2):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, turns, tools=[platform.tool("look", "read")])
            async with AsyncClient(platform.api_url, platform.token(), http=http) as follower:

                async def one(number: int) -> tuple[str, list[Event]]:
                    async with slots:
                        run = await follower.runs.start(agent, f"run {number}")
                        return run.id, await followed(follower, run.id)

                seen = await asyncio.gather(*(one(number) for number in range(RUNS)))
            assert transport.cuts > RUNS / 2
            for run_id, events in seen:
                record = await records.run(run_id)
                record.check()
                assert [(event.seq, event.type) for event in events] == [
                    (event["seq"], event["type"]) for event in record.events
                ]


async def followed(api: AsyncClient, run_id: str) -> list[Event]:
    events: list[Event] = []
    done = 0  # turns
    async for item in api.runs.follow(run_id):
        if isinstance(item, Delta):
            assert item.turn == done + 1
        else:
            events.append(item)
            done += item.type == "model.completed"
    return events
