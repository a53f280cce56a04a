"""Nothing depends on where a slice ends: the same runs with slices of 0 s and of 60 s leave the same log."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from agent_runtime import AsyncClient, Run

from deploy.demo.model_control import ModelControl
from tests.chaos import crashing_worker
from tests.fakes import Plan
from tests.fixtures.platform import Platform, call
from tests.fixtures.records import Record

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("platform")]

SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
GOOD = {"content": '{"ok": true}'}
# What differs between any two runs, or says only who did it and how long it took.
INCIDENTAL = {
    "worker",
    "duration_ms",
    "effect_id",
    "id",
    "object_key",
    "retry_at",
    "input_seq",
    "reserved_tokens",
    "claim",
}


def scripts(item: str) -> dict[str, list[dict[str, Any]]]:
    """Runs of every kind, by name."""
    look, put, order = (call(name, item=item) for name in ("look", "put", "order"))
    write = call("write_artifact", name="a.txt", content="text")
    return {
        "answer": [GOOD],
        "reads": [{"tool_calls": [look]}] * 3 + [GOOD],
        "parallel": [{"tool_calls": [look, put, order, look, put]}, GOOD],
        "writes": [{"tool_calls": [order]}, {"tool_calls": [order]}, GOOD],
        "artifacts": [{"tool_calls": [write]}, {"tool_calls": [call("read_artifact", name="a.txt")]}, GOOD],
        "refused": [{"tool_calls": [call("nothing"), look]}, GOOD],
        "outcome unknown": [{"tool_calls": [call("ship", item=f"broken-{item}"), order]}],
        "tool fails": [{"tool_calls": [call("look", item=f"broken-{item}")]}, GOOD],
        "provider fails": [
            {"tool_calls": [look]},
            {**GOOD, "fault": {"kind": "status", "status": 500, "times": 1}},
        ],
        "wrong form": [{"content": "no"}, GOOD],
        "key refused": [{"tool_calls": [look]}, {"fault": {"kind": "status", "status": 401}}],
        "steps": [{"tool_calls": [look]}] * 9,
    }


async def test_nothing_depends_on_where_a_slice_ends(platform: Platform) -> None:
    """Architecture 3: same ends, same events in the same order of turns, same requests at the model and the service."""
    item = f"sl-{uuid4().hex[:8]}"
    logs: dict[str, dict[str, Any]] = {}
    counts: dict[str, list[int]] = {}
    for seconds in ("00", "60"):
        platform.tools.fail(f"/look/broken-{item}-{seconds}", 500)
        platform.tools.fail(f"/ship/broken-{item}-{seconds}", 503)
        with platform.workers(2, WORKER_SLICE_SECONDS=seconds):
            logs[seconds], counts[seconds] = await run_all(platform, f"{item}-{seconds}")
    for name, log in logs["00"].items():
        assert log == logs["60"][name], name
    assert counts["00"] == counts["60"]


async def run_all(platform: Platform, item: str) -> tuple[dict[str, Any], list[int]]:
    tools = [platform.tool("look", "read"), platform.tool("put", "idempotent"), platform.tool("order", "write")]
    tools.append(platform.tool("ship", "write", on_unknown="fail"))
    async with platform.client() as api, platform.model() as model, platform.records() as records:
        ended = await asyncio.gather(
            *(run_one(platform, api, model, name, turns, tools) for name, turns in scripts(item).items())
        )
        logs: dict[str, Any] = {}
        for name, run, requests in ended:
            record = await records.run(run.id)
            record.check(run.status)
            logs[name] = [run.status, run.output, run.error and run.error.code, requests, normal(record, item)]
    return logs, [platform.tools.count(f"/{name}/{item}") for name in ("look", "put", "order")]


async def run_one(
    platform: Platform, api: AsyncClient, model: ModelControl, name: str, turns: list[dict[str, Any]], tools: list[Any]
) -> tuple[str, Run, int]:
    agent = await platform.agent(api, model, turns, tools=[*tools, {"type": "artifacts"}], output_schema=SCHEMA)
    run = await api.runs.run(agent, "hello", limits={"steps": 5}, timeout=80)
    return name, run, len(await model.requests(agent))


def normal(record: Record, item: str) -> list[list[str]]:
    """The log turn by turn: within one, calls that run side by side may be opened and end in any order."""
    turns: list[list[str]] = [[]]
    for event in record.events:
        if event["type"] == "model.started":
            turns.append([])
        data = {name: value for name, value in event["data"].items() if name not in INCIDENTAL | {"model", "agent"}}
        data.pop("tool_calls", None)
        turns[-1].append(f"{event['type']} {sorted(data.items(), key=str)}".replace(item, "ITEM"))
    return [sorted(turn) for turn in turns]


@pytest.mark.parametrize("asked", ["nothing", "pause", "cancel"])
async def test_a_call_that_was_opened_and_is_not_made_is_given_back(
    platform: Platform, tmp_path: Path, asked: str
) -> None:
    """Rules 4, 13: between its opening and its sending the slice ends, or a stop is asked: it is closed as not sent."""
    item = f"sm-{uuid4().hex[:8]}"
    names = ("look", "put", "order")
    tools = [platform.tool(*each) for each in zip(names, ("read", "idempotent", "write"), strict=True)]
    turns: list[dict[str, Any]] = [{"tool_calls": [call(name, item=item) for name in names]}, GOOD]
    settings = {"WORKER_SLICE_SECONDS": "2" if asked == "nothing" else "60", "CRASH_PLANS": str(tmp_path)}
    with platform.workers(1, crashing_worker.MODULE, **settings):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, turns, tools=tools)
            plan = {"how": "SLOW", "where": "after model.completed 1", "times": 1}
            (tmp_path / f"{agent}.json").write_text(json.dumps(plan))
            run = await api.runs.start(agent, "hello")
            await records.until(run.id, lambda seen: seen.of("tool.started"))
            if asked == "cancel":
                await api.runs.cancel(run.id)
            if asked == "pause":
                await api.runs.pause(run.id)
                await records.until(run.id, lambda seen: seen.row["status"] == "paused")
                assert platform.tools.count(f"/look/{item}") == 0
                await api.runs.resume(run.id)
            await api.runs.wait(run.id, timeout=20)
            record = await records.run(run.id)
    record.check("cancelled" if asked == "cancel" else "completed")
    assert [(data["code"], data["sent"]) for data in record.of("tool.failed")] == [("handed_back", False)] * 3
    expected = 0 if asked == "cancel" else 1
    assert [platform.tools.count(f"/{name}/{item}") for name in names] == [expected] * 3


async def test_a_write_that_outlives_the_slice_is_waited_for(platform: Platform) -> None:
    """Rule 10: it was sent, and is never repeated: nobody else could go on with it."""
    item = f"sw-{uuid4().hex[:8]}"
    platform.tools.slow(f"/order/{item}", 3.5)
    tools = [platform.tool("look", "read"), platform.tool("order", "write")]
    turns: list[dict[str, Any]] = [{"tool_calls": [call("order", item=item), call("look", item=item)]}, GOOD]
    # Long enough for a busy machine to send both calls within it.
    with platform.workers(1, WORKER_SLICE_SECONDS="2"):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, turns, tools=tools)
            run = await api.runs.run(agent, "hello", timeout=20)
            record = await records.run(run.id)
    record.check()
    assert not record.of("tool.failed")
    assert {data["claim"] for data in record.of("tool.started")} == {record.of("model.started")[0]["claim"]}
    assert [platform.tools.count(f"/{name}/{item}") for name in ("look", "order")] == [1, 1]


async def test_a_call_waits_as_long_as_it_was_told(platform: Platform) -> None:
    """A 429 with Retry-After is not asked again sooner, whoever makes the next attempt."""
    item = f"sr-{uuid4().hex[:8]}"
    platform.tools.plans[f"/order/{item}"] = Plan(status=429, headers=(("Retry-After", "2"),))
    turns: list[dict[str, Any]] = [{"tool_calls": [call("order", item=item)]}, GOOD]
    with platform.workers(1, WORKER_SLICE_SECONDS="60"):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, turns, tools=[platform.tool("order", "write")])
            run = await api.runs.start(agent, "hello")
            await records.until(run.id, lambda seen: seen.of("tool.failed", code="refused"))
            platform.tools.plans[f"/order/{item}"] = Plan()
            await api.runs.wait(run.id, timeout=20)
            record = await records.run(run.id)
    record.check()
    [refused] = (event for event in record.events if event["type"] == "tool.failed")
    _, again = (event["at"] for event in record.events if event["type"] == "tool.started")
    retry_at = datetime.fromisoformat(refused["data"]["retry_at"])
    assert retry_at - refused["at"] > timedelta(seconds=1)
    assert again >= retry_at
    assert platform.tools.count(f"/order/{item}") == 2


@pytest.mark.parametrize("answer", ["heard", "lost"])
@pytest.mark.parametrize("asked", ["pause", "cancel"])
async def test_a_model_call_that_was_opened_and_is_not_made_is_given_back(
    platform: Platform, tmp_path: Path, asked: str, answer: str
) -> None:
    """Rules 1, 4, 13: a stop between the commit that opens the next model call and its sending; nothing is paid for it.

    Where the answer of that commit is lost too, the log says whose call it is: the run does not wait for itself.
    """
    tools = [platform.tool("look", "read")]
    with platform.workers(1, crashing_worker.MODULE, WORKER_SLICE_SECONDS="60", CRASH_PLANS=str(tmp_path)):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, [{"tool_calls": [call("look", item="open")]}, GOOD], tools=tools)
            how, where = ("SLOW", "after") if answer == "heard" else ("LOST_LATE", "before")
            plan = {"how": how, "where": f"{where} model.started 2", "times": 1}
            (tmp_path / f"{agent}.json").write_text(json.dumps(plan))
            run = await api.runs.start(agent, "hello")
            await records.until(run.id, lambda seen: seen.of("model.started", turn=2))
            if asked == "cancel":
                await api.runs.cancel(run.id)
            else:
                await api.runs.pause(run.id)
                await records.until(run.id, lambda seen: seen.row["status"] == "paused")
                await api.runs.resume(run.id)
            await api.runs.wait(run.id, timeout=20)
            record = await records.run(run.id)
            requests = await model.requests(agent)
    record.check("cancelled" if asked == "cancel" else "completed")
    assert len(requests) == (1 if asked == "cancel" else 2)
    assert [(data["code"], data["sent"]) for data in record.of("model.failed")] == [("handed_back", False)]
    assert record.ledger[1]["state"] == "not_sent"
