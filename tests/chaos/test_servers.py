"""Servers killed and frozen in turn while runs go on: what was accepted completes, and nobody restarts anything."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter, defaultdict
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.fixtures.embedded import EmbeddedPlatform
from tests.fixtures.platform import NO_TLS, call, eventually
from tests.fixtures.records import Record

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150), pytest.mark.xdist_group("chaos")]

SERVERS = ["api", "temporal", "valkey", "object-store", "postgres"]
LONGEST_ANSWER = 10.0  # seconds
FROZEN = 6.0
AWAY = 4.5  # longer than the heartbeat timeout


class Traffic:
    """Posts a run every so often, whatever happens, and keeps what was answered in which phase."""

    def __init__(self, platform: EmbeddedPlatform, agent: str) -> None:
        self.accepted: list[str] = []
        self.answers: dict[str, Counter[str]] = defaultdict(Counter)
        self.slowest = 0.0
        self.phase = "calm"
        self._platform = platform
        self._agent = agent

    async def post_until(self, stop: asyncio.Event) -> None:
        headers = {"Authorization": f"Bearer {self._platform.token()}"}
        async with httpx.AsyncClient(
            base_url=self._platform.api_url, headers=headers, timeout=20, verify=NO_TLS, trust_env=False
        ) as http:
            posts = []
            while not stop.is_set():
                posts.append(asyncio.create_task(self._post(http)))
                await asyncio.sleep(0.4)
            await asyncio.gather(*posts)

    async def _post(self, http: httpx.AsyncClient) -> None:
        began, answers, key = time.monotonic(), self.answers[self.phase], uuid4().hex
        body = {"agent": self._agent, "input": key}
        try:
            answer = await http.post("/v1/runs", json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError as error:
            answers[type(error).__name__] += 1
        else:
            answers[str(answer.status_code)] += 1
            if answer.status_code == 202:
                self.accepted.append(answer.json()["id"])
            else:
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.json()["code"] == "dependency_unavailable"
        self.slowest = max(self.slowest, time.monotonic() - began)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["SIGKILL", "SIGSTOP"])
async def test_servers_are_struck_in_turn_while_runs_go_on(platform: EmbeddedPlatform, number: signal.Signals) -> None:
    """Rules 1, 9, 14, 17: accepted runs complete by themselves; a POST is answered by 202 or a clear 503, and soon."""
    item = f"v-{uuid4().hex[:8]}"
    tools = [platform.tool("look", "read"), platform.tool("order", "write"), {"type": "artifacts"}]
    turns: list[dict[str, Any]] = [
        {"content": "I look.", "first_delay_ms": 300, "tool_calls": [call("look", item=item)]},
        {"content": "I order.", "first_delay_ms": 300, "tool_calls": [call("order", item=item)]},
        {"content": "I write.", "tool_calls": [call("write_artifact", name="a.txt", content=item)]},
        {"content": "Done.", "first_delay_ms": 300},
    ]
    with platform.workers(2):
        async with platform.client() as api, platform.model() as model:
            agent = await platform.agent(api, model, turns, tools=tools)
            traffic, stop = Traffic(platform, agent), asyncio.Event()
            posting = asyncio.create_task(traffic.post_until(stop))
            await asyncio.sleep(1.0)
            for server in SERVERS:
                traffic.phase = server
                await strike(platform, server, number)
                traffic.phase = "calm"
                await asyncio.sleep(0.5)
            stop.set()
            await posting
            ended = await asyncio.gather(*(api.runs.wait(run, timeout=60) for run in traffic.accepted))
        async with platform.records() as records:
            found = [await records.run(run.id) for run in ended]
    for record in found:
        record.check()
        assert [file["name"] for file in record.artifacts] == ["a.txt"]
    assert traffic.slowest < LONGEST_ANSWER, traffic.answers
    assert len(traffic.accepted) > 10, traffic.answers
    for server in ("temporal", "valkey", "object-store"):
        assert set(traffic.answers[server]) <= {"202"}, traffic.answers  # none of them is needed to accept a run
    assert set(traffic.answers["postgres"]) <= {"202", "503"}, traffic.answers
    check_orders(found, platform.tools.count(f"/order/{item}"))


def check_orders(found: list[Record], received: int) -> None:
    """Each run's one `write` arrived once, or its outcome is told as unknown."""
    unknown = sum(bool(record.of("tool.completed", code="outcome_unknown")) for record in found)
    assert len(found) - unknown <= received <= len(found)


async def strike(platform: EmbeddedPlatform, server: str, number: signal.Signals) -> None:
    """Freeze a server for a while, or kill it and wait until its supervisor has it back."""
    before = platform.stack.services()[server]["restarts"]
    platform.stack.signal(server, number)
    if number is signal.SIGSTOP:
        await asyncio.sleep(FROZEN)
        platform.stack.signal(server, signal.SIGCONT)
        return

    async def is_back() -> bool:
        service = platform.stack.services()[server]
        return bool(service["restarts"] > before and service["status"] == "running")

    await eventually(is_back, 30)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_nothing_in_flight_is_done_twice_when_temporal_blinks(platform: EmbeddedPlatform, how: str) -> None:
    """Rule 9: away for longer than the heartbeat timeout, it gives steps out again; they find the first at work."""
    item = f"b-{uuid4().hex[:8]}"
    tools = [platform.tool("look", "read"), platform.tool("put", "idempotent"), platform.tool("order", "write")]
    scripts: dict[str, list[dict[str, Any]]] = {
        "model": [{"content": "Done.", "hold_after_chunks": 1}],
        **{name: [{"tool_calls": [call(name, item=item)]}, {"content": "Done."}] for name in ("look", "put", "order")},
    }
    for name in ("look", "put", "order"):
        platform.tools.slow(f"/{name}/{item}", 8.5)
    with platform.workers(2, WORKER_SLICE_SECONDS="0.1"):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            agents = {name: await platform.agent(api, model, turns, tools=tools) for name, turns in scripts.items()}
            runs = {name: await api.runs.start(agent, "hello") for name, agent in agents.items()}
            await model.requests(agents["model"], state="held", wait=10)
            for name in ("put", "order", "look"):
                await records.until(runs[name].id, lambda seen: seen.of("tool.started"))
            await asyncio.sleep(1.0)  # what the slice began was handed over
            if how == "killed":
                platform.stack.stop_service("temporal", 0)
                await asyncio.sleep(AWAY)
                await asyncio.to_thread(platform.stack.start_service, "temporal")
            else:
                platform.stack.signal("temporal", signal.SIGSTOP)
                await asyncio.sleep(AWAY)
                platform.stack.signal("temporal", signal.SIGCONT)
            await asyncio.sleep(2.5)  # Temporal gives the steps out again
            await model.release(agents["model"])
            for run in runs.values():
                await api.runs.wait(run.id, timeout=40)
            found = {name: await records.run(run.id) for name, run in runs.items()}
            assert len(await model.requests(agents["model"])) == 1
    for name, record in found.items():
        record.check()
        assert len(record.of("model.started", turn=1)) == 1
        handed_over = len(record.of("tool.failed", code="handed_back"))
        assert len(record.of("tool.started")) - handed_over == (name != "model"), str(record)
        if name != "model":
            # What the slice gave up may have been sent, or not yet.
            assert 1 <= platform.tools.count(f"/{name}/{item}") <= 1 + handed_over
