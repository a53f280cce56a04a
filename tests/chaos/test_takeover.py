"""Workers that are lost, frozen, poisoned or told to stop: another one goes on, and nothing is paid or done twice."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.chaos import crashing_worker
from tests.fixtures.embedded import EmbeddedPlatform, WorkerProcess
from tests.fixtures.platform import call, eventually
from tests.fixtures.records import Record, Records

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150), pytest.mark.xdist_group("chaos")]


async def holder(records: Records, run_id: str, workers: list[WorkerProcess], turn: int = 1) -> WorkerProcess:
    """The worker that made the first call of a turn."""
    record = await records.until(run_id, lambda seen: seen.of("model.started", turn=turn))
    name = record.of("model.started", turn=turn)[0]["worker"].partition("/")[0]
    return next(worker for worker in workers if worker.name == name)


@contextmanager
def split_workers(platform: EmbeddedPlatform) -> Iterator[list[WorkerProcess]]:
    """Two that take steps only, beside one that conducts: a frozen one holds no workflow task for ten seconds."""
    with (
        platform.workers(1, crashing_worker.MODULE, ROLE="conductor"),
        platform.workers(2, crashing_worker.MODULE, ROLE="steps") as workers,
    ):
        yield workers


async def test_a_frozen_worker_comes_back_too_late(platform: EmbeddedPlatform) -> None:
    """Rules 3, 9: the zombie commits nothing; its paid answer is settled in its own row of the ledger."""
    held = {"content": "The answer.", "hold_after_chunks": 1, "hold_times": 1, "usage": {"input_tokens": 70}}
    with split_workers(platform) as workers:
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, [held])
            run = await api.runs.start(agent, "hello")
            zombie = await holder(records, run.id, workers)
            await model.requests(agent, state="held", wait=10)
            zombie.signal(signal.SIGSTOP)
            ended = await api.runs.wait(run.id, timeout=30)
            before = await records.run(run.id)
            assert await model.release(agent) == 1
            zombie.signal(signal.SIGCONT)
            after = await records.until(run.id, lambda seen: seen.ledger[0]["state"] == "settled")
    assert ended.output == "The answer."
    before.check()
    after.check()
    assert after.events == before.events
    assert [(row["attempt"], row["state"]) for row in before.ledger] == [(1, "estimated"), (2, "settled")]
    assert [row["input_tokens"] for row in after.ledger] == [70, 70]
    assert after.of("model.failed")[0]["code"] == "worker_lost"
    assert len(after.workers) == 2


async def test_a_frozen_worker_comes_back_first(platform: EmbeddedPlatform) -> None:
    """Rules 3, 9: its answer stands, the attempt that replaced it commits nothing and is settled all the same."""
    held = {"content": "The answer.", "hold_after_chunks": 1, "hold_times": 2, "usage": {"input_tokens": 70}}
    last = {"content": "The end.", "usage": {"input_tokens": 90}}
    tools = [platform.tool("order", "write")]
    with split_workers(platform) as workers:
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            item = f"z-{uuid4().hex[:8]}"
            agent = await platform.agent(
                api, model, [{**held, "tool_calls": [call("order", item=item)]}, last], tools=tools
            )
            run = await api.runs.start(agent, "hello")
            zombie = await holder(records, run.id, workers)
            [first] = await model.requests(agent, state="held", wait=10)
            zombie.signal(signal.SIGSTOP)
            assert len(await model.requests(agent, state="held", count=2, wait=20)) == 2
            await model.release(request=first["id"])
            zombie.signal(signal.SIGCONT)
            record = await records.until(run.id, lambda seen: seen.of("model.completed"))
            assert record.of("model.completed")[0]["attempt"] == 1
            await model.release(agent)
            await api.runs.wait(run.id, timeout=30)
            record = await records.until(run.id, lambda seen: all(row["state"] == "settled" for row in seen.ledger))
    record.check_effects()
    record.check_sums()
    assert [row["input_tokens"] for row in record.ledger] == [70, 70, 90]
    assert platform.tools.count(f"/order/{item}") == 1


async def test_a_run_that_kills_every_worker_ends_alone(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """Rule 11: it ends `failed: worker_lost` in a process of its own; the neighbours of its victims all complete."""
    item = f"poison-{uuid4().hex[:8]}"
    (tmp_path / f"{item}.json").write_text(json.dumps({"how": "SIGKILL", "where": "sending look", "times": 99}))
    tools = [platform.tool("look", "read"), platform.tool("order", "write")]
    settings = {"CRASH_PLANS": str(tmp_path)}
    async with platform.client() as api, platform.model() as model, platform.records() as records:
        poison = await platform.agent(api, model, [{"tool_calls": [call("look", item=item)]}, {}], tools=tools)
        turns: list[dict[str, Any]] = [
            {"content": "I order.", "first_delay_ms": 900, "tool_calls": [call("order", item="of-" + poison)]},
            {"content": "Done.", "first_delay_ms": 900},
        ]
        neighbour = await platform.agent(api, model, turns, tools=tools)
        with platform.workers(2, crashing_worker.MODULE, **settings) as workers:
            async with supervised(platform, workers, **settings):
                killer = await api.runs.start(poison, "hello")
                runs = [await api.runs.start(neighbour, f"neighbour {number}") for number in range(20)]
                ended = await asyncio.gather(*(api.runs.wait(run.id, timeout=80) for run in (killer, *runs)))
        found = [await records.run(run.id) for run in ended]
    assert (ended[0].status, ended[0].error and ended[0].error.code) == ("failed", "worker_lost")
    found[0].check("failed")
    for record in found[1:]:
        record.check("completed")
        assert len(record.of("tool.completed")) == 1
    # The turn is lost once, the call that it left is lost twice more; then a process serves it alone and dies of it.
    assert len(list_of(tmp_path)) == 4
    assert platform.tools.count(f"/order/of-{poison}") <= 20


def list_of(plans: Path) -> list[Path]:
    return list(plans.glob("*.struck.*"))


@asynccontextmanager
async def supervised(platform: EmbeddedPlatform, workers: list[WorkerProcess], **settings: str) -> AsyncIterator[None]:
    """Start a dead worker again after half a second, as a supervisor would."""

    async def tend() -> None:
        while True:
            await asyncio.sleep(0.5)
            for position, worker in enumerate(workers):
                if not worker.alive:
                    workers[position] = platform.start_worker(worker.name, crashing_worker.MODULE, **settings)

    task = asyncio.create_task(tend())
    try:
        yield
    finally:
        task.cancel()


async def test_a_worker_that_is_told_to_stop_hands_its_runs_back(platform: EmbeddedPlatform) -> None:
    """Rule 15: another worker goes on within a second; a model call is aborted after five; a `write` may finish."""
    tools = [platform.tool("look", "read"), platform.tool("put", "idempotent"), platform.tool("order", "write")]
    async with platform.client() as api, platform.model() as model, platform.records() as records:
        item = f"s-{uuid4().hex[:8]}"
        for kind in ("put", "order"):
            platform.tools.slow(f"/{kind}/{item}", 2.5)
        quick = {"content": "Again.", "first_delay_ms": 100, "tool_calls": [call("look", item=item)]}
        scripts: dict[str, list[dict[str, Any]]] = {
            "busy": [*[quick] * 30, {"content": "Done."}],
            "held": [{"content": "Done.", "hold_after_chunks": 1, "hold_times": 1}],
            "put": [{"tool_calls": [call("put", item=item)]}, {"content": "Done."}],
            "order": [{"tool_calls": [call("order", item=item)]}, {"content": "Done."}],
        }
        agents = {name: await platform.agent(api, model, turns, tools=tools) for name, turns in scripts.items()}
        with platform.workers(1, WORKER_SLICE_SECONDS="1") as [leaving]:
            runs = {name: await api.runs.start(agent, "hello") for name, agent in agents.items()}
            runs |= {f"put {number}": await api.runs.start(agents["put"], "hello") for number in range(6)}
            await model.requests(agents["held"], state="held", wait=10)
            await eventually(lambda: _true(platform.tools.count(f"/put/{item}")))
            with platform.workers(1, WORKER_SLICE_SECONDS="60"):
                await asyncio.sleep(1.0)
                told = time.time()
                leaving.signal(signal.SIGTERM)
                for run in runs.values():
                    await api.runs.wait(run.id, timeout=30)
                await eventually(lambda: _true(not leaving.alive))
        found = {name: await records.run(run.id) for name, run in runs.items()}
    for record in found.values():
        record.check()
        assert len(record.workers) == 2
    assert pause_at(found["busy"], told) < timedelta(seconds=3)  # less than half a second on an idle machine
    [aborted] = found["held"].of("model.failed")
    assert aborted["code"] == "handed_back"
    assert 4.5 < ended_at(found["held"], "model.failed") - told < 6.5
    assert pause_after(found["held"], "model.failed") < timedelta(seconds=1)
    for record in (found[name] for name in found if name.startswith("put")):
        assert record.of("tool.failed")[-1]["code"] == "handed_back"
        assert pause_after(record, "tool.failed") < timedelta(seconds=3)
    assert not found["order"].of("tool.failed")
    assert len(platform.tools.keys(f"/put/{item}")) == 7
    assert platform.tools.count(f"/order/{item}") == 1


async def _true(value: object) -> bool:
    return bool(value)


def pause_at(record: Record, moment: float) -> timedelta:
    """The longest time without an event around and after a moment."""
    times = [event["at"] for event in record.events]
    pauses: list[timedelta] = [after - before for before, after in pairwise(times) if after.timestamp() > moment]
    return max(pauses)


def pause_after(record: Record, kind: str) -> timedelta:
    """The time between the last event of a kind and the next one."""
    last = max(index for index, event in enumerate(record.events) if event["type"] == kind)
    pause: timedelta = record.events[last + 1]["at"] - record.events[last]["at"]
    return pause


def ended_at(record: Record, kind: str) -> float:
    return float(next(event["at"].timestamp() for event in record.events if event["type"] == kind))


async def test_a_lost_worker_is_noticed_at_the_default_timeouts(platform: EmbeddedPlatform) -> None:
    """Rule 9: with nothing set, a worker killed in a model call is noticed and replaced within fifteen seconds."""
    held = {"content": "Done.", "hold_after_chunks": 1, "hold_times": 1}
    defaults = {"WORKER_HEARTBEAT_TIMEOUT_SECONDS": "10", "WORKER_DEAD_AFTER_SECONDS": "8"}
    with platform.workers(2, **defaults) as workers:
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agent = await platform.agent(api, model, [held])
            run = await api.runs.start(agent, "hello")
            victim = await holder(records, run.id, workers)
            await model.requests(agent, state="held", wait=10)
            victim.kill()
            killed = time.monotonic()
            await api.runs.wait(run.id, timeout=40)
            took = time.monotonic() - killed
            record = await records.run(run.id)
    record.check()
    assert len(record.ledger) == 2
    assert took < 30
