"""Explanations of runs of a real platform, while it works, while its parts are gone, and of very long logs."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from agent_runtime import AsyncClient, Explanation
from typer.testing import CliRunner

from services.cli.main import app
from tests.fixtures.embedded import FAST, EmbeddedPlatform
from tests.fixtures.platform import call, eventually

pytestmark = [pytest.mark.timeout(120)]
DEAD_AFTER = float(FAST["WORKER_DEAD_AFTER_SECONDS"])
SLACK = 2.0  # seconds, for a machine that does much else

LONG_LOG = """
    INSERT INTO run_events (tenant_id, run_id, seq, type, key, data, at)
    SELECT tenant_id, id, n, CASE n % 2 WHEN 0 THEN 'model.started' ELSE 'model.completed' END,
        'm' || n / 2 || CASE n % 2 WHEN 0 THEN '.1' ELSE '' END,
        CASE n % 2 WHEN 0 THEN jsonb_build_object('turn', n / 2, 'attempt', 1, 'worker', 'w/x')
        ELSE jsonb_build_object('turn', n / 2, 'attempt', 1, 'content', repeat('x', 3000),
            'tool_calls', CAST('[]' AS jsonb)) END,
        created_at + n * interval '1 millisecond'
    FROM runs, generate_series(2, 10001) n WHERE id = $1 RETURNING 1
