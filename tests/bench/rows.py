"""The rows of the table: a figure of ours against the same figure of the bare programs, interleaved in one run."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
from temporalio.client import Client

from libs.domain.ids import workflow_id
from tests.bench.bare_worker import QUEUE
from tests.bench.lab import Lab, cpu_seconds
from tests.bench.ours import Ours

CLIENTS = 16
# Temporal works on what has ended for as long as a workflow task's timeout; a side is not to pay for the other one.
SETTLING_SECONDS = 11.0
LONG_RUN = 200
HISTORY_ROUNDS = 25
LOUD_REQUESTS = 100  # a second
LOUD_PLAN = {"requests_per_second": 10, "running_runs": 1, "queued_runs": 20}
FEW, MANY = (3, 12), (191, 200)  # windows of steps


@dataclass(frozen=True)
class Row:
    """`ratio` is ours over the floor; it must be at most `must`, or at least if `at_least`. Some have no `must`."""

    figure: str
    unit: str
    ours: float
    floor: float
    must: float | None
    at_least: bool = False

    @property
    def ratio(self) -> float:
        return self.ours / self.floor

    @property
    def holds(self) -> bool:
        if self.must is None:
            return True
        return self.ratio >= self.must if self.at_least else self.ratio <= self.must

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": round(self.ratio, 3), "holds": self.holds}


class Bench:
    """Takes the figures. `repetitions` is how often each pair is taken, `settling` how long a side rests (s)."""

    def __init__(
        self, lab: Lab, ours: Ours, temporal: Client, repetitions: int, settling: float = SETTLING_SECONDS
    ) -> None:
        self._lab = lab
        self._ours = ours
        self._temporal = temporal
        self._repetitions = repetitions
        self._settling = settling
        pool = httpx.Limits(max_keepalive_connections=64)
        self._bare_http = httpx.AsyncClient(base_url=lab.bare_url, trust_env=False, limits=pool)

    async def prepare(self) -> None:
        """Scripts, agents, and a warm-up of both sides."""
        call = {"tool_calls": [{"name": "item", "arguments": {"item": "a"}}]}
        end = {"content": "The answer is forty-two."}
        note = {"tool_calls": call["tool_calls"], "content": "x" * 100}
        scripts: dict[str, list[dict[str, Any]]] = {
            "one": [end],
            "reads": [call] * 3 + [end],
            "writes": [call] * 3 + [end],
            "many-writes": [call] * HISTORY_ROUNDS + [end],
            "long": [note] * LONG_RUN + [end],
        }
        for model, turns in scripts.items():
            self._lab.script(model, turns)
        await self._ours.agent("one")
        for slug, effect in (("reads", "read"), ("writes", "write"), ("many-writes", "write"), ("long", "read")):
            await self._ours.agent(slug, effect)
        for _ in range(10):
            await self._bare_post()
            await self._ours.complete("one")
            await self._bare("bare-answer", "one")
        for slug, bare in (("reads", "bare-loop"), ("writes", "bare-steps")):
            for _ in range(3):
                await self._ours.complete(slug)
                await self._bare(bare, slug)

    async def _bare(self, name: str, argument: Any) -> None:
        await self._temporal.execute_workflow(name, argument, id=f"bare-{uuid4()}", task_queue=QUEUE)

    async def _bare_post(self) -> None:
        (await self._bare_http.post("/runs", json={"input": "hello"})).raise_for_status()

    async def _pairs(
        self, ours: Callable[[], Awaitable[Any]], floor: Callable[[], Awaitable[Any]], times: int
    ) -> tuple[float, float]:
        """Median milliseconds of each, taken in turn."""
        taken: tuple[list[float], list[float]] = ([], [])
        for position in range(times):
            for which in (0, 1) if position % 2 else (1, 0):
                began = time.perf_counter()
                await (ours if which == 0 else floor)()
                taken[which].append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.002)
        return median(taken[0]), median(taken[1])

    async def post(self) -> Row:
        ours, floor = await self._pairs(lambda: self._ours.post("one"), self._bare_post, self._repetitions * 4)
        await asyncio.sleep(2)  # the runs that were started end
        return Row("POST /v1/runs / bare INSERT, p50", "ms", ours, floor, 3.5)

    async def one_call(self) -> Row:
        ours, floor = await self._pairs(
            lambda: self._ours.complete("one"), lambda: self._bare("bare-answer", "one"), self._repetitions * 2
        )
        return Row("one-call run / bare one-activity workflow", "ms", ours, floor, 1.15)

    async def hanging_observer(self) -> Row:
        """Workers of the same build beside each other, of which one sends traces to somebody who never answers."""
        with _silent_server() as observer:
            keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-bench", "LANGFUSE_SECRET_KEY": "sk-lf-bench"}
            with self._lab.second(LANGFUSE_HOST=observer, **keys) as url:
                observed = Ours(self._lab, url=url)
                for _ in range(10):
                    await observed.complete("one")
                await asyncio.sleep(2)  # the first request of the worker hangs
                ours, floor = await self._pairs(
                    lambda: observed.complete("one"), lambda: self._ours.complete("one"), self._repetitions * 4
                )
                await observed.close()
        return Row("one-call run, with an observer that hangs / without one", "ms", ours, floor, 1.05)

    async def reads(self) -> Row:
        ours, floor = await self._pairs(
            lambda: self._ours.complete("reads"), lambda: self._bare("bare-loop", "reads"), self._repetitions
        )
        return Row("three rounds of read tools / one bare activity", "ms", ours, floor, 1.4)

    async def writes(self) -> Row:
        ours, floor = await self._pairs(
            lambda: self._ours.complete("writes"), lambda: self._bare("bare-steps", "writes"), self._repetitions
        )
        return Row("three rounds of write tools / seven bare activities", "ms", ours, floor, 1.25)

    async def slow_writes(self) -> Row:
        """As many activities as the floor has: what it costs where each tool is slow."""
        with self._lab.second(WORKER_SLICE_SECONDS="0") as url:
            slow = Ours(self._lab, url=url)
            for _ in range(3):
                await slow.complete("writes")
            ours, floor = await self._pairs(
                lambda: slow.complete("writes"), lambda: self._bare("bare-steps", "writes"), self._repetitions
            )
            await slow.close()
        return Row(
            "three rounds of write tools in seven activities (slice 0) / seven bare ones", "ms", ours, floor, None
        )

    async def throughput(self) -> Row:
        ours: list[float] = []
        floor: list[float] = []
        for _ in range(3):
            floor.append(await self._rate(lambda: self._bare("bare-answer", "one")))
            ours.append(await self._rate(lambda: self._ours.complete("one")))
        return Row(f"runs per second at {CLIENTS} clients", "runs/s", median(ours), median(floor), 0.85, at_least=True)

    async def behind_http(self) -> Row:
        """What the row above costs anybody: the floor with a row written by POST and an event read as a stream."""
        behind: list[float] = []
        floor: list[float] = []
        for _ in range(3):
            floor.append(await self._rate(lambda: self._bare("bare-answer", "one")))
            behind.append(await self._rate(self._bare_exchange))
        figure = f"runs per second at {CLIENTS} clients, bare workflow behind bare HTTP / alone"
        return Row(figure, "runs/s", median(behind), median(floor), None, at_least=True)

    async def with_a_log(self) -> Row:
        """The row of throughput, for the least that any platform does whose runs are durable and can be followed."""
        logged: list[float] = []
        floor: list[float] = []
        for _ in range(3):
            floor.append(await self._rate(lambda: self._bare("bare-answer", "one")))
            logged.append(await self._rate(self._logged_exchange))
        figure = f"runs per second at {CLIENTS} clients, bare workflow with a log that is followed / alone"
        return Row(figure, "runs/s", median(logged), median(floor), None, at_least=True)

    async def _logged_exchange(self) -> None:
        answer = await self._bare_http.post("/logged-runs", json={"input": "one"})
        async with self._bare_http.stream("GET", f"/logged-runs/{answer.json()['id']}/events") as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    json.loads(line[6:])

    async def _bare_exchange(self) -> None:
        await self._bare_post()
        await self._bare("bare-answer", "one")
        async with self._bare_http.stream("GET", "/events") as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    json.loads(line[6:])

    async def _rate(self, one: Callable[[], Awaitable[Any]]) -> float:
        total = self._repetitions * 5
        left = iter(range(total))

        async def client() -> None:
            for _ in left:
                await one()

        await asyncio.sleep(self._settling)
        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return total / (time.perf_counter() - began)

    async def first_event(self) -> Row:
        taken = [await self._ours.first_event("one") for _ in range(self._repetitions * 4)]
        post, event = (median(column) * 1000 for column in zip(*taken, strict=True))
        return Row("first SSE event after POST / POST, p50", "ms", event, post, 1.7)

    async def cpu(self) -> Row:
        platform = self._lab.processes("api", "worker-1")
        bare = [self._lab.bare_worker, psutil.Process(os.getpid())]
        count = self._repetitions * 2
        ours: list[float] = []
        floor: list[float] = []
        for _ in range(3):
            ours.append(await self._cpu(platform, lambda: self._ours.complete("one"), count))
            floor.append(await self._cpu(bare, lambda: self._bare("bare-answer", "one"), count))
        return Row("CPU of api + worker / bare worker + client, one-call run", "ms", median(ours), median(floor), 1.8)

    async def _cpu(self, processes: list[psutil.Process], one: Callable[[], Awaitable[Any]], count: int) -> float:
        before = cpu_seconds(*processes)
        for _ in range(count):
            await one()
        return (cpu_seconds(*processes) - before) / count * 1000

    async def history(self) -> Row:
        """With a slice of 0 s, as for slow tools, each step is an activity of its own: 26 turns and 25 calls."""
        with self._lab.second(WORKER_SLICE_SECONDS="0") as url:
            slow = Ours(self._lab, url=url)
            run = await slow.complete("many-writes")
            await slow.close()
            ours = await self._history_bytes(workflow_id(await self._tenant(run), UUID(run)))
        bare = f"bare-{uuid4()}"
        await self._temporal.execute_workflow("bare-nothing", 2 * HISTORY_ROUNDS + 1, id=bare, task_queue=QUEUE)
        floor = await self._history_bytes(bare)
        return Row(f"Temporal history, {2 * HISTORY_ROUNDS + 1} activities", "bytes", ours, floor, 1.3)

    async def _tenant(self, run: str) -> UUID:
        async for found in self._temporal.list_workflows("WorkflowType = 'agent-run'"):
            if found.id.endswith(run):
                return UUID(found.id.split("/")[1])
        raise RuntimeError("the run has no workflow")

    async def _history_bytes(self, workflow: str) -> float:
        for _ in range(50):
            described = await self._temporal.get_workflow_handle(workflow).describe()
            if described.close_time is not None:
                return float(described.raw_description.workflow_execution_info.history_size_bytes)
            await asyncio.sleep(0.1)
        raise RuntimeError("the workflow does not close")

    async def long_run(self) -> Row:
        platform = self._lab.processes("api", "worker-1")
        few: list[float] = []
        many: list[float] = []
        for _ in range(3):
            marks = await self._marks(platform)
            few.append((marks[FEW[1]] - marks[FEW[0]]) / (FEW[1] - FEW[0]) * 1000)
            many.append((marks[MANY[1]] - marks[MANY[0]]) / (MANY[1] - MANY[0]) * 1000)
        return Row("platform CPU of a step, around step 195 / around step 7", "ms", median(many), median(few), 1.3)

    async def _marks(self, platform: list[psutil.Process]) -> dict[int, float]:
        """CPU seconds at the end of each step of a long run."""
        marks: dict[int, float] = {}
        run = await self._ours.post("long")
        async for event in self._ours.events(run):
            if event["type"] == "model.completed":
                marks[event["data"]["turn"]] = cpu_seconds(*platform)
        return marks

    async def verification(self) -> Row:
        """What it costs to check a token: each request with one that was never seen, and with one that was."""
        times = self._repetitions * 4
        unseen = iter([self._lab.token() for _ in range(times)])
        seen = self._lab.token()
        ours, floor = await self._pairs(
            lambda: self._ours.look("one", next(unseen)), lambda: self._ours.look("one", seen), times
        )
        return Row("GET of an agent, token never seen / token seen, p50", "ms", ours, floor, None)

    async def noisy_neighbour(self) -> Row:
        """The other tenant's plan allows what fits this machine beside others; it asks for ten times as much."""
        admin = {"Authorization": f"Bearer {self._lab.token('admin')}"}
        loud = f"loud-{uuid4().hex[:8]}"
        async with httpx.AsyncClient(base_url=self._lab.api_url, headers=admin, trust_env=False) as http:
            (await http.put(f"/v1/plans/{loud}", json=LOUD_PLAN)).raise_for_status()
            (await http.post("/v1/tenants", json={"slug": loud, "plan": loud})).raise_for_status()
        neighbour = Ours(self._lab, loud)
        await neighbour.agent("one")
        await neighbour.close()
        alone: list[float] = []
        beside: list[float] = []
        for _ in range(2):
            alone += await self._times(lambda: self._ours.complete("one"))
            with self._lab.flood(loud, "one", LOUD_REQUESTS):
                await asyncio.sleep(2)
                beside += await self._times(lambda: self._ours.complete("one"))
            await asyncio.sleep(2)  # what it left ends
        return Row("one-call run, p95, while another tenant floods / alone", "ms", _p95(beside), _p95(alone), 2.0)

    async def _times(self, one: Callable[[], Awaitable[Any]]) -> list[float]:
        """Milliseconds of each, one after the other."""
        taken = []
        for _ in range(self._repetitions * 3):
            began = time.perf_counter()
            await one()
            taken.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.01)
        return taken


@contextmanager
def _silent_server() -> Iterator[str]:
    """The URL of somebody who takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _p95(taken: list[float]) -> float:
    return sorted(taken)[round(len(taken) * 0.95) - 1]
