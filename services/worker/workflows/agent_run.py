"""The agent's loop as a workflow: a turn, its tools, waiting, the end. It decides nothing that the log does not say.

It runs outside the SDK's sandbox; what it may import is kept by an import contract.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from typing import Any, ClassVar, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

from libs.contracts.workflow import (
    AGENT_RUN,
    CANCEL_REQUESTED,
    FINISH_RUN,
    RUN_TOOL,
    SUSPECTS,
    TAKE_TURN,
    WAKE,
    WORKER_LOST,
    CallPlan,
    CallRef,
    EndRequest,
    RunRef,
    Step,
    ToolOutcome,
    TurnRequest,
    Unfinished,
    Wake,
)

T = TypeVar("T")
LOSSES_BEFORE_SUSPICION = 2  # in a row, of one step
LOSSES_AT_MOST = 5
# A lost worker is not a retry: it comes to the workflow at once. How often a provider or a tool is tried is counted
# from the log by the activity itself; what remains (a database that is away) is retried for as long as it takes.
RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    maximum_interval=timedelta(seconds=30),
    non_retryable_error_types=["TemporalTimeout:Heartbeat"],
)
# A tool that outlived its time limit and ours hangs: another attempt would wait for it.
TOOL_RETRIES = replace(RETRIES, non_retryable_error_types=["TemporalTimeout:Heartbeat", "TemporalTimeout:StartToClose"])
TURN_TIMEOUT = timedelta(hours=2)
A_MOMENT = timedelta(seconds=1)
SPARE = timedelta(seconds=60)  # beyond a tool's own time limit


class Fate(Enum):
    """How an activity ended that returned nothing."""

    STOPPED = "stopped"
    LOST = "lost"  # its worker went silent
    DEADLY = "deadly"  # it killed the process that served it alone
    TIMEOUT = "timeout"
    FAILED = "failed"


def fate_of(error: ActivityError) -> Fate:
    cause = error.cause
    if isinstance(cause, CancelledError):
        return Fate.STOPPED
    if isinstance(cause, ActivityTimeout):
        return Fate.LOST if cause.type is TimeoutType.HEARTBEAT else Fate.TIMEOUT
    if isinstance(cause, ApplicationError) and cause.type == WORKER_LOST:
        return Fate.DEADLY
    return Fate.FAILED


@workflow.defn(name=AGENT_RUN)
class AgentRunWorkflow:
    """One run. Signals carry no data but how much there is to read, and whether to stop what is pending."""

    heartbeat_timeout: ClassVar[timedelta] = timedelta(seconds=10)  # set once, by the worker's main module

    def __init__(self) -> None:
        self._control_seq = 0
        self._stops = 0
        self._stoppable: dict[asyncio.Future[None], None] = {}  # in the order in which their activities were started
        self._stops_known = 0  # when the last turn began
        self._overdue = False

    @workflow.signal(name=WAKE)
    def wake(self, wake: Wake) -> None:
        """Something was asked of the run; duplicates and reordering are harmless."""
        if wake.stop and wake.control_seq > self._control_seq:
            self._stop()
        self._control_seq = max(self._control_seq, wake.control_seq)

    @workflow.run
    async def run(self, run: RunRef) -> None:
        """Conduct the run to its end. A cancel in Temporal's own UI becomes what is asked of the run."""
        deadline = asyncio.create_task(self._watch_deadline(run))
        while True:
            try:
                await self._conduct(run)
                break
            except asyncio.CancelledError:
                await self._finish(EndRequest(CANCEL_REQUESTED, "cancelled in Temporal"))
        deadline.cancel()

    async def _conduct(self, run: RunRef) -> None:
        unfinished: list[Unfinished] = []
        while True:
            if not unfinished and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(run)
            step = await self._take_turn(TurnRequest(unfinished))
            unfinished = []
            if step.finished:
                return
            if self._overdue and (step.waiting or step.calls):  # by this clock; the database's decides
                await workflow.sleep(A_MOMENT)
            elif step.waiting:
                await self._woken(step)
            elif step.calls and not self._newly_stopped:  # else ask again: nothing would stop what is started now
                outcomes = await asyncio.gather(*(self._run_tool(call) for call in step.calls))
                unfinished = [outcome for outcome in outcomes if outcome is not None]

    @property
    def _newly_stopped(self) -> bool:
        """Whether there was a stop that the last turn need not have seen."""
        return self._stops > self._stops_known

    async def _take_turn(self, request: TurnRequest) -> Step:
        losses = 0
        while True:
            self._stops_known = self._stops
            turn = workflow.start_activity(
                TAKE_TURN,
                request,
                result_type=Step,
                task_queue=_queue(None, losses),
                start_to_close_timeout=TURN_TIMEOUT,
                heartbeat_timeout=self.heartbeat_timeout,
                retry_policy=RETRIES,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
            try:
                return await self._until_stopped(turn)
            except ActivityError as error:
                fate = fate_of(error)
                losses += fate is Fate.LOST
                if fate is Fate.DEADLY or losses > LOSSES_AT_MOST:
                    await self._finish(EndRequest(WORKER_LOST, "Every worker that took this step died."))
                    return Step(finished=True)
                if fate not in (Fate.LOST, Fate.STOPPED):
                    await self._finish(EndRequest("internal", f"A step of the run {fate.value} for good."))
                    return Step(finished=True)

    async def _run_tool(self, call: CallPlan) -> Unfinished | None:
        """Run one call; names it when it ended without a result, and never raises."""
        losses = 0
        while not self._newly_stopped:
            tool = workflow.start_activity(
                RUN_TOOL,
                CallRef(call.turn, call.index),
                result_type=ToolOutcome,
                task_queue=_queue(call.queue, losses),
                start_to_close_timeout=timedelta(seconds=call.timeout) + SPARE,
                heartbeat_timeout=self.heartbeat_timeout,
                retry_policy=TOOL_RETRIES,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                summary=call.name,
            )
            try:
                outcome = await self._until_stopped(tool)
                if not outcome.again:
                    return None
            except ActivityError as error:
                fate = fate_of(error)
                losses += fate is Fate.LOST
                if fate is not Fate.LOST or losses > LOSSES_AT_MOST:
                    return Unfinished(call.turn, call.index, fate.value)
        return Unfinished(call.turn, call.index, Fate.STOPPED.value)

    async def _until_stopped(self, pending: workflow.ActivityHandle[T]) -> T:
        """Its result; a stop that is asked for meanwhile requests its cancellation, which a step takes as a hint."""
        stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stoppable[stopped] = None
        try:
            either: list[asyncio.Future[Any]] = [pending, stopped]
            await workflow.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not pending.done():
                pending.cancel()
            return await pending
        except asyncio.CancelledError:
            pending.cancel()
            raise
        finally:
            del self._stoppable[stopped]

    async def _woken(self, step: Step) -> None:
        """Until something newer than the step has seen is asked, the time is up, or the deadline has passed."""
        timeout = None if step.until is None else timedelta(seconds=max(0.0, step.until - workflow.time()))
        try:
            await workflow.wait_condition(
                lambda: self._control_seq > step.control_seq or self._overdue, timeout=timeout
            )
        except TimeoutError:
            return

    async def _watch_deadline(self, run: RunRef) -> None:
        if run.deadline is not None:
            await workflow.sleep(timedelta(seconds=max(0.0, run.deadline - workflow.time())))
            self._overdue = True
            self._stop()

    def _stop(self) -> None:
        self._stops += 1
        for stopped in self._stoppable:
            if not stopped.done():
                stopped.set_result(None)

    async def _finish(self, request: EndRequest) -> None:
        """Bring the row to its end before the workflow closes; not cancellable, retried without end."""
        ending = workflow.start_activity(
            FINISH_RUN,
            request,
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=self.heartbeat_timeout,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)
            ),
            cancellation_type=workflow.ActivityCancellationType.ABANDON,
        )
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                continue


def _queue(own: str | None, losses: int) -> str | None:
    """None is the workflow's own queue."""
    return workflow.info().task_queue + SUSPECTS if losses >= LOSSES_BEFORE_SUSPICION else own
