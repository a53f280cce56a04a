"""200 runs while the receiver fails in every way, workers are killed and the database restarts: nothing is missing."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from agent_runtime import AsyncClient

from deploy.demo.model_control import ModelControl
from tests.chaos.test_servers import strike
from tests.conformance.observability.comparing import Happened, check_counted, check_whole
from tests.conformance.observability.receiver import Fault, ReceiverOfTraces, Seen
from tests.conformance.observability.test_traces import FAST, api_of, langfuse
from tests.fixtures.embedded import EmbeddedPlatform, WorkerProcess
from tests.fixtures.platform import call, eventually

pytestmark = [pytest.mark.timeout(400)]
RUNS = 200
PHASE_RUNS = 16
SETTLE_SECONDS = 90.0


def scripts(platform: EmbeddedPlatform, item: str) -> dict[str, dict[str, Any]]:
    """Agents of different fates, by name: turns, and the rest of the spec."""
    tools = [platform.tool("look", "read"), platform.tool("order", "write")]
    look, order = call("look", item=item), call("order", item=item)
    usage = {"input_tokens": 1234, "cached_input_tokens": 0, "output_tokens": 77, "reasoning_tokens": 5}
    return {
        "short": {"turns": [{"content": "Done.", "usage": usage}]},
        "tools": {
            "turns": [
                {"content": "I look.", "tool_calls": [look, order]},
                {"tool_calls": [call("look", wrong=item)]},
                {"content": "Done."},
            ],
            "tools": tools,
        },
        "retried": {"turns": [{"content": "Done.", "fault": {"kind": "status", "status": 503, "times": 1}}]},
        "uncounted": {"turns": [{"content": "Done.", "fault": {"kind": "no_usage"}}]},
        "failed": {"turns": [{"tool_calls": [look]}, {"content": "Done."}], "tools": tools, "limits": {"steps": 1}},
    }


class Load:
    """Posts runs of all agents in turn and keeps their ids by agent."""

    def __init__(self, http: httpx.AsyncClient, agents: dict[str, str]) -> None:
        self._http = http
        self._agents = itertools.cycle(agents.values())
        self.runs: dict[str, list[str]] = {agent: [] for agent in agents.values()}

    async def post(self, count: int) -> list[str]:
        made = []
        for _ in range(count):
            agent, key = next(self._agents), uuid4().hex
            body = {"agent": agent, "input": f"of {key}", "labels": {"phase": "f"}}
            answer = await self._http.post("/v1/runs", json=body, headers={"Idempotency-Key": key})
            made.append(str(answer.raise_for_status().json()["id"]))
            self.runs[agent].append(made[-1])
        return made

    async def ended(self, runs: list[str], seconds: float = 120) -> float:
        """How long it took until these runs had ended."""
        began = time.monotonic()
        for run in runs:
            while not await self._has_ended(run):
                assert time.monotonic() - began < seconds, await self._why(run)
        return time.monotonic() - began

    async def _why(self, run: str) -> str:
        """What is known of a run that does not end."""
        return (await self._http.get(f"/v1/runs/{run}/explain")).text

    async def _has_ended(self, run: str) -> bool:
        answer = await self._http.get(f"/v1/runs/{run}", params={"wait": 10})
        return answer.raise_for_status().json()["finished_at"] is not None


async def add_agents(platform: EmbeddedPlatform, api: AsyncClient, model: ModelControl) -> dict[str, str]:
    item = f"f-{uuid4().hex[:8]}"
    return {name: await platform.agent(api, model, **spec) for name, spec in scripts(platform, item).items()}


@asynccontextmanager
async def kept_alive(platform: EmbeddedPlatform, url: str) -> AsyncIterator[list[WorkerProcess]]:
    workers = [platform.start_worker(f"t{number}", **langfuse(url)) for number in (1, 2)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.end(5)


async def test_nothing_is_lost_and_nothing_doubled(
    platform: EmbeddedPlatform, receiving: tuple[ReceiverOfTraces, str]
) -> None:
    receiver, url = receiving
    async with platform.client() as api, platform.model() as model, api_of(platform) as http:
        agents = await add_agents(platform, api, model)
        load = Load(http, agents)
        async with kept_alive(platform, url) as workers:
            calm = await load.ended(await load.post(PHASE_RUNS))
            for fault in faults(receiver):
                before = receiver.failed
                runs = await load.post(PHASE_RUNS)
                assert await load.ended(runs) < 4 * calm + 20, fault  # runs do not wait for it
                await struck(receiver, before)
            await killed_in_the_middle(platform, receiver, load, workers, url)
            receiver.fault = lambda spans: None
            runs = await load.post(PHASE_RUNS)
            await strike(platform, "postgres", signal.SIGKILL)
            await load.ended(runs)
            await load.ended(await load.post(RUNS - sum(map(len, load.runs.values()))))
            everything = [run for runs in load.runs.values() for run in runs]
            await whole(http, receiver, everything)
        assert len(everything) == RUNS
        for name, agent in agents.items():
            happened = [await Happened.read(http, run) for run in load.runs[agent]]
            for run in happened:
                check_whole(receiver, run, {"tenant:chaos", f"agent:{agent}", "version:1", "phase:f"})
            lost = 10 if name != "uncounted" else RUNS
            check_counted(receiver, happened, await model.requests(agent), lost=lost)
        assert_fates(receiver, load, agents)


async def struck(receiver: ReceiverOfTraces, before: int) -> None:
    """Until the fault of the moment has happened to some requests."""

    async def look() -> bool | None:
        return receiver.failed >= before + 2 or None

    await eventually(look, 30)


def faults(receiver: ReceiverOfTraces) -> Any:
    """Each in turn is what happens to every request, until the next one is asked for."""
    number = itertools.count()
    kinds: dict[str, Any] = {
        "the connection breaks": lambda spans: Fault(reset=True),
        "hanging": lambda spans: Fault(hang=30, status=200),
        "slow": lambda spans: Fault(hang=0.7, status=200, taken=True),
        "429": lambda spans: Fault(status=429, retry_after="1"),
        "503": lambda spans: Fault(status=503),
        "taken, and then 500": lambda spans: Fault(status=500, taken=next(number) % 2 == 0),
        "a part is refused": lambda spans: Fault(reject=1) if next(number) % 3 == 0 else None,
        "400": lambda spans: Fault(status=400) if next(number) % 3 == 0 else None,
    }
    for name, fault in kinds.items():
        receiver.fault = fault
        yield name


async def killed_in_the_middle(
    platform: EmbeddedPlatform, receiver: ReceiverOfTraces, load: Load, workers: list[WorkerProcess], url: str
) -> None:
    """Each worker dies once between sending and noting it: the receiver takes what came and answers late."""
    held: list[list[Seen]] = []

    def hold(spans: list[Seen]) -> Fault:
        held.append(spans)
        return Fault(status=200, hang=1.0, taken=True)

    async def is_asked() -> bool | None:
        return bool(held) or None

    for number in (0, 1):
        held.clear()
        receiver.fault = hold
        runs = await load.post(PHASE_RUNS // 2)
        await eventually(is_asked)
        workers[number].kill()
        workers[number] = platform.start_worker(f"t{number + 3}", **langfuse(url))
        await load.ended(runs)


async def refused(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Traces; the receiver takes no scores, which other tests of the session may have left."""
    items = (await http.get("/v1/traces/refused", params={"limit": 200})).raise_for_status().json()["items"]
    return [each for each in items if each["kind"] == "traces"]


