"""Runs that touch every way through the workflow; their histories are kept in `histories` and replayed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio.exceptions import ApplicationError

from libs.contracts.workflow import WORKER_LOST, CallPlan, CallRef, Step, ToolOutcome, TurnRequest
from tests.workflows.scripted_steps import Handle, ScriptedSteps, Stage, ended, until, wake

FINISHED = Step(finished=True)
Scenario = Callable[[Stage], Awaitable[Handle]]


async def _fails(call: CallRef) -> ToolOutcome:
    raise ApplicationError("no", non_retryable=True)


async def _backs_off(request: TurnRequest) -> Step:
    raise ApplicationError("later", next_retry_delay=timedelta(hours=1))


async def _goes_silent(request: TurnRequest) -> Step:
    await asyncio.sleep(60)
    return Step()


async def _kills(request: TurnRequest) -> Step:
    raise ApplicationError("died", type=WORKER_LOST, non_retryable=True)


async def slices_and_calls(stage: Stage) -> Handle:
    """Slices, calls in parallel, one handed back, one that fails."""
    calls = Step(calls=[CallPlan(1, 0, "reads"), CallPlan(1, 1, "writes", timeout=5.0)])
    return await stage.conduct(
        ScriptedSteps(
            [Step(), calls, Step(calls=[CallPlan(2, 0, "reads")]), FINISHED], [ToolOutcome(again=True), _fails]
        )
    )


async def parked_and_woken(stage: Stage) -> Handle:
    """A park with a time limit, wake-ups old, repeated and new."""
    parked = [Step(waiting=True, control_seq=1, until=time.time() + 3600), Step(waiting=True, control_seq=4)]
    steps = ScriptedSteps([*parked, FINISHED])
    async with stage.worker(steps):
        handle = await stage.start(deadline=time.time() + 86_400)
        await until(lambda: steps.turns)
        for number in (1, 4, 4, 2):
            await wake(handle, number)
        await until(lambda: len(steps.turns) == 2)
        await wake(handle, 5, stop=True)
        await ended(handle)
    return handle


async def stopped(stage: Stage) -> Handle:
    """A turn that waits for its next attempt and a call that nobody serves, both stopped."""
    steps = ScriptedSteps([_backs_off, Step(calls=[CallPlan(1, 0, "x", queue="nobody")]), FINISHED])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.turns)
        await wake(handle, 1, stop=True)
        await until(lambda: len(steps.turns) == 2)
        await asyncio.sleep(0.2)
        await wake(handle, 2, stop=True)
        await ended(handle)
    return handle


async def overdue(stage: Stage) -> Handle:
    """A deadline that passes while the run waits, first by Temporal's clock only."""
    steps = ScriptedSteps([Step(waiting=True), Step(waiting=True), FINISHED])
    async with stage.worker(steps):
        handle = await stage.start(deadline=time.time() + 0.5)
        await ended(handle)
    return handle


async def deadly(stage: Stage) -> Handle:
    """A step that loses two workers and then kills the child that serves it alone."""
    async with stage.suspects(ScriptedSteps([_kills])):
        return await stage.conduct(ScriptedSteps([_goes_silent, _goes_silent]))


async def cancelled_in_temporal(stage: Stage) -> Handle:
    """A person presses cancel in Temporal's own page."""
    steps = ScriptedSteps([Step(waiting=True), FINISHED])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.turns)
        await asyncio.sleep(0.2)
        await handle.cancel()
        await ended(handle)
    return handle


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (slices_and_calls, parked_and_woken, stopped, overdue, deadly, cancelled_in_temporal)
}