"""


async def until(api: AsyncClient, run: str, code: str, seconds: float = 20) -> Explanation:
    async def look() -> Explanation | None:
        found = await api.runs.explain(run)
        return found if found.now.code == code else None

    return await eventually(look, seconds)


async def test_a_run_is_explained_from_its_start_to_its_end(platform: EmbeddedPlatform) -> None:
    """No worker; a model that answers slowly; its worker killed; a pause; the end, with what was retried and why."""
    async with platform.client() as api, platform.model() as model:
        agent = await platform.agent(api, model, [{"content": "Yes.", "hold_after_chunks": 1}])
        run = (await api.runs.start(agent, "Well?")).id
        assert (await until(api, run, "no_worker", DEAD_AFTER + SLACK)).workers_alive == 0
        with platform.workers(1) as [worker, *_]:
            await model.requests(agent, state="held", wait=20)
            told = await until(api, run, "model_call", 1)
            assert told.now.details["in_flight"][0]["name"] == f"scripted/{agent}"
            worker.signal(signal.SIGKILL)
            killed = time.monotonic()
            told = await until(api, run, "no_worker", DEAD_AFTER + SLACK)
            assert time.monotonic() - killed < DEAD_AFTER + SLACK
            assert told.now.details["interrupted"][0]["kind"] == "model"
        await model.release(agent)
        with platform.workers(1):
            await model.requests(agent, state="held", count=1, wait=20)
            await api.runs.pause(run, reason="a look at it")
            pausing = await api.runs.explain(run)
            assert (pausing.now.code, pausing.now.reason) == ("pausing", "a look at it")
            await model.release(agent)
            await api.runs.resume(run)
            await api.runs.wait(run, timeout=30)
        ended = await api.runs.explain(run)
    assert ended.now.code == "completed"
    assert {"kind": "model", "code": "worker_lost", "count": 1} in ended.retries["reasons"]
    assert ended.attempts["model_calls"] == 1
    assert ended.attempts["model_attempts"] >= 2
    assert len(ended.workers) == 2
    parts = sum(ended.seconds[part] for part in ("model", "tools", "waiting"))
    assert 0 < parts <= ended.seconds["total"]
    assert ended.seconds["lost"] > 0


async def test_a_providers_limit_is_told_with_its_end(platform: EmbeddedPlatform) -> None:
    fault = {"kind": "status", "times": 1, "status": 429, "retry_after": 3}
    async with platform.client() as api, platform.model() as model:
        agent = await platform.agent(api, model, [{"content": "Yes.", "fault": fault}])
        with platform.workers(1):
            run = (await api.runs.start(agent, "Well?")).id
            told = await until(api, run, "provider_limit", 10)
            assert told.now.until is not None
            assert told.at is not None
            assert 0 < (told.now.until - told.at).total_seconds() <= 3
            assert "takes no calls until" in told.text
            assert (await api.runs.wait(run, timeout=30)).succeeded
        assert (await api.runs.explain(run)).retries["reasons"] == [{"kind": "model", "code": "http_429", "count": 1}]


async def test_tools_in_flight_are_named(platform: EmbeddedPlatform) -> None:
    item = f"t-{uuid4().hex[:8]}"
    platform.tools.slow(f"/order/{item}", 3.0)
    turns: list[dict[str, Any]] = [{"content": "", "tool_calls": [call("order", item=item)]}, {"content": "Done."}]
    async with platform.client() as api, platform.model() as model:
        agent = await platform.agent(api, model, turns, tools=[platform.tool("order", "write")])
        with platform.workers(1):
            run = (await api.runs.start(agent, "Order.")).id
            told = await until(api, run, "tools", 10)
            assert told.now.details["in_flight"][0]["name"] == "order"
            assert told.text.startswith("The run has been waiting for the tool order since ")
            await api.runs.wait(run, timeout=30)
        ended = await api.runs.explain(run)
    assert ended.attempts["tool_calls"] == 1
    assert ended.seconds["tools"] >= 2.9


async def test_temporal_may_be_away(platform: EmbeddedPlatform) -> None:
    async with platform.client() as api, platform.model() as model:
        agent = await platform.agent(api, model, [{"content": "Yes."}])
        with platform.workers(1):
            await api.runs.run(agent, "Well?", timeout=30)
            platform.stack.signal("temporal", signal.SIGSTOP)
            try:
                run = (await api.runs.start(agent, "Well?")).id
                began = time.monotonic()
                told = await api.runs.explain(run)
                assert time.monotonic() - began < SLACK
                assert told.now.code == "starting"
                await asyncio.sleep(5.5)
                assert "Temporal, which hands out the steps, does not answer" in (await api.runs.explain(run)).text
            finally:
                platform.stack.signal("temporal", signal.SIGCONT)
            assert (await api.runs.wait(run, timeout=60)).succeeded


async def test_the_command_says_the_same(platform: EmbeddedPlatform, tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.write_text(platform.token())
    base = ["--api-url", platform.api_url, "--token-file", str(token), "runs"]

    async def command(*words: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, [*base, *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    async with platform.client() as api, platform.model() as model:
        agent = await platform.agent(api, model, [{"content": "Yes."}])
        with platform.workers(1):
            run = (await api.runs.run(agent, "Well?", timeout=30)).id
    words = await command("explain", run)
    assert words.startswith("The run completed at ")
    assert f"agent-runtime runs show {run}" in words
    assert json.loads(await command("explain", run, "--json"))["now"]["code"] == "completed"
    assert "accuracy of run" in await command("score", run, "accuracy", "0.5", "--comment", "by hand")
    [score] = json.loads(await command("scores", run, "--json"))["items"]
    assert (score["name"], score["value"], score["comment"]) == ("accuracy", 0.5, "by hand")


async def test_a_long_log_is_answered_quickly(platform: EmbeddedPlatform) -> None:
    """Ten thousand events, each answer with content, which is not read."""
    async with platform.client() as api, platform.model() as model, platform.records() as records:
        agent = await platform.agent(api, model, [{"content": "Yes."}])
        run = (await api.runs.start(agent, "Well?")).id
        await records.rows(LONG_LOG, UUID(run))
        await records.rows("UPDATE runs SET last_seq = 10001, turn = 5000 WHERE id = $1 RETURNING 1", UUID(run))
        began = time.monotonic()
        told = await api.runs.explain(run)
        print(f"an explanation of 10,000 events: {time.monotonic() - began:.3f} s")  # noqa: T201 - a figure to read
        await api.runs.cancel(run)
    assert told.attempts["model_attempts"] == 5000
    assert told.seconds["model"] == pytest.approx(5.0, abs=0.1)
    assert len(json.dumps(told.as_json())) < 10_000
