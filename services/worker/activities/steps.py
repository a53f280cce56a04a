"""The activities of a run: a turn, a tool call, the end that no turn could write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from temporalio import activity

from libs.contracts.workflow import (
    FINISH_RUN,
    RUN_TOOL,
    TAKE_TURN,
    CallRef,
    EndRequest,
    Step,
    ToolOutcome,
    TurnRequest,
)
from libs.observability.context import bound
from services.worker.activities.attended import attended
from services.worker.bench import Workbench
from services.worker.calls import RunningTool
from services.worker.control import ControlWatch, Watched
from services.worker.finishing import finish
from services.worker.journal import RunVanished
from services.worker.keys import RunKey
from services.worker.observing import AGAIN, Observed
from services.worker.turns import TakingTurn

Listed = Callable[[str], None]


class StepActivities:
    """Given its workbench once, in the worker's main module."""

    def __init__(self, bench: Workbench, control: ControlWatch) -> None:
        self._bench = bench
        self._control = control

    @activity.defn(name=TAKE_TURN)
    async def take_turn(self, request: TurnRequest) -> Step:
        async with self._control.attend(this_run()) as watched:
            return await attended(self._turn(request, watched), watched)

    @activity.defn(name=RUN_TOOL)
    async def run_tool(self, call: CallRef) -> ToolOutcome:
        async with self._control.attend(this_run()) as watched:
            return await attended(self._tool(call, watched), watched)

    async def step(self, run: RunKey, request: TurnRequest | CallRef) -> Step | ToolOutcome:
        """The same outside Temporal, for a child process."""
        with self._control.watch(run) as watched:
            if isinstance(request, TurnRequest):
                return await self._turn(request, watched)
            return await self._tool(request, watched)

    async def _turn(self, request: TurnRequest, watched: Watched) -> Step:
        run = watched.run
        with self._working(TAKE_TURN, watched) as (listed, observed):
            try:
                step = await TakingTurn(self._bench, run, watched, listed).take(request.unfinished)
            except RunVanished:
                step = Step(finished=True)
            observed.result = _result(step)
            return step

    async def _tool(self, call: CallRef, watched: Watched) -> ToolOutcome:
        run = watched.run
        with self._working(RUN_TOOL, watched) as (listed, observed):
            try:
                outcome = await RunningTool(self._bench, run, watched, listed).make(call)
            except RunVanished:
                outcome = ToolOutcome()
            observed.result = AGAIN if outcome.again else "done"
            return outcome

    @contextmanager
    def _working(self, step: str, watched: Watched) -> Iterator[tuple[Listed, Observed]]:
        """Around a step: its log lines, its calls in flight, and what it took."""
        in_flight = self._bench.liveness.in_flight(watched.claim)
        with (
            _logged(watched.run),
            in_flight as listed,
            self._bench.observer.step(step, watched.run.run_id, watched.claim) as observed,
        ):
            yield listed, observed

    @activity.defn(name=FINISH_RUN)
    async def finish_run(self, request: EndRequest) -> None:
        async with self._control.attend(this_run()) as watched:
            await attended(self._end(watched, request), watched)

    async def _end(self, watched: Watched, request: EndRequest) -> None:
        run = watched.run
        observing = self._bench.observer.step(FINISH_RUN, run.run_id, watched.claim)
        with _logged(run), observing as observed:
            with suppress(RunVanished):
                await finish(self._bench, run, request)
            observed.result = "done"


def _result(step: Step) -> str:
    """What a turn told the workflow, in a word."""
    if step.finished:
        return "finished"
    if step.waiting:
        return "waiting"
    return "calls" if step.calls else "more"


def this_run() -> RunKey:
    """The run of the activity that is executed."""
    return RunKey.of_workflow(activity.info().workflow_id or "")


def _logged(run: RunKey) -> AbstractContextManager[None]:
    return bound(tenant_id=str(run.tenant_id), run_id=str(run.run_id), trace_id=run.run_id.hex)
