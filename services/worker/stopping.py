"""Ending a tool call that is in progress, and only where its run is not to go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from libs.database.engine import is_unavailable
from libs.domain import events
from libs.domain.tools import CallFailed
from services.worker.journal import View
from services.worker.tool_steps import Outcome

STOP_PATIENCE = 10.0  # seconds that a cancelled tool has to end
LOOK_AGAIN = 0.1  # seconds; the database's clock may be behind


class RunStopped(CallFailed):
    """The run was cancelled while the call was in progress."""

    code = events.STOPPED


def until_deadline(view: View) -> float | None:
    """Seconds until a step is to look whether its run is overdue, lest nobody tells it in time; None for never."""
    left = view.now.time_left
    return None if left is None else max(LOOK_AGAIN, left)


async def why_stopped(load: Callable[[], Awaitable[View]]) -> RunStopped | None:
    """Why a call of the run is to be aborted; None when it goes on, and while the database is away."""
    try:
        view = await load()
    except Exception as error:
        if not is_unavailable(error):
            raise
        await asyncio.sleep(0.5)
        return None
    if view.state.finished or view.state.desired == "cancelled" or view.state.overdue:
        return RunStopped("The run is not to go on.")
    return None


async def aborted(task: asyncio.Task[Outcome], stop: CallFailed) -> Outcome:
    """Abort a call and say what is known of it; a tool that does not stop is left behind."""
    task.cancel()
    began = time.monotonic()
    while not task.done() and time.monotonic() - began < STOP_PATIENCE:
        await asyncio.wait((task,), timeout=0.1)
    if task.done() and not task.cancelled() and task.exception() is None and task.result().result is not None:
        return task.result()  # it was faster
    return Outcome(failed=stop)
