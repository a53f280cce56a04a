"""Workers killed and stopped at every boundary of a step and in the middle of calls: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from agent_runtime import AsyncClient, Run, WaitExpired

from deploy.demo.model_control import ModelControl
from tests.chaos import crashing_worker
from tests.fixtures.embedded import EmbeddedPlatform, WorkerProcess
from tests.fixtures.platform import TENANT, call
from tests.fixtures.records import Record

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(330), pytest.mark.xdist_group("chaos")]

STEP_WORKERS = 10
# A read, an idempotent call and a write, each asked for by a turn of its own; the fourth turn is the answer.
COMMITS = [
    "run.started",  # with the opening of the first model call
    "model.completed 1",
    "tool.started 1",
    "tool.completed 1",
    "model.started 2",
    "model.completed 2",
    "tool.completed 2",
    "model.completed 3",
    "tool.started 3",
    "tool.completed 3",
    "model.started 4",
    "model.completed 4",
]
INSIDE = ["during model 1", "during model 4"] + [
    f"{how} {tool}" for how in ("sending", "waiting") for tool in ("look", "put", "order")
]
POINTS = [f"{when} {commit}" for commit in COMMITS for when in ("before", "after")] + INSIDE + ["take_turn"]
# Those of a `write`, which a step makes itself while its slice lasts, and an activity of its own otherwise.
WRITE_POINTS = [
    *(f"{when} {commit} 3" for when in ("before", "after") for commit in ("tool.started", "tool.completed")),
    "sending order",
    "waiting order",
]
# Those that are stopped keep theirs, and there are dozens of workers on one PostgreSQL.
FEW_CONNECTIONS = {"DATABASE_POOL_SIZE": "2"}
# Where the worker of a write is lost after the call was opened: sent or not, nobody can know.
UNKNOWN = {"after tool.started 3", "sending order", "waiting order", "before tool.completed 3"}
# In a slice, one commit answers the turn and opens its calls, and one ends a call and opens the next model call: the
# same as some of the above, unless something was asked of the step meanwhile.
PERHAPS_UNKNOWN = {"after model.completed 3", "before model.started 4"}
SURELY_NOT_SENT = {
    ("SIGKILL", "after tool.started 3"),
    ("SIGKILL", "after model.completed 3"),
    ("SIGKILL", "sending order"),
    ("SIGSTOP", "after tool.started 3"),
    ("SIGSTOP", "after model.completed 3"),
}


@dataclass
class Strike:
    """One run whose worker is struck at one point, once."""

    how: str
    where: str
    slice_seconds: str
    run: Run | None = None
    tenant: str = TENANT
    name: str = field(default_factory=lambda: f"p-{uuid4().hex[:12]}")

    def __str__(self) -> str:
        return f"{self.how} {self.where} (slice {self.slice_seconds} s)"

    def leaves_unknown(self, code: str | None) -> bool:
        """Whether nobody can know what became of the write, of which `code` is told."""
        if self.how == "LOST_ANSWER":
            return False
        if self.slice_seconds != "0" and self.where in PERHAPS_UNKNOWN:
            return code is not None
        return self.where in UNKNOWN


@contextmanager
def step_workers(platform: EmbeddedPlatform, plans: Path, slice_seconds: str) -> Iterator[list[WorkerProcess]]:
    """Workers that take one step at a time, and one that conducts; the dead are replaced by `Refill`."""
    common = {"CRASH_PLANS": str(plans), "WORKER_SLICE_SECONDS": slice_seconds}
    common |= FEW_CONNECTIONS
    started = [platform.start_worker("conductor", crashing_worker.MODULE, ROLE="conductor", **common)]
    with platform.workers(STEP_WORKERS, crashing_worker.MODULE, ROLE="steps", **common) as steps:
        try:
            yield steps
        finally:
            started[0].kill()


@asynccontextmanager
async def refilled(
    platform: EmbeddedPlatform, workers: list[WorkerProcess], plans: Path, slice_seconds: str
) -> AsyncIterator[None]:
    """Replace workers that died, and add one for each that is stopped, as long as this lasts."""

    async def refill() -> None:
        while True:
            await asyncio.sleep(0.1)
            missing = STEP_WORKERS - sum(worker.alive and not worker.stopped for worker in workers)
            for _ in range(missing):
                more = {"CRASH_PLANS": str(plans), "WORKER_SLICE_SECONDS": slice_seconds, "ROLE": "steps"}
                more |= FEW_CONNECTIONS
                workers.append(platform.start_worker(f"w{len(workers)}", crashing_worker.MODULE, **more))

    task = asyncio.create_task(refill())
    try:
        yield
    finally:
        task.cancel()


async def begin(platform: EmbeddedPlatform, api: AsyncClient, model: ModelControl, strike: Strike, plans: Path) -> None:
    turns: list[dict[str, Any]] = [
        {"content": "I look.", "delay_ms": 5, "tool_calls": [call("look", item=strike.name)]},
        {"content": "I put.", "tool_calls": [call("put", item=strike.name)]},
        {"content": "I order.", "tool_calls": [call("order", item=strike.name)]},
        {"content": f"Done: {strike.name}.", "delay_ms": 5},
    ]
    tools = [platform.tool("look", "read"), platform.tool("put", "idempotent"), platform.tool("order", "write")]
    await platform.agent(api, model, turns, strike.name, tools=tools)
    if strike.where.startswith("waiting"):
        platform.tools.slow(f"/{strike.where.removeprefix('waiting ')}/{strike.name}", 1.0)
    plan = {"how": strike.how, "where": strike.where, "times": 1}
    named = strike.name if strike.tenant == TENANT else platform.tenants[strike.tenant]
    (plans / f"{named}.json").write_text(json.dumps(plan))
    strike.run = await api.runs.start(strike.name, f"item {strike.name}")


def struck(plans: Path) -> list[Path]:
    """What workers left when they were struck: their process ids."""
    return list(plans.glob("*.struck.*"))


async def thaw(plans: Path) -> int:
    """Let every stopped worker go on, now that others have finished its run; how many there were."""
    stopped = 0
    for mark in struck(plans):
        try:
            process = psutil.Process(int(mark.read_text()))
            if process.status() == psutil.STATUS_STOPPED:
                stopped += 1
                process.resume()
        except psutil.NoSuchProcess:
            continue
    await asyncio.sleep(2.5 if stopped else 0)  # they find what the others wrote
    return stopped


@pytest.mark.parametrize(
    ("how", "slice_seconds", "points"),
    [
        ("SIGKILL", "60", POINTS),
        ("SIGSTOP", "0", [*POINTS, "run_tool"]),
        ("SIGKILL", "0", [*WRITE_POINTS, "run_tool"]),
        ("SIGSTOP", "60", [*WRITE_POINTS, "after model.completed 3"]),
    ],
    ids=["SIGKILL-60", "SIGSTOP-0", "SIGKILL-0 writes", "SIGSTOP-60 writes"],
)
async def test_a_worker_is_struck_at_every_point(
    platform: EmbeddedPlatform, tmp_path: Path, how: str, slice_seconds: str, points: list[str]
) -> None:
    """Rules 1, 3, 4, 9, 10: every run completes; effects are recorded once; a `write` is received at most once."""
    strikes = [Strike(how, where, slice_seconds) for where in points]
    async with AsyncExitStack() as held:
        clients = {TENANT: await held.enter_async_context(platform.client())}
        for strike in strikes:
            if strike.where in ("take_turn", "run_tool"):
                strike.tenant = f"t-{strike.name}"
                platform.make_tenant(strike.tenant)
                clients[strike.tenant] = await held.enter_async_context(platform.client(strike.tenant))
        model = await held.enter_async_context(platform.model())
        workers = held.enter_context(step_workers(platform, tmp_path, slice_seconds))
        async with refilled(platform, workers, tmp_path, slice_seconds):
            await asyncio.gather(*(begin(platform, clients[s.tenant], model, s, tmp_path) for s in strikes))
            await asyncio.gather(*(finish(clients[s.tenant], s) for s in strikes))
            stopped = await thaw(tmp_path)
        assert len(struck(tmp_path)) == len(strikes), await missed(platform, strikes, tmp_path)
        assert stopped == (len(strikes) if how == "SIGSTOP" else 0)
        for strike in strikes:
            await check(platform, model, strike)


async def test_the_answer_of_a_commit_is_lost(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """Rule 1: a connection lost during COMMIT means to read what is there, not that somebody else was faster."""
    strikes = [Strike("LOST_ANSWER", f"before {commit}", "2") for commit in COMMITS]
    common = {"CRASH_PLANS": str(tmp_path), "WORKER_SLICE_SECONDS": "2"}
    async with platform.client() as api, platform.model() as model:
        with platform.workers(2, crashing_worker.MODULE, **common):
            await asyncio.gather(*(begin(platform, api, model, s, tmp_path) for s in strikes))
            await asyncio.gather(*(finish(api, s, 40) for s in strikes))
        assert len(struck(tmp_path)) == len(strikes), await missed(platform, strikes, tmp_path)
        for strike in strikes:
            await check(platform, model, strike)


async def finish(api: AsyncClient, strike: Strike, seconds: float = 200) -> None:
    assert strike.run is not None
    try:
        strike.run = await api.runs.wait(strike.run.id, timeout=seconds)
    except WaitExpired:
        said = await api.runs.explain(strike.run.id)
        raise AssertionError(f"{strike} has not ended. {said.text}") from None


async def missed(platform: EmbeddedPlatform, strikes: list[Strike], plans: Path) -> str:
    """Runs whose point no worker came by."""
    names = {mark.name.partition(".struck")[0] for mark in struck(plans)}
    missing = [strike for strike in strikes if strike.tenant == TENANT and strike.name not in names]
    async with platform.records() as records:
        return "\n".join([f"{strike}\n{await records.run(strike.run.id)}" for strike in missing if strike.run])


async def check(platform: EmbeddedPlatform, model: ModelControl, strike: Strike) -> None:
    assert strike.run is not None
    async with platform.records(strike.tenant) as records:
        record = await records.run(strike.run.id)
    record.check()
    assert strike.run.output == f"Done: {strike.name}."
    check_tools(platform, strike, record)
    requests = await model.requests(strike.name)
    opened = record.of("model.started")
    assert len(requests) <= len(opened), strike
    for turn in range(1, 5):
        asked = sum(request["turn"] == turn - 1 for request in requests)
        assert 1 <= asked <= len(record.of("model.started", turn=turn)) <= 2, f"{strike}: turn {turn} asked {asked}"


def check_tools(platform: EmbeddedPlatform, strike: Strike, record: Record) -> None:
    orders, puts = platform.tools.count(f"/order/{strike.name}"), platform.tools.keys(f"/put/{strike.name}")
    assert len(puts) == 1, f"{strike}: {puts}"
    assert sum(puts.values()) in (1, 2), f"{strike}: {puts}"
    [result] = record.of("tool.completed", name="order")
    if strike.leaves_unknown(result.get("code")):
        assert result["code"] == "outcome_unknown", strike
        assert orders == 0 if (strike.how, strike.where) in SURELY_NOT_SENT else orders <= 1, f"{strike}: {orders}"
    else:
        assert "code" not in result, strike
        assert orders == 1, f"{strike}: {orders}"
