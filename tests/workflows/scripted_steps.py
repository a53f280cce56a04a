"""Activities that do what a test says, and where a workflow meets them: on a queue of its own, on real Temporal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.workflow import NondeterminismError

from libs.contracts.workflow import (
    AGENT_RUN,
    FINISH_RUN,
    RUN_TOOL,
    SUSPECTS,
    TAKE_TURN,
    WAKE,
    CallRef,
    EndRequest,
    RunRef,
    Step,
    ToolOutcome,
    TurnRequest,
    Wake,
)
from libs.domain.ids import workflow_id
from services.worker.workflows.agent_run import AgentRunWorkflow

TakeTurn = Step | Callable[[TurnRequest], Awaitable[Step]]
RunTool = ToolOutcome | Callable[[CallRef], Awaitable[ToolOutcome]]
EndRun = Callable[[EndRequest], Awaitable[None]]
PATIENCE = 15.0  # seconds until a test that waits for something gives up
_OFTEN = timedelta(seconds=0.1)
_HEARTBEATS: dict[str, Any] = {"max_heartbeat_throttle_interval": _OFTEN, "default_heartbeat_throttle_interval": _OFTEN}

Handle = WorkflowHandle[Any, None]


class ScriptedSteps:
    """Takes turns, runs tools and ends as scripted; a turn beyond the script finds the run finished."""

    def __init__(
        self, turns: Iterable[TakeTurn] = (), tools: Iterable[RunTool] = (), ends: Iterable[EndRun] = ()
    ) -> None:
        self._turns, self._tools, self._ends = iter(turns), iter(tools), iter(ends)
        self.turns: list[TurnRequest] = []
        self.tools: list[CallRef] = []
        self.ends: list[EndRequest] = []

    @activity.defn(name=TAKE_TURN)
    async def take_turn(self, request: TurnRequest) -> Step:
        self.turns.append(request)
        scripted = next(self._turns, Step(finished=True))
        return scripted if isinstance(scripted, Step) else await scripted(request)

    @activity.defn(name=RUN_TOOL)
    async def run_tool(self, call: CallRef) -> ToolOutcome:
        self.tools.append(call)
        scripted = next(self._tools, ToolOutcome())
        return scripted if isinstance(scripted, ToolOutcome) else await scripted(call)

    @activity.defn(name=FINISH_RUN)
    async def finish_run(self, request: EndRequest) -> None:
        self.ends.append(request)
        scripted = next(self._ends, None)
        if scripted is not None:
            await scripted(request)


class Stage:
    """One test's workflows, workers and queue."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.queue = f"workflow-test-{uuid4().hex}"

    def worker(self, steps: ScriptedSteps, workflow: type = AgentRunWorkflow, **more: Any) -> Worker:
        """As the worker's main module makes it, but for the activities."""
        return Worker(
            self.client,
            task_queue=self.queue,
            workflows=[workflow],
            activities=[steps.take_turn, steps.run_tool, steps.finish_run],
            workflow_runner=UnsandboxedWorkflowRunner(),
            workflow_failure_exception_types=[NondeterminismError],
            **_HEARTBEATS,
            **more,
        )

    def suspects(self, steps: ScriptedSteps) -> Worker:
        return Worker(
            self.client,
            task_queue=self.queue + SUSPECTS,
            activities=[steps.take_turn, steps.run_tool],
            **_HEARTBEATS,
        )

    async def start(self, deadline: float | None = None) -> Handle:
        run = RunRef(str(uuid4()), str(uuid4()), deadline)
        handle: Handle = await self.client.start_workflow(AGENT_RUN, run, id=_id(run), task_queue=self.queue)
        return handle

    async def conduct(self, steps: ScriptedSteps) -> Handle:
        """Start a run and follow it to the end of its workflow."""
        async with self.worker(steps):
            handle = await self.start()
            await ended(handle)
        return handle


def _id(run: RunRef) -> str:
    return workflow_id(UUID(run.tenant_id), UUID(run.run_id))


async def ended(handle: Handle) -> None:
    await asyncio.wait_for(handle.result(), PATIENCE)


async def wake(handle: Handle, control_seq: int, *, stop: bool = False) -> None:
    await handle.signal(WAKE, Wake(control_seq, stop))


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that must become true."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        await asyncio.sleep(0.01)


async def attend(seconds: float) -> None:
    """Work that heartbeats; ends early when it is cancelled, as a step of the platform does not."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        activity.heartbeat()
        await asyncio.sleep(0.05)
