"""`down` and `up` keep all data; what is up again migrates, and goes on with what was begun."""

from __future__ import annotations

import asyncio

import pytest

from deploy.demo.containers import START_SECONDS, world_on
from deploy.demo.stock_keeper import MODEL, TASK
from tests.fixtures.compose.project import Installation

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(900)]


async def test_everything_is_there_again(installation: Installation) -> None:
    async with installation.client() as api, installation.model() as model:
        done = await installation.agent(api, model, [{"content": "Before."}])
        kept = await api.runs.run(done, "hello", timeout=30)
        file = await api.artifacts.upload(b"kept", name="kept.txt")
        # Its script is built in: others are gone with the model's container.
        await api.agents.create("stock-keeper", installation.world.agent("stock-keeper")["spec"])
        going = await api.runs.start("stock-keeper", TASK)
        await model.requests(MODEL, state="held", wait=30)
        log = [event.as_json() async for event in api.runs.events(kept.id)]
    await asyncio.to_thread(installation.compose, "down", "--timeout", "20", seconds=200)
    await asyncio.to_thread(installation.compose, "up", "--wait", "--pull", "missing", seconds=START_SECONDS)
    url = installation.world.api_url
    installation.world = await asyncio.to_thread(world_on, installation.compose, url)
    assert "newest revision" in installation.compose("logs", "migrations")
    assert "is there" in installation.compose("logs", "minio-bucket")
    assert "The realm is up to date." in installation.compose("logs", "realm")
    async with installation.client() as api, installation.model() as model:
        assert (await api.runs.get(kept.id)).output == "Before."
        assert [event.as_json() async for event in api.runs.events(kept.id)] == log
        assert await api.artifacts.read(file.id) == b"kept"
        await model.requests(MODEL, state="held", wait=60)
        await model.release(MODEL)
        ended = await api.runs.wait(going.id, timeout=90)
        assert ended.status == "completed", ended.error
        types = [(event.type, event.data.get("name")) async for event in api.runs.events(going.id)]
    assert types.count(("tool.started", "place_order")) == 1
    assert types.count(("run.completed", None)) == 1
