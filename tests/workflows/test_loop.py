"""The loop of a run: a turn, its tools, waiting, the end."""

from __future__ import annotations

import asyncio

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from libs.contracts.workflow import (
    CANCEL_REQUESTED,
    CallPlan,
    CallRef,
    EndRequest,
    RunRef,
    Step,
    ToolOutcome,
    TurnRequest,
    Unfinished,
)
from tests.workflows.scripted_steps import ScriptedSteps, Stage, TakeTurn, ended, until, wake

TWO_CALLS = Step(calls=[CallPlan(1, 0, "first"), CallPlan(1, 1, "second")])
FINISHED = Step(finished=True)


async def test_a_run_that_a_slice_finishes_is_one_activity(stage: Stage) -> None:
    steps = ScriptedSteps([FINISHED])
    handle = await stage.conduct(steps)
    assert (steps.turns, steps.tools, steps.ends) == ([TurnRequest()], [], [])
    scheduled = [
        e async for e in handle.fetch_history_events() if e.HasField("activity_task_scheduled_event_attributes")
    ]
    assert len(scheduled) == 1


async def test_a_slice_that_ends_without_a_word_is_followed_by_the_next(stage: Stage) -> None:
    steps = ScriptedSteps([Step(), Step(), FINISHED])
    await stage.conduct(steps)
    assert steps.turns == [TurnRequest()] * 3


async def test_the_calls_of_a_turn_run_at_the_same_time(stage: Stage) -> None:
    together = asyncio.Barrier(2)

    async def meet(call: CallRef) -> ToolOutcome:
        await asyncio.wait_for(together.wait(), 5)
        return ToolOutcome()

    steps = ScriptedSteps([TWO_CALLS, FINISHED], [meet, meet])
    await stage.conduct(steps)
    assert sorted(steps.tools, key=lambda call: call.index) == [CallRef(1, 0), CallRef(1, 1)]
    assert steps.turns == [TurnRequest(), TurnRequest()]


async def test_a_call_that_was_handed_back_is_given_out_again(stage: Stage) -> None:
    steps = ScriptedSteps([Step(calls=[CallPlan(1)]), FINISHED], [ToolOutcome(again=True), ToolOutcome(again=True)])
    await stage.conduct(steps)
    assert steps.tools == [CallRef(1, 0)] * 3
    assert steps.turns[-1] == TurnRequest()


async def test_a_call_that_ends_without_a_result_goes_to_the_next_turn(stage: Stage) -> None:
    async def fail(call: CallRef) -> ToolOutcome:
        raise ApplicationError("no", non_retryable=True)

    steps = ScriptedSteps([Step(calls=[CallPlan(3, 0), CallPlan(3, 1)]), FINISHED], [fail])
    await stage.conduct(steps)
    (failed,) = steps.turns[1].unfinished
    assert (failed.turn, failed.kind) == (3, "failed")
    assert steps.ends == []


async def test_a_turn_that_fails_for_good_is_ended_before_the_workflow_closes(stage: Stage) -> None:
    async def fail(request: TurnRequest) -> Step:
        raise ApplicationError("no", non_retryable=True)

    steps = ScriptedSteps([fail])
    handle = await stage.conduct(steps)
    assert [end.code for end in steps.ends] == ["internal"]
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_the_end_is_tried_until_it_is_written(stage: Stage) -> None:
    async def fail(request: TurnRequest) -> Step:
        raise ApplicationError("no", non_retryable=True)

    async def refuse(request: EndRequest) -> None:
        raise ApplicationError("The database does not answer.")

    steps = ScriptedSteps([fail], ends=[refuse, refuse])
    await stage.conduct(steps)
    assert len(steps.ends) == 3


@pytest.mark.parametrize("moment", ["waiting", "in a turn", "in a tool"])
async def test_a_cancel_in_temporals_own_page_becomes_what_is_asked_of_the_run(stage: Stage, moment: str) -> None:
    going_on = asyncio.Event()

    async def slow_turn(request: TurnRequest) -> Step:
        await going_on.wait()
        return Step()

    async def slow_tool(call: CallRef) -> ToolOutcome:
        await going_on.wait()
        return ToolOutcome()

    moments: dict[str, TakeTurn] = {
        "waiting": Step(waiting=True),
        "in a turn": slow_turn,
        "in a tool": Step(calls=[CallPlan(1)]),
    }
    steps = ScriptedSteps([moments[moment], FINISHED], [slow_tool])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.tools if moment == "in a tool" else steps.turns)
        await asyncio.sleep(0.1)
        await handle.cancel()
        await until(lambda: len(steps.turns) == 2)
        going_on.set()
        await ended(handle)
    assert [end.code for end in steps.ends] == [CANCEL_REQUESTED]
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_a_cancel_in_temporals_own_page_does_not_stop_the_end(stage: Stage) -> None:
    ending = asyncio.Event()

    async def fail(request: TurnRequest) -> Step:
        raise ApplicationError("no", non_retryable=True)

    async def slow_end(request: EndRequest) -> None:
        await ending.wait()

    steps = ScriptedSteps([fail], ends=[slow_end])
    async with stage.worker(steps):
        handle = await stage.start()
        await until(lambda: steps.ends)
        await handle.cancel()
        await asyncio.sleep(0.3)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        ending.set()
        await ended(handle)
    assert [end.code for end in steps.ends] == ["internal"]


async def test_a_long_history_continues_as_new_without_state(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        workflow.Info, "is_continue_as_new_suggested", lambda self: self.get_current_history_length() > 20
    )

    async def fail(call: CallRef) -> ToolOutcome:
        raise ApplicationError("no", non_retryable=True)

    turns = [Step(calls=[CallPlan(turn)]) for turn in range(1, 9)]
    steps = ScriptedSteps(turns, [fail] * 4)
    async with stage.worker(steps):
        handle = await stage.start(deadline=4e9)
        first = (await handle.describe()).run_id
        await wake(handle, 7)
        await ended(handle)
    last = await stage.client.get_workflow_handle(handle.id).describe()
    assert last.run_id != first
    told = [request.unfinished for request in steps.turns]
    assert told == [[], *([Unfinished(turn, 0, "failed")] for turn in range(1, 5)), *([] for _ in range(4))]
    async for event in stage.client.get_workflow_handle(handle.id, run_id=last.run_id).fetch_history_events():
        begun = event.workflow_execution_started_event_attributes
        [run] = await stage.client.data_converter.decode(begun.input.payloads, [RunRef])
        tenant_id, run_id = handle.id.split("/")[1:]
        assert run == RunRef(tenant_id, run_id, 4e9)
        assert not begun.memo.fields
        break
