"""Runs wait as rows, get their turn soon after another one ended, and no tenant holds up another."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest

from tests.end_to_end.test_suspension import house
from tests.fixtures.platform import Platform, call

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("platform")]


async def test_runs_get_their_turn_when_others_end(platform: Platform) -> None:
    """Rules 14, 22: never more than two at once, by priority and then age, and no workflow before its turn."""
    async with house(platform) as home:
        plan = f"p-{uuid4().hex[:10]}"
        await home.admin.plans.put(plan, running_runs=2)
        await home.admin.tenants.update(home.slug, plan=plan)
        agent = await platform.agent(home.api, home.model, [{"content": "Done.", "first_delay_ms": 150}] * 8)
        with platform.workers(0):
            runs = [(await home.api.runs.start(agent, "x", priority=3 if n < 6 else 1)).id for n in range(8)]
        with platform.workers(2):
            began = time.monotonic()
            most = 0
            while time.monotonic() - began < 40:
                counted = await home.records.rows(
                    "SELECT count(*) FILTER (WHERE admitted_at IS NOT NULL AND finished_at IS NULL) AS held, "
                    "count(*) FILTER (WHERE finished_at IS NULL) AS live FROM runs"
                )
                most = max(most, counted[0]["held"])
                if counted[0]["live"] == 0:
                    break
                await asyncio.sleep(0.02)
            assert most == 2
            for run in runs:
                await home.completed(run)
        rows = await home.records.rows("SELECT id, admitted_at, finished_at FROM runs")
        admitted = {str(row["id"]): row["admitted_at"] for row in rows}
        order = sorted(runs, key=lambda run: admitted[run])
        assert set(order[:2]) == set(runs[:2])
        assert set(order[2:4]) == set(runs[6:])
        assert order[4:] == runs[2:6]


async def test_a_waiting_run_ends_at_its_deadline(platform: Platform) -> None:
    """The time that a run may take counts from the moment that it was accepted."""
    async with house(platform) as home:
        plan = f"p-{uuid4().hex[:10]}"
        await home.admin.plans.put(plan, running_runs=1)
        await home.admin.tenants.update(home.slug, plan=plan)
        agent = await platform.agent(home.api, home.model, [{"content": "Done.", "first_delay_ms": 20_000}])
        with platform.workers(1):
            holder = await home.api.runs.start(agent, "x")
            late = await home.api.runs.start(agent, "x", limits={"seconds": 1})
            record = await home.records.until(late.id, lambda seen: seen.row["finished_at"], 20)
            assert record.row["error_code"] == "deadline_exceeded"
            assert record.types == ["run.queued", "run.failed"]
            await home.api.runs.cancel(holder.id)
            await home.api.runs.wait(holder.id, timeout=20)


async def test_a_flood_of_one_tenant_starves_no_other(platform: Platform) -> None:
    """Temporal gives out activities by tenant: with two steps at once, a run overtakes another tenant's backlog."""
    async with house(platform) as loud, house(platform) as quiet:
        noise = await platform.agent(loud.api, loud.model, [{"content": "Noise.", "first_delay_ms": 60}] * 40)
        word = await platform.agent(quiet.api, quiet.model, [{"content": "Word.", "first_delay_ms": 60}] * 3)
        with platform.workers(0):
            flood = [(await loud.api.runs.start(noise, "x")).id for _ in range(40)]
            await asyncio.sleep(1.0)  # all of it is in Temporal's queue
            runs = [(await quiet.api.runs.start(word, "x")).id for _ in range(3)]
            await asyncio.sleep(0.5)
        with platform.workers(1, WORKER_MAX_CONCURRENT_STEPS="2"):
            for run in runs:
                await quiet.completed(run)
            ended = await loud.records.rows("SELECT count(*) AS n FROM runs WHERE finished_at IS NOT NULL")
            assert ended[0]["n"] < 20  # in the order of arrival it would be all forty
            for run in flood:
                await loud.completed(run)


async def test_a_run_keeps_no_more_than_the_plan_allows(platform: Platform) -> None:
    """The model is told, and may go on without the file."""
    async with house(platform) as home:
        plan = f"p-{uuid4().hex[:10]}"
        await home.admin.plans.put(plan, artifact_bytes=10)
        await home.admin.tenants.update(home.slug, plan=plan)
        writes = [{"tool_calls": [call("write_artifact", name=name, content="123456")]} for name in ("a.txt", "b.txt")]
        agent = await platform.agent(
            home.api, home.model, [*writes, {"content": "Done."}], tools=[{"type": "artifacts"}]
        )
        with platform.workers(1):
            run = await home.api.runs.start(agent, "x")
            record = await home.completed(run.id)
        assert [data.get("code") for data in record.of("tool.completed")] == [None, "quota_exceeded"]
        assert [row["name"] for row in record.artifacts] == ["a.txt"]
        assert await home.records.rows("SELECT artifact_bytes FROM storage") == [{"artifact_bytes": 6}]


async def test_a_turn_that_nobody_gave_is_given_by_the_next_worker(platform: Platform) -> None:
    """Rule 14: a run ended, and whoever wrote its end died before it looked who is next."""
    async with house(platform) as home:
        plan = f"p-{uuid4().hex[:10]}"
        await home.admin.plans.put(plan, running_runs=1)
        await home.admin.tenants.update(home.slug, plan=plan)
        agent = await platform.agent(home.api, home.model, [{"content": "Done."}] * 2)
        with platform.workers(0):
            holder, waiting = [(await home.api.runs.start(agent, "x")).id for _ in range(2)]
            assert (await home.api.runs.cancel(holder)).status == "cancelled"  # by the API, which admits nobody
            assert (await home.api.runs.get(waiting)).waiting_for == "quota"
            # Parked by the API, without a workflow.
            paused = [(await home.api.runs.start(agent, "x")).id for _ in range(2)]
            for run in paused:
                assert (await home.api.runs.pause(run)).status == "paused"
            await home.api.runs.resume(paused[0])
        with platform.workers(1):
            await home.completed(waiting)
            record = await home.completed(paused[0])
            assert [kind for kind in record.types if "paus" in kind or "resum" in kind] == [
                "run.pausing", "run.paused", "run.resuming", "run.resumed",
            ]  # fmt: skip
        assert (await home.api.runs.cancel(paused[1])).status == "cancelled"
