"""What a worker that stops does with the steps it has, and with a Temporal that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast
from uuid import uuid4

import pytest
from temporalio.worker import Worker

from libs.database.engine import Database
from services.worker import leaving
from services.worker.control import ControlWatch
from services.worker.keys import RunKey


class Polling:
    """A worker of the SDK: it runs until it was told to stop, or for ever where Temporal hangs."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.told = asyncio.Event()
        self._hangs = hangs

    async def run(self) -> None:
        await self.told.wait()
        if self._hangs:
            await asyncio.Event().wait()

    async def shutdown(self) -> None:
        self.told.set()


@pytest.fixture
def control() -> ControlWatch:
    return ControlWatch(cast(Database, None))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("SETTLE_SECONDS", 0.02), ("POLLS_END_SECONDS", 0.02), ("UNHEARD_SECONDS", 0.1)):
        monkeypatch.setattr(leaving, name, seconds)
    monkeypatch.setattr(leaving, "LOOK_SECONDS", 0.01)


async def hand_over(worker: Polling, control: ControlWatch) -> asyncio.Task[None]:
    serving = asyncio.create_task(worker.run())
    await leaving.hand_over([cast(Worker, worker)], [serving], control)
    await asyncio.wait([serving])
    return serving


@pytest.mark.parametrize("fails", [False, True])
async def test_no_step_ends_around_the_last_poll(control: ControlWatch, fails: bool) -> None:
    """Rule 15: Temporal would give what follows to a poll that is being closed, and it would be lost for seconds."""
    worker = Polling()
    told: list[tuple[bool, bool]] = []  # whether the worker was told to stop, and the step to leave
    proceed = asyncio.Event()

    async def step() -> None:
        with contextlib.suppress(ValueError):
            async with control.attend(RunKey(uuid4(), uuid4())) as watched:
                await proceed.wait()
                if fails:
                    raise ValueError
        told.append((worker.told.is_set(), watched.leaving))

    async with asyncio.timeout(5):
        early = asyncio.create_task(step())
        await asyncio.sleep(0)
        stopping = asyncio.create_task(hand_over(worker, control))
        await asyncio.sleep(0)
        proceed.set()
        await asyncio.gather(early, stopping)
    assert told == [(True, True)]


async def test_a_temporal_that_hangs_is_not_waited_for(control: ControlWatch) -> None:
    async with asyncio.timeout(5):
        serving = await hand_over(Polling(hangs=True), control)
    assert serving.cancelled()


async def test_a_step_that_may_end_is_waited_for(control: ControlWatch) -> None:
    """A `write` in progress is not given up because Temporal hangs: it is recorded in the log."""
    ended = False

    async def step() -> None:
        nonlocal ended
        async with control.attend(RunKey(uuid4(), uuid4())):
            await asyncio.sleep(0.5)  # several times what Temporal is waited for
        ended = True

    async with asyncio.timeout(5):
        working = asyncio.create_task(step())
        await asyncio.sleep(0)
        await hand_over(Polling(hangs=True), control)
        assert ended
        await working


async def test_where_nothing_is_stopped_a_step_returns(control: ControlWatch) -> None:
    async with asyncio.timeout(5), control.attend(RunKey(uuid4(), uuid4())) as watched:
        assert control.busy == 1
    assert not watched.leaving
    assert control.busy == 0
