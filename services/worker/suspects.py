"""Steps whose worker died twice: made one at a time, each by a child process, so that only the child can die of it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from temporalio import activity
from temporalio.exceptions import ApplicationError

from libs.contracts.workflow import RUN_TOOL, TAKE_TURN, WORKER_LOST, CallRef, Step, ToolOutcome, TurnRequest
from services.worker.activities.attended import attended, reported
from services.worker.activities.steps import StepActivities, this_run
from services.worker.control import ControlWatch
from services.worker.keys import RunKey

SUSPECT = "--suspect"
STOP_SECONDS = 10.0
_REQUESTS: dict[str, TypeAdapter[Any]] = {TAKE_TURN: TypeAdapter(TurnRequest), RUN_TOOL: TypeAdapter(CallRef)}
_RESULTS: dict[str, TypeAdapter[Any]] = {TAKE_TURN: TypeAdapter(Step), RUN_TOOL: TypeAdapter(ToolOutcome)}


class SuspectActivities:
    """The same activities, in a child process that runs `module` as this one does."""

    def __init__(self, control: ControlWatch, module: str) -> None:
        self._control = control
        self._module = module

    @activity.defn(name=TAKE_TURN)
    async def take_turn(self, request: TurnRequest) -> Step:
        step: Step = await self._in_child(TAKE_TURN, request)
        return step

    @activity.defn(name=RUN_TOOL)
    async def run_tool(self, request: CallRef) -> ToolOutcome:
        outcome: ToolOutcome = await self._in_child(RUN_TOOL, request)
        return outcome

    async def _in_child(self, name: str, request: TurnRequest | CallRef) -> Any:
        run = this_run()
        async with self._control.attend(run) as watched:
            return await attended(self._child(name, run, _REQUESTS[name].dump_json(request)), watched)

    async def _child(self, name: str, run: RunKey, request: bytes) -> Any:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            SUSPECT,
            name,
            str(run.tenant_id),
            str(run.run_id),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            output, _ = await child.communicate(request)
        finally:
            await _stop(child)
        if child.returncode != 0:
            raise ApplicationError("The process that made this step died.", type=WORKER_LOST, non_retryable=True)
        answer = json.loads(output)
        if "error" in answer:
            raise failure_of(answer["error"])
        return _RESULTS[name].validate_python(answer["result"])


async def _stop(child: asyncio.subprocess.Process) -> None:
    """End a child that is still there: in order, or else at once."""
    if child.returncode is not None:
        return
    with suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), STOP_SECONDS)
            return
        child.kill()


def told_of(failure: ApplicationError) -> dict[str, Any]:
    """What a child says of a failure; `next_retry_delay` in seconds, None where Temporal's policy decides."""
    delay = failure.next_retry_delay
    return {
        "type": failure.type,
        "message": failure.message,
        "non_retryable": failure.non_retryable,
        "next_retry_delay": None if delay is None else delay.total_seconds(),
    }


def failure_of(told: dict[str, Any]) -> ApplicationError:
    """The failure that a child told of."""
    delay = told["next_retry_delay"]
    return ApplicationError(
        told["message"],
        type=told["type"],
        non_retryable=told["non_retryable"],
        next_retry_delay=None if delay is None else timedelta(seconds=delay),
    )


async def make_step(activities: StepActivities, name: str, tenant_id: str, run_id: str) -> None:
    """The child's side: one step, from standard input to standard output."""
    run = RunKey(UUID(tenant_id), UUID(run_id))
    request = _REQUESTS[name].validate_json(await asyncio.to_thread(sys.stdin.buffer.read))
    try:
        result = await activities.step(run, request)
        answer: dict[str, Any] = {"result": json.loads(_RESULTS[name].dump_json(result))}
    except Exception as error:
        answer = {"error": told_of(reported(error))}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
