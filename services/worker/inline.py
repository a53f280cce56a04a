"""Fast calls inside a slice: reads and idempotent calls, in parallel, each result committed as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from libs.database.steps import Change
from libs.domain import events
from libs.domain.events import NewEvent
from libs.domain.outputs import Unacceptable
from libs.domain.run_log import Call, Result, Turn
from libs.domain.tools import CallFailed, Effect
from services.worker.bench import Slice, Workbench
from services.worker.control import Watched
from services.worker.journal import View
from services.worker.model_steps import Opening
from services.worker.tool_steps import Outcome, Prepared, ToolSteps

NextOpening = Callable[[View, list[dict[str, Any]], int], Opening | None]
ATTEMPT = 1  # a call that failed once is run by an activity of its own


class HandedBack(CallFailed):
    """The slice ended, or the run was stopped; the call is safe to repeat."""

    code = events.HANDED_BACK


class InlineCalls:
    """Calls that `take_turn` makes itself."""

    def __init__(self, bench: Workbench, tools: ToolSteps, watched: Watched) -> None:
        self._bench = bench
        self._tools = tools
        self._watched = watched

    def fits(self, view: View, turn: Turn, call: Call) -> bool:
        """Whether the call may be made here: fast and safe to repeat, and not tried before."""
        attempt = turn.last_attempt(call.index)
        if attempt is not None and not (attempt.open and attempt.claim == self._tools.claim):
            return False
        return self._prepared(view, call) is not None

    def open_with_turn(self, view: View, turn: int, calls: Sequence[Call]) -> tuple[NewEvent, ...]:
        """Openings that go with the commit of the turn; they count only if it succeeds."""
        started = [self._prepared(view, call) for call in calls]
        return tuple(self._tools.started(view, turn, prepared, ATTEMPT) for prepared in started if prepared)

    def _prepared(self, view: View, call: Call) -> Prepared | None:
        try:
            prepared = self._tools.prepare(view, call)
        except Unacceptable:
            return None
        function = prepared.function
        return prepared if function.effect is not Effect.WRITE and function.queue is None else None

    async def run(
        self, view: View, turn: Turn, calls: Sequence[Call], slice_: Slice, next_opening: NextOpening
    ) -> tuple[View, Opening | None]:
        """Make the calls. With the last result the next model call is opened, if `next_opening` has one."""
        opened = await self._opened(view, turn, calls)
        if opened is None:
            return await self._bench.journal.load(view.run), None
        view = opened
        prepared = {call.index: item for call in calls if (item := self._prepared(view, call)) is not None}
        tasks = {
            asyncio.create_task(self._tools.perform(view, turn.number, item, ATTEMPT)): item
            for item in prepared.values()
        }
        opening: Opening | None = None
        try:
            while tasks:
                done = await self._some_done(tasks, slice_)
                for task in done:
                    item = tasks.pop(task)
                    view, opening = await self._committed(view, turn, item, task.result(), next_opening)
                if not done:
                    view = await self._handed_back(view, turn, tasks)
        finally:
            await _abort(tasks)
        return view, opening

    async def _opened(self, view: View, turn: Turn, calls: Sequence[Call]) -> View | None:
        """Open what the commit of the turn did not."""
        missing = [call for call in calls if turn.last_attempt(call.index) is None]
        if not missing:
            return view
        started = self.open_with_turn(view, turn.number, missing)
        change = Change(started, require_turn=turn.number, require_desired_run=True)
        return await self._bench.journal.commit(view, change)

    async def _some_done(
        self, tasks: dict[asyncio.Task[Outcome], Prepared], slice_: Slice
    ) -> set[asyncio.Task[Outcome]]:
        """Calls that ended; none when the slice is over or something is asked."""
        changed = asyncio.create_task(self._watched.changed.wait())
        try:
            waits: set[asyncio.Task[Any]] = {*tasks, changed}
            done, _ = await asyncio.wait(waits, timeout=slice_.remaining, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        return {task for task in tasks if task in done}

    async def _committed(
        self, view: View, turn: Turn, item: Prepared, outcome: Outcome, next_opening: NextOpening
    ) -> tuple[View, Opening | None]:
        if outcome.failed is not None:
            return await self._closed(view, turn, item, outcome.failed), None
        found, change = await self._tools.completed(view, turn.number, item, ATTEMPT, outcome)
        opening = self._opening_after(view, turn, item, found, next_opening)
        if opening is not None:
            with_next = replace(
                change,
                events=(*change.events, opening.event),
                require_turn=turn.number,
                require_control=view.state.control_seq,
                require_desired_run=True,
                control_seen=view.state.control_seq,
                opened=opening.opened,
            )
            committed = await self._bench.journal.commit(view, with_next)
            if committed is not None:
                return committed, opening
        committed = await self._bench.journal.commit(view, change)
        return committed or await self._bench.journal.load(view.run), None

    def _opening_after(
        self, view: View, turn: Turn, item: Prepared, found: list[NewEvent], next_opening: NextOpening
    ) -> Opening | None:
        """The next model call, if this is the last result of the turn."""
        if {call.index for call in turn.unanswered} != {item.call.index}:
            return None
        data = found[0].whole
        messages = view.log.messages_with({item.call.index: Result(data["content"], data["is_error"])})
        return next_opening(view, messages, view.log.last_seq + len(found))

    async def _closed(self, view: View, turn: Turn, item: Prepared, failed: CallFailed) -> View:
        event = self._tools.closed(view, turn.number, item.call.index, ATTEMPT, failed)
        return await self._bench.journal.commit(view, Change((event,))) or await self._bench.journal.load(view.run)

    async def give_back(self, view: View) -> View:
        """Close what was opened with the turn and is not to be made here: nothing of it was sent.

        Left open it would seem to be in flight, on this very process.
        """
        for number, index, attempt in view.log.open_tool_attempts:
            if attempt.claim == self._tools.claim and not view.state.finished:
                failed = HandedBack("The step ended before the call was made.")
                failed.sent = False
                change = Change((self._tools.closed(view, number, index, attempt.number, failed),))
                view = await self._bench.journal.commit(view, change) or await self._bench.journal.load(view.run)
        return view

    async def _handed_back(self, view: View, turn: Turn, tasks: dict[asyncio.Task[Outcome], Prepared]) -> View:
        """Abort what is still going on and close it: activities of their own make these calls."""
        items = list(tasks.values())
        await _abort(tasks)
        tasks.clear()
        for item in items:
            view = await self._closed(view, turn, item, HandedBack("The slice of the step ended."))
        return view


async def _abort(tasks: dict[asyncio.Task[Outcome], Prepared]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
