"""Workers that go silent: tried again, then as a suspect by a child process, and only there deadly."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from libs.contracts.workflow import WORKER_LOST, CallPlan, CallRef, Step, ToolOutcome, TurnRequest, Unfinished
from services.worker.workflows import agent_run
from tests.workflows.scripted_steps import ScriptedSteps, Stage, attend

FINISHED = Step(finished=True)
ONE_CALL = Step(calls=[CallPlan(1, 0, "report")])


async def turn_goes_silent(request: TurnRequest) -> Step:
    await asyncio.sleep(60)
    return Step()


async def goes_silent(call: CallRef) -> ToolOutcome:
    await asyncio.sleep(60)
    return ToolOutcome()


async def turn_kills(request: TurnRequest) -> Step:
    raise ApplicationError("The process that made this step died.", type=WORKER_LOST, non_retryable=True)


async def kills(call: CallRef) -> ToolOutcome:
    raise ApplicationError("The process that made this step died.", type=WORKER_LOST, non_retryable=True)


async def test_a_lost_turn_is_taken_again_by_any_worker(stage: Stage) -> None:
    steps, suspects = ScriptedSteps([turn_goes_silent, FINISHED]), ScriptedSteps()
    async with stage.suspects(suspects):
        handle = await stage.conduct(steps)
    assert (len(steps.turns), suspects.turns, steps.ends) == (2, [], [])
    # The loss came to the workflow at once: it was not one of Temporal's retries.
    scheduled = [
        e async for e in handle.fetch_history_events() if e.HasField("activity_task_scheduled_event_attributes")
    ]
    assert len(scheduled) == 2


async def test_a_turn_lost_twice_is_a_suspect_and_may_survive_as_one(stage: Stage) -> None:
    steps, suspects = ScriptedSteps([turn_goes_silent, turn_goes_silent, FINISHED]), ScriptedSteps([Step()])
    async with stage.suspects(suspects):
        await stage.conduct(steps)
    # The step after it starts with a clean name.
    assert (len(steps.turns), len(suspects.turns), steps.ends) == (3, 1, [])


async def test_a_turn_that_is_deadly_as_a_suspect_ends_the_run(stage: Stage) -> None:
    steps, suspects = ScriptedSteps([turn_goes_silent, turn_goes_silent]), ScriptedSteps([turn_kills])
    async with stage.suspects(suspects):
        handle = await stage.conduct(steps)
    assert [end.code for end in steps.ends] == [WORKER_LOST]
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_a_turn_that_takes_every_worker_with_it_ends_at_last(stage: Stage) -> None:
    steps, suspects = ScriptedSteps([turn_goes_silent] * 2), ScriptedSteps([turn_goes_silent] * 4)
    async with stage.suspects(suspects):
        await stage.conduct(steps)
    assert (len(suspects.turns), [end.code for end in steps.ends]) == (4, [WORKER_LOST])


@pytest.mark.parametrize(("silent", "kind"), [(1, None), (2, "deadly")])
async def test_a_lost_call_goes_the_same_way_and_is_told_to_the_next_turn(
    stage: Stage, silent: int, kind: str | None
) -> None:
    steps, suspects = ScriptedSteps([ONE_CALL, FINISHED], [goes_silent] * silent), ScriptedSteps(tools=[kills])
    async with stage.suspects(suspects):
        await stage.conduct(steps)
    assert (len(steps.tools), len(suspects.tools)) == ((2, 0) if kind is None else (2, 1))
    assert steps.turns[1].unfinished == ([] if kind is None else [Unfinished(1, 0, kind)])
    assert steps.ends == []


async def test_a_call_that_outlives_every_limit_is_told_to_the_next_turn(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker lives, so another attempt would wait for it for ever."""
    monkeypatch.setattr(agent_run, "SPARE", timedelta(seconds=0.4))

    async def hangs(call: CallRef) -> ToolOutcome:
        await attend(5)
        return ToolOutcome()

    steps = ScriptedSteps([Step(calls=[CallPlan(1, 0, "report", timeout=0.4)]), FINISHED], [hangs])
    await stage.conduct(steps)
    assert steps.turns[1].unfinished == [Unfinished(1, 0, "timeout")]
    assert len(steps.tools) == 1


async def test_failures_of_one_call_leave_its_neighbours_alone(stage: Stage) -> None:
    async def by_index(call: CallRef) -> ToolOutcome:
        if call.index == 0:
            raise ApplicationError("no", non_retryable=True)
        await attend(0.5)
        return ToolOutcome()

    steps = ScriptedSteps([Step(calls=[CallPlan(1, 0), CallPlan(1, 1)]), FINISHED], [by_index] * 2)
    await stage.conduct(steps)
    assert steps.turns[1].unfinished == [Unfinished(1, 0, "failed")]
