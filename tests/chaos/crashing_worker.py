"""A worker that kills or stops itself at exact points of a run, as the plans in CRASH_PLANS say.

A plan is a file named after the run's model (or after its tenant, for what comes before anything is read):
`{"how": HOW, "where": POINT, "times": 1}`. Each time it strikes it leaves a file with its process id. HOW is SIGKILL,
SIGSTOP, LOST_ANSWER (`before` a commit: it is done, the answer lost), LOST_LATE (lost a while after it was done), or
SLOW (`after` one: dawdle).
With ROLE=steps the worker takes activities only, one at a time, so that nothing but its run is struck with it;
ROLE=conductor takes workflows, and suspects in a child process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.worker import Worker

from libs.clients.openai import ModelAnswer, ModelRequest, Models
from libs.database.engine import Database
from libs.database.steps import Change
from libs.domain.tools import ToolCall, ToolContext, ToolResult
from libs.tools.http import HttpTool
from services.worker import main
from services.worker.activities.steps import StepActivities
from services.worker.journal import Journal, View
from services.worker.keys import RunKey

MODULE = "tests.chaos.crashing_worker"
SLOW_SECONDS = 2.5
WAIT_FOR_THE_SERVICE = 0.4  # seconds; the service answers such calls later


def reach(name: str, where: str) -> str | None:
    """Die or stop here, if there is a plan for it that has not struck yet; what else is planned is told."""
    if (plan := planned(name)) is None or plan["where"] != where:
        return None
    for number in range(plan["times"]):
        try:
            mark = os.open(plans() / f"{name}.struck.{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            continue
        os.write(mark, str(os.getpid()).encode())
        os.close(mark)
        if plan["how"].startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[plan["how"]])
        return str(plan["how"])
    return None


def plans() -> Path:
    return Path(os.environ.get("CRASH_PLANS", "/no plans"))


def planned(name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((plans() / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def points_of(change: Change) -> list[str]:
    """One for each event."""
    return [f"{event.type} {event.data.get('turn', '')}".strip() for event in change.events]


class LosingDatabase:
    """The database whose next commit is done and whose answer is lost."""

    def __init__(self, database: Database, after: float) -> None:
        self._database = database
        self._after = after  # seconds
        self._lost = False

    @asynccontextmanager
    async def single(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.single() as connection:
            yield connection
        if not self._lost:
            self._lost = True
            await asyncio.sleep(self._after)
            raise ConnectionResetError("the test has lost the answer of a commit")


def strike_commits() -> None:
    """Points `before TYPE TURN` and `after TYPE TURN`, for each event of a commit."""
    commit, begin = Journal.commit, Journal.begin

    async def striking(self: Journal, view: View, change: Change) -> View | None:
        name = view.version.spec.model_name
        journal = self
        for point in points_of(change):
            if (how := reach(name, f"before {point}") or "").startswith("LOST"):
                journal = copy(self)
                losing = LosingDatabase(self._database, SLOW_SECONDS if how == "LOST_LATE" else 0)
                journal._database = losing  # type: ignore[assignment]  # what commit needs of it
        committed = await commit(journal, view, change)
        for point in points_of(change) if committed is not None else ():
            if reach(name, f"after {point}") == "SLOW":
                await asyncio.sleep(SLOW_SECONDS)
        return committed

    async def beginning(self: Journal, run: RunKey, decide: Callable[[View], Change | None]) -> View:
        decided: list[tuple[View, Change]] = []

        def deciding(view: View) -> Change | None:
            change = decide(view)
            if change is not None:
                decided.append((view, change))
                for point in points_of(change):
                    reach(view.version.spec.model_name, f"before {point}")
            return change

        view = await begin(self, run, deciding)
        for before, change in decided:
            if view.state.last_seq >= before.state.last_seq + len(change.events):
                for point in points_of(change):
                    reach(view.version.spec.model_name, f"after {point}")
        return view

    Journal.commit = striking  # type: ignore[method-assign]  # this is what the module is for
    Journal.begin = beginning  # type: ignore[method-assign]  # this is what the module is for


def strike_model_calls() -> None:
    """Points `during model TURN`: a piece of the answer has arrived."""
    answer_of = Models.answer

    async def striking(
        self: Models, request: ModelRequest, answer: ModelAnswer, on_text: Callable[[str], None]
    ) -> None:
        turn = 1 + sum(message["role"] == "assistant" for message in request.messages)

        def on_text_striking(text: str) -> None:
            on_text(text)
            reach(request.model, f"during model {turn}")

        await answer_of(self, request, answer, on_text_striking)

    Models.answer = striking  # type: ignore[method-assign]  # this is what the module is for


def strike_tool_calls() -> None:
    """Points `sending TOOL` (nothing was sent), `waiting TOOL` (sent, no answer yet); runs are named by `item`."""
    call_of = HttpTool.call

    async def striking(self: HttpTool, call: ToolCall, context: ToolContext) -> ToolResult:
        name = str(call.arguments.get("item", ""))
        reach(name, f"sending {call.name}")
        work = asyncio.create_task(call_of(self, call, context))
        if (plan := planned(name)) is not None and plan["where"] == f"waiting {call.name}":
            await asyncio.wait((work,), timeout=WAIT_FOR_THE_SERVICE)
            reach(name, f"waiting {call.name}")
        try:
            return await work
        finally:
            work.cancel()

    HttpTool.call = striking  # type: ignore[method-assign]  # this is what the module is for


def strike_beginnings() -> None:
    """Points `take_turn` and `run_tool`: an activity has arrived and nothing was read; plans are named by tenant."""
    turn_of, tool_of = StepActivities._turn, StepActivities._tool

    async def turn(self: StepActivities, request: Any, watched: Any) -> Any:
        reach(str(watched.run.tenant_id), "take_turn")
        return await turn_of(self, request, watched)

    async def tool(self: StepActivities, call: Any, watched: Any) -> Any:
        reach(str(watched.run.tenant_id), "run_tool")
        return await tool_of(self, call, watched)

    StepActivities._turn = turn  # type: ignore[method-assign]  # this is what the module is for
    StepActivities._tool = tool  # type: ignore[method-assign]  # this is what the module is for


class Idle:
    """A worker that is not there."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    async def run(self) -> None:
        await self._told.wait()

    async def shutdown(self) -> None:
        self._told.set()


def in_role(role: str) -> Callable[..., Any]:
    """A maker of Temporal workers that serve a part of what the platform's do."""

    def make(client: Any, **settings: Any) -> Any:
        if "workflows" not in settings:  # suspects: steps that two workers in a row were lost with
            return Worker(client, **settings) if role == "conductor" else Idle()
        if role == "conductor":
            return Worker(client, **{**settings, "activities": []})
        return Worker(client, **{**settings, "workflows": [], "max_concurrent_activities": 1})

    return make


def run(arguments: tuple[str, ...] = ()) -> None:
    """The program."""
    for install in (strike_commits, strike_model_calls, strike_tool_calls, strike_beginnings):
        install()
    if role := os.environ.get("ROLE"):
        setattr(main, "Worker", in_role(role))  # noqa: B010 - a class is replaced by what makes it
    main.run(module=MODULE, arguments=arguments)


if __name__ == "__main__":
    run(tuple(sys.argv[1:]))
