"""Cancel, pause and resume at every moment of a run's life: soon, and without a worker held."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any
from uuid import UUID, uuid4

import pytest
from agent_runtime import AsyncClient
from temporalio.client import WorkflowExecutionStatus

from libs.domain.ids import workflow_id
from tests.fixtures.platform import TENANT, Platform, call

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("platform")]


async def ended(api: AsyncClient, run_id: str, seconds: float) -> float:
    """How long it took until the run had ended."""
    began = time.monotonic()
    run = await api.runs.wait(run_id, timeout=seconds + 20)
    assert run.finished
    return time.monotonic() - began


@pytest.mark.parametrize(("redis", "seconds"), [("there", 8.0), ("stopped", 15.0)])
async def test_cancel_ends_a_model_call(platform: Platform, redis: str, seconds: float) -> None:
    """Rules 9, 16: a cancel ends a call in progress soon, also without Redis; what it used is recorded as estimated."""
    with platform.workers(2):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(
                api, model, [{"content": "A long answer. " * 40, "chunks": 4, "hold_after_chunks": 3}]
            )
            run = await api.runs.start(agent, "hello")
            await model.requests(agent, state="held", wait=10)
            with platform.without("redis") if redis == "stopped" else nullcontext():
                await api.runs.cancel(run.id, reason="enough")
                took = await ended(api, run.id, seconds)
            [request] = await model.requests(agent, state="aborted", wait=5)
            record = await records.run(run.id)
    assert took < seconds
    record.check("cancelled")
    assert record.types[-3:] == ["run.cancelling", "model.failed", "run.cancelled"]
    assert record.of("model.failed")[0]["code"] == "stopped"
    assert record.ledger[0]["state"] == "estimated"
    assert record.ledger[0]["output_tokens"] >= 50  # what had arrived
    assert record.row["estimated"]
    assert request["chunks_sent"] == 3


@pytest.mark.parametrize(("effect", "slice_seconds"), [("look", "0"), ("put", "0"), ("order", "0"), ("order", "60")])
async def test_cancel_ends_a_tool_call(platform: Platform, effect: str, slice_seconds: str) -> None:
    """Rules 2, 12, 13: the call in progress is given up, the run is cancelled, and nothing is sent again."""
    item = f"c-{uuid4().hex[:8]}"
    platform.tools.slow(f"/{effect}/{item}", 6.0)
    tools = [platform.tool("look", "read"), platform.tool("put", "idempotent"), platform.tool("order", "write")]
    with platform.workers(1, WORKER_SLICE_SECONDS=slice_seconds):  # with 0 each call is an activity of its own
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(
                api, model, [{"tool_calls": [call(effect, item=item)]}, {"content": "Never."}], tools=tools
            )
            run = await api.runs.start(agent, "hello")
            await records.until(run.id, lambda seen: seen.of("tool.started"))
            await api.runs.cancel(run.id)
            took = await ended(api, run.id, 5.5)
            record = await records.run(run.id)
            assert len(await model.requests(agent)) == 1
    record.check("cancelled")
    assert took < 5.5  # the call itself takes 6
    assert record.of("tool.failed")[-1]["code"] == "stopped"
    assert not record.of("tool.completed")
    assert platform.tools.count(f"/{effect}/{item}") <= 1


async def test_a_paused_run_holds_no_worker(platform: Platform) -> None:
    """Rules 2, 13: `paused` once the step is over, no activity is pending then, and resuming goes on from the log."""
    turns: list[dict[str, Any]] = [
        {"content": "I look.", "first_delay_ms": 800, "tool_calls": [call("look", item="pause")]},
        {"content": "Done."},
    ]
    with platform.workers(1):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, turns, tools=[platform.tool("look", "read")])
            run = await api.runs.start(agent, "hello")
            await model.requests(agent, wait=10)
            assert (await api.runs.pause(run.id)).status == "pausing"
            record = await records.until(run.id, lambda seen: seen.row["status"] == "paused")
            assert record.types[-1] == "run.paused"
            assert await pending_activities(platform, run.id) == 0
            assert (await api.runs.pause(run.id)).status == "paused"
            await api.runs.resume(run.id)
            assert await ended(api, run.id, 5) < 5
            record = await records.run(run.id)
            assert len(await model.requests(agent)) == 2
    record.check()
    assert [kind for kind in record.types if "paus" in kind or "resum" in kind] == [
        "run.pausing", "run.paused", "run.resuming", "run.resumed",
    ]  # fmt: skip


async def test_a_paused_run_can_be_cancelled(platform: Platform) -> None:
    """Rules 2, 13: what is asked of a parked run wakes it."""
    with platform.workers(1):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, [{"content": "Done.", "first_delay_ms": 500}] * 2)
            run = await api.runs.start(agent, "hello")
            await model.requests(agent, wait=10)
            await api.runs.pause(run.id)
            record = await records.until(run.id, lambda seen: seen.row["status"] in ("paused", "completed"))
            if record.row["status"] == "paused":
                await api.runs.cancel(run.id)
            assert await ended(api, run.id, 3) < 3
            record = await records.run(run.id)
    record.check("cancelled")


async def pending_activities(platform: Platform, run_id: str) -> int:
    client = await platform.temporal()
    handle = client.get_workflow_handle(workflow_id(UUID(platform.tenants[TENANT]), UUID(run_id)))
    described = await handle.describe()
    assert described.status is WorkflowExecutionStatus.RUNNING
    return len(described.raw_description.pending_activities)


async def test_a_queued_run_is_cancelled_without_any_worker(platform: Platform) -> None:
    """Rule 16: a run that was never started is ended by the API itself, at once."""
    with platform.workers(0):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, [{"content": "Never."}])
            run = await api.runs.start(agent, "hello")
            cancelled = await api.runs.cancel(run.id)
            record = await records.run(run.id)
    assert cancelled.status == "cancelled"
    record.check("cancelled")
    assert record.types == ["run.queued", "run.cancelling", "run.cancelled"]
    with platform.workers(1):  # whatever Temporal still holds of it finds the end and goes
        async with platform.records() as records:
            assert (await records.run(run.id)).events == record.events


@pytest.mark.parametrize("action", ["cancel", "pause"])
async def test_control_is_heard_during_a_backoff(platform: Platform, action: str) -> None:
    """Rules 11, 13: a run that waits a minute for its provider holds no slot, and obeys at once."""
    limited = {"content": "Done.", "fault": {"kind": "status", "status": 429, "retry_after": 60, "times": 1}}
    with platform.workers(1):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, [limited])
            run = await api.runs.start(agent, "hello")
            await records.until(run.id, lambda seen: seen.of("model.failed"))
            began = time.monotonic()
            if action == "cancel":
                await api.runs.cancel(run.id)
                await api.runs.wait(run.id, timeout=20)
            else:
                await api.runs.pause(run.id)
                await records.until(run.id, lambda seen: seen.row["status"] == "paused")
                await api.runs.cancel(run.id)
                await api.runs.wait(run.id, timeout=20)
            took = time.monotonic() - began
            record = await records.run(run.id)
    record.check("cancelled")
    assert record.of("model.failed")[0]["retry_at"]
    assert took < 20  # of the 60 that the provider asked for
