"""Waiting: signals carry no data and may come at any time, in any order; timers only wake."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.testing import TimeSkipper

from libs.contracts.workflow import CallPlan, Step, TurnRequest
from tests.workflows.scripted_steps import Handle, ScriptedSteps, Stage, ended, until, wake

PARKED = Step(waiting=True, control_seq=3)
FINISHED = Step(finished=True)
A_WHILE = 0.3  # seconds after which something that would happen has happened
DAYS = timedelta(days=3)


async def asleep(handle: Handle) -> None:
    """Wait until the workflow has taken in all that there is, and waits itself."""
    length = -1
    while (now := (await handle.describe()).history_length) != length:
        length = now
        await asyncio.sleep(0.1)


async def test_only_what_is_newer_than_the_step_has_seen_wakes(stage: Stage) -> None:
    steps = ScriptedSteps([PARKED, FINISHED])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.turns)
        for old in (3, 1, 2, 3):
            await wake(handle, old, stop=True)
        await asyncio.sleep(A_WHILE)
        assert len(steps.turns) == 1
        await wake(handle, 4)
        await ended(handle)
    assert len(steps.turns) == 2


async def test_wake_ups_may_come_twice_and_out_of_order(stage: Stage) -> None:
    seen = Step(waiting=True, control_seq=6)
    steps = ScriptedSteps([PARKED, seen, FINISHED])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.turns)
        for number in (6, 6, 4, 5, 4):
            await wake(handle, number)
        await until(lambda: len(steps.turns) == 2)
        await asyncio.sleep(A_WHILE)
        assert len(steps.turns) == 2
        await wake(handle, 7)
        await ended(handle)
    assert len(steps.turns) == 3


async def test_the_highest_of_what_came_counts(stage: Stage) -> None:
    """An older wake-up that arrives last does not hide that the turn has not seen the newest."""
    signalled = asyncio.Event()

    async def parks(request: TurnRequest) -> Step:
        await signalled.wait()
        return Step(waiting=True, control_seq=5)

    steps = ScriptedSteps([parks, FINISHED])
    async with stage.worker(steps):
        handle = await stage.start()
        for number in (6, 4):
            await wake(handle, number)
        await until(lambda: steps.turns)
        signalled.set()
        await ended(handle)
    assert len(steps.turns) == 2


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("moment", ["before the turn", "in the turn", "with its end", "after its end", "in the wait"])
async def test_a_wake_up_at_any_point_between_the_commit_and_the_wait(stage: Stage, moment: str, stop: bool) -> None:
    """The turn commits `waiting` having seen 3; something 4 is asked at each moment around that."""
    committed, returning = asyncio.Event(), asyncio.Event()

    async def parks(request: TurnRequest) -> Step:
        committed.set()
        await returning.wait()
        return PARKED

    steps = ScriptedSteps([parks, FINISHED])
    handle = await stage.start()
    if moment == "before the turn":
        await wake(handle, 4, stop=stop)
        returning.set()
    async with stage.worker(steps):
        await committed.wait()
        if moment == "in the turn":
            await wake(handle, 4, stop=stop)
            await asyncio.sleep(0.1)
        if moment == "with its end":
            signalled = asyncio.create_task(wake(handle, 4, stop=stop))
            returning.set()
            await signalled
        returning.set()
        if moment == "after its end":
            await asyncio.sleep(0.01)
            await wake(handle, 4, stop=stop)
        if moment == "in the wait":
            await asleep(handle)
            assert len(steps.turns) == 1
            await wake(handle, 4, stop=stop)
        await ended(handle)
    assert len(steps.turns) == 2


async def test_a_wake_up_while_no_worker_is_there_is_not_lost(stage: Stage) -> None:
    steps = ScriptedSteps([PARKED, FINISHED])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.turns)
        await asleep(handle)
    await wake(handle, 4)
    async with stage.worker(steps):
        await ended(handle)
    assert len(steps.turns) == 2


async def skip_time(client: Client) -> Stage:
    return Stage(TimeSkipper(client).client)


async def test_a_wait_of_three_days_ends_on_time(client: Client) -> None:
    stage = await skip_time(client)
    began = time.monotonic()
    steps = ScriptedSteps([Step(waiting=True, until=(time.time() + DAYS.total_seconds())), FINISHED])
    handle = await stage.conduct(steps)
    assert len(steps.turns) == 2
    assert time.monotonic() - began < 10
    assert (await virtual_age(handle)) >= DAYS - timedelta(minutes=1)


async def test_the_deadline_only_wakes(client: Client) -> None:
    """Whether it has passed is for the database's clock to say, which here is behind."""
    stage = await skip_time(client)
    steps = ScriptedSteps([Step(waiting=True), Step(waiting=True), Step(calls=[CallPlan(1)]), Step(), FINISHED])
    async with stage.worker(steps):
        handle = await stage.start(deadline=time.time() + DAYS.total_seconds())
        await ended(handle)
    assert len(steps.turns) == 5
    assert (steps.tools, steps.ends) == ([], [])
    age = await virtual_age(handle)
    assert DAYS - timedelta(minutes=1) <= age <= DAYS + timedelta(minutes=1)


async def virtual_age(handle: Handle) -> timedelta:
    """From the first to the last event, by the workflow's own clock."""
    times = [event.event_time.ToDatetime() async for event in handle.fetch_history_events()]
    return times[-1] - times[0]


async def test_a_run_that_is_never_woken_costs_nothing(stage: Stage) -> None:
    steps = ScriptedSteps([PARKED])
    async with stage.worker(steps):
        handle = await stage.start(deadline=time.time() + 3600)
        await until(lambda: steps.turns)
        await asleep(handle)
        before = (await handle.describe()).history_length
        await asyncio.sleep(A_WHILE)
        assert (await handle.describe()).history_length == before
        await handle.terminate()
