"""The queue of starts and wake-ups never waits, whatever Temporal does."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

from libs.contracts.workflow import RunRef, Wake
from libs.database.admission import Given
from libs.domain.errors import DependencyUnavailable
from services.api.starts import QUEUE_LENGTH, Starts


class Workflows:
    """Takes down what it is asked; hangs, fails or works."""

    def __init__(self, mood: str) -> None:
        self.mood = mood
        self.calls: list[Any] = []

    async def start_agent_run(self, run: RunRef, priority: int) -> None:
        await self._take(("start", run, priority))

    async def wake(self, run: RunRef, wake: Wake) -> bool:
        await self._take(("wake", run, wake))
        return True

    async def _take(self, call: Any) -> None:
        self.calls.append(call)
        if self.mood == "hangs":
            await asyncio.sleep(3600)
        if self.mood == "away":
            raise DependencyUnavailable("temporal", "away")
        if self.mood == "broken":
            raise ValueError("broken")


async def test_what_is_queued_is_delivered() -> None:
    workflows = Workflows("works")
    starts = Starts(workflows)
    starts.begin()
    tenant, run = uuid4(), uuid4()
    starts.start(tenant, run, None, 2)
    starts.wake(tenant, run, None, Wake(3, stop=True))
    await asyncio.sleep(0.01)
    await starts.close()
    ref = RunRef(str(tenant), str(run))
    assert workflows.calls == [("start", ref, 2), ("wake", ref, Wake(3, stop=True))]


async def test_failures_stop_nothing() -> None:
    for mood in ("away", "broken"):
        workflows = Workflows(mood)
        starts = Starts(workflows)
        starts.begin()
        for _ in range(100):
            starts.start(uuid4(), uuid4(), None, 3)
        await asyncio.sleep(0.1)
        await starts.close()
        assert len(workflows.calls) == 100


async def test_overflow_and_shutdown_do_not_wait() -> None:
    starts = Starts(Workflows("hangs"))
    starts.begin()
    began = time.monotonic()
    for _ in range(QUEUE_LENGTH * 2):
        starts.start(uuid4(), uuid4(), None, 3)
    await starts.close()
    assert time.monotonic() - began < 2


async def test_a_run_that_got_its_turn_is_started_and_then_woken_where_it_was_parked() -> None:
    workflows = Workflows("works")
    starts = Starts(workflows)
    starts.begin()
    tenant, fresh, parked = uuid4(), uuid4(), uuid4()
    starts.admitted(tenant, Given(fresh, 2, None, 0))
    await asyncio.sleep(0.05)
    starts.admitted(tenant, Given(parked, 3, None, 5))
    await asyncio.sleep(0.05)
    await starts.close()
    assert workflows.calls == [
        ("start", RunRef(str(tenant), str(fresh)), 2),
        ("start", RunRef(str(tenant), str(parked)), 3),
        ("wake", RunRef(str(tenant), str(parked)), Wake(5)),
    ]
