"""Scores that a stand-in of LangFuse is shown, under faults: none lost, none doubled, runs unaffected."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from agent_runtime import AsyncClient

from deploy.demo import serving
from tests.fixtures.embedded import EmbeddedPlatform
from tests.fixtures.langfuse import KEYS, Fault, StandIn
from tests.fixtures.platform import eventually

pytestmark = [pytest.mark.timeout(120)]
FAST = {"TRACES_LOOK_SECONDS": "0.2", "TRACES_PAUSE_SECONDS": "0.5", "TRACES_TIMEOUT_SECONDS": "1"}


@pytest.fixture(params=[False, True], ids=["objects", "lists"])
def langfuse(request: pytest.FixtureRequest) -> Iterator[tuple[StandIn, dict[str, str]]]:
    standing = StandIn(lists=request.param)
    with serving.serving(standing.app, 0) as url:
        yield standing, {"LANGFUSE_HOST": url, **KEYS, **FAST}


async def ended_run(platform: EmbeddedPlatform, api: AsyncClient, model: Any) -> str:
    agent = await platform.agent(api, model, [{"content": "Yes."}])
    run = await api.runs.run(agent, "Well?", timeout=30)
    assert run.succeeded
    return run.id


def shown(standing: StandIn) -> dict[str, dict[str, Any]]:
    """Every score by its id; what came twice came the same."""
    found: dict[str, dict[str, Any]] = {}
    for score in standing.scores:
        assert found.setdefault(score["id"], score) == score
    return found


async def test_every_score_arrives_as_it_was_given(
    platform: EmbeddedPlatform, langfuse: tuple[StandIn, dict[str, str]]
) -> None:
    standing, environment = langfuse
    async with platform.client() as api, platform.model() as model:
        with platform.workers(1, **environment):
            run = await ended_run(platform, api, model)
            given = [
                await api.runs.score(run, "accuracy", 0.25, comment="checked"),
                await api.runs.score(run, "helpful", True),
                await api.runs.score(run, "verdict", "wrong customer"),
            ]
            await eventually(lambda: _has(standing, len(given)))
    found = shown(standing)
    assert set(found) == {score.id for score in given}
    first, second, third = (found[score.id] for score in given)
    assert (first["value"], first["dataType"], first["comment"]) == (0.25, "NUMERIC", "checked")
    assert (second["value"], second["dataType"]) == (1.0, "BOOLEAN")
    assert (third["value"], third["dataType"]) == ("wrong customer", "CATEGORICAL")
    assert {score["traceId"] for score in found.values()} == {run.replace("-", "")}
    assert {score["metadata"]["by"] for score in found.values()} == {given[0].created_by}


async def test_nothing_is_lost_or_doubled_under_faults(
    platform: EmbeddedPlatform, langfuse: tuple[StandIn, dict[str, str]]
) -> None:
    """Away, hanging, busy, taken and denied, and the worker that sends killed over it."""
    standing, environment = langfuse
    faults = [Fault(503), Fault(500, taken=True), Fault(hang=3), Fault(429, retry_after="1")]
    async with platform.client() as api, platform.model() as model:
        with platform.workers(1, **environment) as [worker, *_]:
            run = await ended_run(platform, api, model)
            ids = set()
            for number, fault in enumerate(faults):
                standing.fault = fault
                for n in range(5):
                    ids.add((await api.runs.score(run, f"s{number}", n)).id)
                await asyncio.sleep(0.6)
            worker.signal(signal.SIGKILL)
        standing.fault = None
        with platform.workers(1, **environment):
            again = await ended_run(platform, api, model)
            ids.add((await api.runs.score(again, "after", True)).id)
            await eventually(lambda: _has(standing, len(ids)), 40)
            before = len(standing.scores)
            await asyncio.sleep(1.5)
            assert len(standing.scores) == before, "what was taken is not sent again"
    assert set(shown(standing)) == ids


async def test_a_refused_score_is_kept_and_sent_again_on_demand(
    platform: EmbeddedPlatform, langfuse: tuple[StandIn, dict[str, str]]
) -> None:
    standing, environment = langfuse
    standing.rejected = {"bad"}
    async with platform.client() as api, platform.model() as model:
        with platform.workers(1, **environment):
            run = await ended_run(platform, api, model)
            bad = await api.runs.score(run, "bad", "secret words")
            good = await api.runs.score(run, "good", 1)

            async def refused() -> list[Any] | None:
                return [
                    each async for each in api.traces.refused() if each.run_id == run and each.kind == "scores"
                ] or None

            [item] = await eventually(refused)
            assert (item.item, item.project, item.retrying) == (bad.id, "langfuse", False)
            assert "secret" not in item.reason
            await eventually(lambda: _has(standing, 1))
            standing.rejected = set()
            assert (await api.traces.retry(run)).items == 1
            await eventually(lambda: _has(standing, 2))
            await eventually(lambda: _none(refused))
    assert set(shown(standing)) == {bad.id, good.id}


async def _has(standing: StandIn, count: int) -> bool | None:
    return (len(shown(standing)) >= count) or None


async def _none(refused: Any) -> bool | None:
    return (await refused() is None) or None
