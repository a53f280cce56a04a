"""Two apis and four workers on one database: nothing is done twice, limits are one, streams may be read anywhere."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import pytest
from agent_runtime import AsyncClient, Event
from agent_runtime.client import settings as client_settings

from libs.clients.temporal import Temporal
from libs.settings.temporal import TemporalSettings
from tests.fixtures.embedded import EmbeddedPlatform
from tests.fixtures.platform import NO_TLS, call, eventually
from tests.fixtures.records import Record

pytestmark = pytest.mark.timeout(150)
RUNS, PLACES, RATE = 24, 5, 20


def second_client(platform: EmbeddedPlatform, tenant: str) -> AsyncClient:
    url = platform.stack.add_api("api-2", environment=platform._environment)
    http = httpx.AsyncClient(**client_settings(url, 30), verify=NO_TLS)
    return AsyncClient(url, platform.token("operator", tenant), http=http)


async def test_two_apis_and_four_workers_are_one_platform(platform: EmbeddedPlatform) -> None:
    tenant = f"scaled-{uuid4().hex[:8]}"
    platform.make_tenant(tenant)
    async with platform.client(role="admin") as admin:
        plan = f"plan-{uuid4().hex[:8]}"
        await admin.plans.put(plan, running_runs=PLACES, requests_per_second=RATE)
        await admin.tenants.update(tenant, plan=plan)
    with platform.workers(4) as workers:
        async with platform.client(tenant) as one, second_client(platform, tenant) as two, platform.model() as model:
            tool = platform.tool("look", "read")
            turns: list[dict[str, Any]] = [
                {"tool_calls": [call("look", item="a")]},
                {"content": "Done.", "delay_ms": 20, "chunks": 5},
            ]
            agent = await platform.agent(one, model, turns, tools=[tool])
            started = [await (one, two)[number % 2].runs.start(agent, "hello") for number in range(RUNS)]
            followed = asyncio.create_task(events(two, started[0].id))  # what the other api accepted
            most = 0
            async with platform.records(tenant) as records:
                workers[0].kill()

                async def all_ended() -> bool:
                    nonlocal most
                    rows = await records.rows("SELECT status, admitted_at, finished_at FROM runs")
                    held = [row for row in rows if row["admitted_at"] and not row["finished_at"]]
                    most = max(most, len(held))
                    return sum(row["finished_at"] is not None for row in rows) == RUNS

                await eventually(all_ended, 90)
                found = [await records.run(run.id) for run in started]
            assert await followed == list(range(1, found[0].row["last_seq"] + 1))
            check(found)
            assert most <= PLACES
        await limit_is_shared(platform, tenant)
    platform.stack.stop_service("api-2")


def check(found: list[Record]) -> None:
    for record in found:
        record.check()
        assert Counter(record.types)["run.started"] == 1
    assert len({worker.partition("/")[0] for record in found for worker in record.workers}) >= 3


async def events(api: AsyncClient, run_id: str) -> list[int]:
    return [item.seq async for item in api.runs.follow(run_id) if isinstance(item, Event)]


async def limit_is_shared(platform: EmbeddedPlatform, tenant: str) -> None:
    """One allowance for both apis: whoever is asked, no more pass in a time than that allows."""
    urls = [platform.api_url, f"http://{platform.stack.services()['api-2']['address']}"]
    headers = {"Authorization": f"Bearer {platform.token('operator', tenant)}"}
    await asyncio.sleep(1.1)
    async with httpx.AsyncClient(headers=headers, verify=NO_TLS, timeout=30) as http:
        began = time.monotonic()
        answers = await asyncio.gather(*(http.get(f"{url}/v1/runs") for _ in range(150) for url in urls))
        seconds = time.monotonic() - began
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) <= RATE * (seconds + 2)
    for number in (0, 1):
        assert 429 in statuses[number::2], "one of the two limits nobody"


async def test_the_backlog_is_told_to_whoever_adds_workers(platform: EmbeddedPlatform) -> None:
    """deploy/ecs adds workers by this figure."""
    settings = TemporalSettings.model_validate(
        {name.lower(): value for name, value in platform.stack.environment().items() if name.startswith("TEMPORAL_")}
    )
    temporal = Temporal(settings)
    async with platform.client() as api, platform.model() as model:
        agent = await platform.agent(api, model, [{"content": "Done."}])
        runs = [await api.runs.start(agent, "hello") for _ in range(5)]

        async def waiting() -> bool:
            return await temporal.backlog() >= len(runs)

        await eventually(waiting, 30)
        with platform.workers(1, WORKER_BACKLOG_SECONDS="0.5") as (worker,):
            for run in runs:
                await api.runs.wait(run.id, timeout=40)

            async def told() -> bool:
                lines = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
                return any(isinstance(line.get("backlog"), int) for line in lines)

            await eventually(told, 20)

    async def nothing_waits() -> bool:
        return await temporal.backlog() == 0

    await eventually(nothing_waits, 30)  # Temporal counts anew every few seconds
