"""A stop ends what is pending, wherever it stands, and then asks the log; the deadline's timer does the same."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError

from libs.contracts.workflow import CallPlan, CallRef, Step, ToolOutcome, TurnRequest, Unfinished
from services.worker.workflows import agent_run
from tests.workflows.scripted_steps import (
    Handle,
    RunTool,
    ScriptedSteps,
    Stage,
    TakeTurn,
    attend,
    ended,
    until,
    wake,
)

FINISHED = Step(finished=True)
AT_ONCE = 5.0  # seconds; far below what is waited for
UNSERVED = Step(calls=[CallPlan(1, 0, "report", queue="nobody-serves-this")])
STOPPED = [Unfinished(1, 0, "stopped")]


async def works(call: CallRef) -> ToolOutcome:
    await attend(10)
    return ToolOutcome()


async def backs_off(call: CallRef) -> ToolOutcome:
    raise ApplicationError("later", next_retry_delay=timedelta(hours=1))


async def turn_works(request: TurnRequest) -> Step:
    await attend(10)
    return Step()


async def turn_backs_off(request: TurnRequest) -> Step:
    raise ApplicationError("later", next_retry_delay=timedelta(hours=1))


async def stop_ends_it(handle: Handle) -> None:
    began = time.monotonic()
    await wake(handle, 1, stop=True)
    await ended(handle)
    assert time.monotonic() - began < AT_ONCE


@pytest.mark.parametrize("tool", [works, backs_off])
async def test_a_stop_ends_a_tool_at_once(stage: Stage, tool: RunTool) -> None:
    steps = ScriptedSteps([Step(calls=[CallPlan(1)]), FINISHED], [tool])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.tools)
        await asyncio.sleep(0.1)
        await stop_ends_it(handle)
    assert steps.turns[1].unfinished == STOPPED
    assert len(steps.tools) == 1


async def test_a_stop_ends_a_tool_that_no_worker_serves(stage: Stage) -> None:
    steps = ScriptedSteps([UNSERVED, FINISHED])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.turns)
        await asyncio.sleep(0.2)
        await stop_ends_it(handle)
    assert steps.turns[1].unfinished == STOPPED


@pytest.mark.parametrize("turn", [turn_works, turn_backs_off])
async def test_a_stop_ends_a_turn_and_the_next_one_is_asked(stage: Stage, turn: TakeTurn) -> None:
    steps = ScriptedSteps([turn, FINISHED])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.turns)
        await asyncio.sleep(0.1)
        await stop_ends_it(handle)
    assert steps.turns == [TurnRequest()] * 2


async def test_a_stop_is_a_hint_that_a_step_may_ignore(stage: Stage) -> None:
    """It commits what was paid for; its result counts, and it is not started a second time."""

    async def finishes_first(call: CallRef) -> ToolOutcome:
        for _ in range(2):  # cancelled once, it goes on
            try:
                await attend(0.5)
                break
            except asyncio.CancelledError:
                continue
        return ToolOutcome()

    steps = ScriptedSteps([Step(calls=[CallPlan(1)]), FINISHED], [finishes_first])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.tools)
        await stop_ends_it(handle)
    assert steps.turns == [TurnRequest()] * 2
    assert len(steps.tools) == 1


async def test_a_stop_while_a_turn_names_its_calls_starts_none(stage: Stage) -> None:
    """The turn had not seen the stop, and nothing would stop its calls once they wait on a queue that nobody serves."""
    returning = asyncio.Event()

    async def names_calls(request: TurnRequest) -> Step:
        while not returning.is_set():  # whatever it is cancelled with
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        return UNSERVED

    steps = ScriptedSteps([names_calls, FINISHED])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.turns)
        await wake(handle, 1, stop=True)
        await asyncio.sleep(0.1)
        returning.set()
        await ended(handle)
    assert steps.turns == [TurnRequest()] * 2


async def test_a_stop_while_a_call_is_handed_back_does_not_give_it_out_again(stage: Stage) -> None:
    returning = asyncio.Event()

    async def hands_back(call: CallRef) -> ToolOutcome:
        while not returning.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        return ToolOutcome(again=True)

    steps = ScriptedSteps([Step(calls=[CallPlan(1)]), FINISHED], [hands_back])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.tools)
        await wake(handle, 1, stop=True)
        await asyncio.sleep(0.1)
        returning.set()
        await ended(handle)
    assert len(steps.tools) == 1
    assert steps.turns[1].unfinished == STOPPED


async def test_the_deadline_ends_what_is_pending_and_asks(stage: Stage) -> None:
    steps = ScriptedSteps([UNSERVED, FINISHED])
    async with stage.worker(steps):
        began = time.time()
        handle = await stage.start(deadline=began + 0.5)
        await ended(handle)
        assert 0.4 < time.time() - began < 0.5 + AT_ONCE
    assert steps.turns[1].unfinished == STOPPED
    assert steps.ends == []


async def test_at_the_deadline_a_database_whose_clock_is_behind_is_asked_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_run, "A_MOMENT", timedelta(seconds=0.2))
    steps = ScriptedSteps([UNSERVED, UNSERVED, UNSERVED, FINISHED])
    async with stage.worker(steps):
        handle = await stage.start(deadline=time.time() + 0.3)
        await ended(handle)
    assert len(steps.turns) == 4
