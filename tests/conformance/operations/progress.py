"""A run that is in progress while something is done to the installation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from tests.conformance.operations.installation import Installation
from tests.fixtures.platform import PROVIDER

HELD = {"content": "Late.", "hold_after_chunks": 1, "hold_times": 1}


@asynccontextmanager
async def run_in_progress(installation: Installation) -> AsyncIterator[None]:
    """Before and behind the rotation: a run that waits for its model goes on and completes, and so does a new one."""
    name = f"a-{uuid4().hex[:12]}"
    async with installation.model() as model:
        await model.add(name, [HELD])
        async with installation.client() as api:
            await api.agents.create(name, {"model": f"{PROVIDER}/{name}"})
            run = await api.runs.start(name, "hello")
            await model.requests(name, state="held", wait=30)
        yield
        await model.release(name)
        async with installation.client() as api:
            assert (await api.runs.wait(run.id, timeout=60)).output == "Late."
            await model.add(name, [{"content": "New."}])
            assert (await api.runs.run(name, "again", timeout=60)).output == "New."
        async with installation.records() as records:
            (await records.run(run.id)).check()
