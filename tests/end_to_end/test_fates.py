"""Every failure of a provider and every limit has its typed fate."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from agent_runtime import Run

from tests.fixtures.platform import Platform, call
from tests.fixtures.records import Record

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("platform")]

QUICK = {"MODEL_IDLE_TIMEOUT_SECONDS": "1", "MODEL_ATTEMPTS": "3"}
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
LOOK = {"tool_calls": [call("look", item="fate")]}
DONE = {"content": "Done."}


def faulty(kind: str, times: int | None = 1, **more: Any) -> dict[str, Any]:
    return {"content": "Done.", "fault": {"kind": kind, "times": times, **more}}


@dataclass
class Fate:
    """What a script leads to: the end, the codes of failed attempts, words of the error, requests to the model."""

    turns: list[dict[str, Any]]
    status: str = "completed"
    code: str | None = None
    failures: list[str] = field(default_factory=list)
    words: str = ""
    requests: int = 1
    rejected: int = 0
    schema: dict[str, Any] | None = None


MALFORMED = {**LOOK, "fault": {"kind": "malformed_arguments"}}
FATES = {
    "limited": Fate([faulty("status", status=429, retry_after=1)], failures=["http_429"], requests=2),
    "broken once": Fate([faulty("status", status=500)], failures=["http_500"], requests=2),
    "overloaded": Fate([faulty("status", status=503)], failures=["http_503"], requests=2),
    "broken for good": Fate(
        [faulty("status", None, status=500)], "failed", "model_error", ["http_500"] * 3, "3 times", 3
    ),
    "reset at once": Fate([faulty("reset", after_chunks=0)], failures=["stream_broken"], requests=2),
    "reset later": Fate([faulty("reset", after_chunks=2)], failures=["stream_broken"], requests=2),
    "silent": Fate([faulty("silent", after_chunks=1)], failures=["stream_silent"], requests=2),
    "cut": Fate([faulty("cut_stream")], failures=["stream_cut"], requests=2),
    "later turn fails": Fate([LOOK, faulty("status", status=500)], failures=["http_500"], requests=3),
    "malformed once": Fate([{**LOOK, "fault": {"kind": "malformed_arguments"}}, LOOK, DONE], requests=3),
    "malformed": Fate([MALFORMED] * 4, "failed", "invalid_output", words="3 answers", requests=3),
    "unknown tool": Fate([{"tool_calls": [call("nothing")]}, DONE], requests=2),
    "no usage": Fate([faulty("no_usage")]),
    "too long": Fate(
        [faulty("status", None, status=400, code="context_length_exceeded")],
        "failed", "model_error", ["http_400"], "context window",
    ),
    "bad request": Fate([faulty("status", None, status=400)], "failed", "model_error", ["http_400"], "parameters"),
    "bad key": Fate([faulty("status", None, status=401)], "failed", "model_error", ["http_401"], "api_key_env"),
    "forbidden": Fate([faulty("status", None, status=403)], "failed", "model_error", ["http_403"], "may not"),
    "no such model": Fate([faulty("status", None, status=404)], "failed", "model_error", ["http_404"], "base_url"),
    "wrong form once": Fate([DONE, {"content": '{"ok": true}'}], requests=2, rejected=1, schema=SCHEMA),
    "wrong form": Fate([DONE] * 4, "failed", "invalid_output", [], "3 answers", 3, rejected=3, schema=SCHEMA),
}  # fmt: skip


async def test_every_failure_of_a_provider_has_its_fate(platform: Platform) -> None:
    """Rules 10, 11, 12 and the table in docs/models.md: retried by policy, given back to the model, or a typed end."""
    with platform.workers(2, **QUICK):
        async with platform.client() as api, platform.model() as model, platform.records() as records:

            async def meet(fate: Fate) -> tuple[Run, Record, int]:
                more: dict[str, Any] = {"output_schema": fate.schema} if fate.schema else {}
                agent = await platform.agent(api, model, fate.turns, tools=[platform.tool("look", "read")], **more)
                run = await api.runs.run(agent, "hello", timeout=40)
                return run, await asyncio.shield(reading(run.id)), len(await model.requests(agent))

            reads = asyncio.Lock()  # one connection

            async def reading(run_id: str) -> Record:
                async with reads:
                    return await records.run(run_id)

            met = dict(zip(FATES, await asyncio.gather(*map(meet, FATES.values())), strict=True))
    for name, (run, record, requests) in met.items():
        check_fate(name, FATES[name], run, record, requests)
    record = met["limited"][1]
    failed, again = (next(e for e in record.events if e["type"] == t) for t in ("model.failed", "run.completed"))
    assert again["at"] - failed["at"] >= timedelta(seconds=0.9)
    assert met["no usage"][0].usage.estimated
    assert met["no usage"][0].usage.input_tokens > 0


def check_fate(name: str, fate: Fate, run: Run, record: Record, requests: int) -> None:
    record.check(fate.status)
    assert (run.error.code if run.error else None) == fate.code, name
    assert [data["code"] for data in record.of("model.failed")] == fate.failures, f"{name}\n{record}"
    assert not run.error or fate.words in run.error.message, f"{name}: {run.error}"
    assert requests == fate.requests, f"{name}\n{record}"
    assert len(record.of("output.rejected")) == fate.rejected, f"{name}\n{record}"


async def test_budgets_are_kept(platform: Platform) -> None:
    """Architecture 6: a call that could break a limit is not made, and the run ends with a typed reason."""
    used = {"input_tokens": 300, "output_tokens": 50}
    loop = [{"content": "I look.", "usage": used, **LOOK}] * 12
    limits: dict[str, dict[str, Any]] = {
        "tokens": {"tokens": 2500},
        "cost": {"cost_usd": "0.0025"},
        "steps": {"steps": 3},
        "seconds": {"seconds": 2},
    }
    with platform.workers(1):
        async with platform.client() as api, platform.model() as model, platform.records() as records:
            ended: dict[str, tuple[Run, Record, list[dict[str, Any]]]] = {}
            for name, limit in limits.items():
                turns = [{**loop[0], "hold_after_chunks": 1}] if name == "seconds" else loop
                agent = await platform.agent(api, model, turns, tools=[platform.tool("look", "read")])
                began = time.monotonic()
                run = await api.runs.run(agent, "hello", limits=limit, timeout=30)  # type: ignore[arg-type]  # a dict of one limit
                assert time.monotonic() - began < 20
                ended[name] = run, await records.run(run.id), await model.requests(agent)
    for name, (run, record, requests) in ended.items():
        record.check("failed")
        assert run.error is not None
        assert run.error.code == ("deadline_exceeded" if name == "seconds" else "budget_exceeded")
        assert len(record.of("model.started")) == len(requests)
        assert f"limits.{'cost_usd' if name == 'cost' else name}" in run.error.message
    assert 2 <= len(ended["tokens"][2]) <= 7
    assert record_tokens(ended["tokens"][1]) <= 2500
    assert ended["cost"][1].row["cost"] <= Decimal("0.0025")
    assert len(ended["cost"][2]) >= 2
    assert len(ended["steps"][2]) == 3


def record_tokens(record: Record) -> int:
    return int(record.row["input_tokens"] + record.row["output_tokens"])
