"""A suspended tenant's runs park wherever they are, and go on where they were; what users asked of them stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from agent_runtime import AsyncClient

from deploy.demo.model_control import ModelControl
from tests.fixtures.platform import Platform, call
from tests.fixtures.records import Record, Records

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("platform")]


@dataclass
class House:
    """A tenant that may be suspended without disturbing other tests."""

    slug: str
    api: AsyncClient
    admin: AsyncClient
    model: ModelControl
    records: Records

    async def set(self, status: str) -> None:
        await self.admin.tenants.update(self.slug, status=status)

    async def parked(self, run_id: str) -> Record:
        return await self.records.until(run_id, lambda seen: seen.row["status"] == "paused", 30)

    async def completed(self, run_id: str) -> Record:
        record = await self.records.until(run_id, lambda seen: seen.row["finished_at"], 30)
        record.check()
        return record


@asynccontextmanager
async def house(platform: Platform) -> AsyncIterator[House]:
    slug = f"s-{uuid4().hex[:10]}"
    platform.make_tenant(slug)
    async with (
        platform.client(slug) as api,
        platform.client(slug, "admin") as admin,
        platform.model() as model,
        platform.records(slug) as records,
    ):
        yield House(slug, api, admin, model, records)


async def test_runs_park_wherever_they_are_and_go_on_there(platform: Platform) -> None:
    """Rule 16: in a model call, in a tool call, parked by a user; the pause is no one's wish but the platform's."""
    item = f"s-{uuid4().hex[:8]}"
    platform.tools.slow(f"/order/{item}", 2.0)
    tools = [platform.tool("order", "write")]
    turns: list[dict[str, Any]] = [{"tool_calls": [call("order", item=item)]}, {"content": "Done."}]
    asked = [{"content": "I think.", "first_delay_ms": 1500}]
    with platform.workers(1, WORKER_SLICE_SECONDS="0"):
        async with house(platform) as home:
            thinking = await platform.agent(home.api, home.model, asked)
            ordering = await platform.agent(home.api, home.model, turns, tools=tools)
            slow = await platform.agent(home.api, home.model, [{"content": "Late.", "first_delay_ms": 800}])
            in_model = (await home.api.runs.start(thinking, "x")).id
            in_tool = (await home.api.runs.start(ordering, "x")).id
            of_user = (await home.api.runs.start(slow, "x")).id
            await home.api.runs.pause(of_user)
            await home.model.requests(thinking, wait=10)
            await home.records.until(in_tool, lambda seen: seen.of("tool.started"))
            await home.set("suspended")
            for run in (in_model, in_tool, of_user):
                record = await home.parked(run)
                assert record.row["admitted_at"] is None
            assert (await home.records.run(in_model)).row["desired"] == "run"
            await asyncio.sleep(1.0)
            assert (await home.records.run(in_model)).row["status"] == "paused"
            await home.set("active")
            for run in (in_model, in_tool):
                record = await home.completed(run)
                assert record.types.count("run.paused") == record.types.count("run.resumed") == 1
            assert platform.tools.count(f"/order/{item}") == 1
            assert (await home.records.run(of_user)).row["status"] == "paused"
            assert (await home.records.run(of_user)).row["desired"] == "paused"
            await home.api.runs.resume(of_user)
            await home.completed(of_user)
            assert len(await home.model.requests(thinking)) == 1


async def test_a_run_that_did_not_start_does_not_start_while_suspended(platform: Platform) -> None:
    async with house(platform) as home:
        agent = await platform.agent(home.api, home.model, [{"content": "Done."}])
        with platform.workers(0):
            run = (await home.api.runs.start(agent, "x")).id
            await home.set("suspended")
        with platform.workers(1):
            await home.parked(run)
            assert await home.model.requests(agent) == []
            await home.set("active")
            record = await home.completed(run)
    assert len(record.of("run.started")) == 1


async def test_what_a_crash_left_of_a_suspension_is_finished(platform: Platform) -> None:
    """Rule 16: the API died after it wrote the tenant's status, before it told a run; later the same on resuming."""
    with platform.workers(2):
        async with house(platform) as home:
            agent = await platform.agent(home.api, home.model, [{"content": "Done.", "first_delay_ms": 1500}] * 3)
            runs = [(await home.api.runs.start(agent, "x")).id for _ in range(3)]
            await home.model.requests(agent, wait=10)
            await home.records.rows("UPDATE tenants SET status = 'suspended'")
            for run in runs:
                await home.parked(run)
            await home.records.rows("UPDATE tenants SET status = 'active'")
            for run in runs:
                await home.completed(run)


async def test_suspended_and_back_at_once(platform: Platform) -> None:
    """Rules 2, 16: whatever of it a run noticed, it goes on."""
    with platform.workers(2):
        async with house(platform) as home:
            agent = await platform.agent(home.api, home.model, [{"content": "Done.", "first_delay_ms": 300}] * 6)
            runs = [(await home.api.runs.start(agent, "x")).id for _ in range(6)]
            for _ in range(3):
                await home.set("suspended")
                await home.set("active")
            for run in runs:
                await home.completed(run)
            assert len(await home.model.requests(agent)) == 6