async def whole(http: httpx.AsyncClient, receiver: ReceiverOfTraces, runs: list[str]) -> None:
    """Until what was refused is taken, and every run's end has come."""
    receiver.fault = lambda spans: None
    assert {each["status"] for each in await refused(http)} == {200, 400}
    (await http.post("/v1/traces/refused/retry", json={})).raise_for_status()

    async def look() -> bool | None:
        return (not await refused(http) and all(receiver.complete(run) for run in runs)) or None

    await eventually(look, SETTLE_SECONDS)
    await asyncio.sleep(2)  # what might come twice


def assert_fates(receiver: ReceiverOfTraces, load: Load, agents: dict[str, str]) -> None:
    """The test itself saw what it is about."""

    def of(name: str) -> list[Seen]:
        runs = load.runs[agents[name]]
        return [spans[-1] for run in runs for spans in receiver.trace(run).values()]

    ledger = "langfuse.observation.metadata.ledger"
    assert any(span.attributes.get(ledger) == "estimated" for span in of("uncounted"))
    assert any(span.kind == "generation" and span.failed for span in of("retried"))
    assert any(span.kind == "agent" and span.failed for span in of("failed"))
    attempts = [span.attributes["langfuse.observation.metadata.attempt"] for span in of("tools") if span.kind == "tool"]
    assert set(attempts) >= {0, 1}  # 0: arguments that do not fit
    assert any(len(copies) > 1 for run in load.runs[agents["short"]] for copies in receiver.trace(run).values())


async def test_other_receivers_get_each_span_once(
    platform: EmbeddedPlatform, receiving: tuple[ReceiverOfTraces, str], tmp_path: Any
) -> None:
    """Whatever the receiver does, as long as nobody dies: what it did not take comes once it does."""
    receiver, url = receiving
    file = tmp_path / "projects.yaml"
    file.write_text(f"projects: {{collector: {{kind: otlp, url: '{url}/v1/traces'}}}}\ndefault: collector\n")
    number = itertools.count()
    async with platform.client() as api, platform.model() as model, api_of(platform) as http:
        agents = await add_agents(platform, api, model)
        load = Load(http, agents)
        receiver.fault = lambda spans: Fault(status=503) if next(number) % 5 == 2 else None
        with platform.workers(2, TRACES_PROJECTS_FILE=str(file), **FAST):
            runs = await load.post(20)
            await load.ended(runs)

            async def look() -> bool | None:
                return all(receiver.complete(run) for run in runs) or None

            await eventually(look, 60)
            await asyncio.sleep(2)
        for run in runs:
            happened = await Happened.read(http, run)
            check_whole(receiver, happened, {"tenant:chaos", "phase:f"}, once=True)
