"""Calls inside a slice, in parallel, each result committed as it comes.

Reads and idempotent calls are given back when the slice ends. A `write` that was sent is waited for: it is never
repeated, and so never handed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from libs.database.steps import Change
from libs.domain import events
from libs.domain.events import NewEvent
from libs.domain.outputs import Unacceptable
from libs.domain.run_log import Call, Result, Turn
from libs.domain.tools import CallFailed, Effect, OutcomeUnknown
from services.worker.bench import Slice, Workbench
from services.worker.control import Watched
from services.worker.journal import View
from services.worker.liveness import suspended_clock
from services.worker.model_steps import Opening
from services.worker.stopping import STOP_PATIENCE, aborted, until_deadline, why_stopped
from services.worker.tool_steps import Outcome, Prepared, ToolSteps, may_repeat

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
        self._opened_at: dict[tuple[int, int], float] = {}  # when the opening was begun, by turn and call

    def fitting(self, view: View, turn: Turn, calls: Sequence[Call]) -> tuple[Call, ...]:
        """Those of the unanswered calls that may be made here and were not tried before."""
        fit = []
        for prepared in self._here(view, calls):
            attempt = turn.last_attempt(prepared.call.index)
            if attempt is None or (attempt.open and attempt.claim == self._tools.claim):
                fit.append(prepared.call)
        return tuple(fit)

    def open_with_turn(self, view: View, turn: int, calls: Sequence[Call]) -> tuple[NewEvent, ...]:
        """Openings that go with the commit of the turn; they count only if it succeeds."""
        started = self._here(view, calls)
        for prepared in started:
            self._opened_at.setdefault((turn, prepared.call.index), suspended_clock())
        return tuple(self._tools.started(view, turn, prepared, ATTEMPT) for prepared in started)

    def _here(self, view: View, calls: Sequence[Call]) -> list[Prepared]:
        """Calls without a queue of their own; no `write` beside one that has: that call would have to wait for it."""
        prepared = []
        for call in calls:
            with suppress(Unacceptable):
                prepared.append(self._tools.prepare(view, call))
        here = [item for item in prepared if item.function.queue is None]
        return here if len(here) == len(prepared) else [item for item in here if not _is_write(item)]

    async def run(
        self, view: View, turn: Turn, calls: Sequence[Call], slice_: Slice, next_opening: NextOpening
    ) -> tuple[View, Opening | None]:
        """Make the calls. With the last result the next model call is opened, if `next_opening` has one."""
        opened = await self._opened(view, turn, calls)
        if opened is None:
            return await self._bench.journal.load(view.run), None
        view = opened
        answered = view.log.turns[turn.number - 1].results  # by somebody else, before the opening
        wanted = self._here(view, [call for call in calls if call.index not in answered])
        tasks = {asyncio.create_task(self._performed(view, turn, item)): item for item in wanted}
        opening: Opening | None = None
        faults: list[Exception] = []  # raised when the others have ended: a `write` of theirs would become unknown
        try:
            while tasks:
                done = await self._some_done(view, turn, tasks, slice_)
                for task in done:
                    item = tasks.pop(task)
                    try:
                        view, opening = await self._committed(view, turn, item, task.result(), next_opening)
                    except Exception as fault:
                        faults.append(fault)
                if not done:
                    view = await self._interrupted(view, turn, tasks)
        finally:
            await _abort(tasks)
        if faults:
            raise faults[0]
        return view, opening

    async def _performed(self, view: View, turn: Turn, item: Prepared) -> Outcome:
        opened_at = self._opened_at[turn.number, item.call.index]
        return await self._tools.perform(view, turn.number, item, ATTEMPT, opened_at)

    async def _opened(self, view: View, turn: Turn, calls: Sequence[Call]) -> View | None:
        """Open what the commit of the turn did not."""
        missing = [call for call in calls if turn.last_attempt(call.index) is None]
        if not missing:
            return view
        started = self.open_with_turn(view, turn.number, missing)
        change = Change(started, require_turn=turn.number, require_desired_run=True)
        return await self._bench.journal.commit(view, change)

    async def _some_done(
        self, view: View, turn: Turn, tasks: dict[asyncio.Task[Outcome], Prepared], slice_: Slice
    ) -> set[asyncio.Task[Outcome]]:
        """Calls that ended; none when something is asked, or the slice is over.

        With a `write` among them it is over at the deadline of the run, or when a tool does not heed its time limit.
        """
        timeout: float | None = slice_.remaining
        if writes := [item for item in tasks.values() if _is_write(item)]:
            left = [self._time_left(turn, item) for item in writes]
            timeout = max(0.01, min([*left, until_deadline(view) or left[0]]))
        if self._watched.leaving and len(writes) < len(tasks):
            timeout = 0  # those that may be repeated are given back
        changed = asyncio.create_task(self._watched.changed.wait())
        try:
            waits: set[asyncio.Task[Any]] = {*tasks, changed}
            done, _ = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        return {task for task in tasks if task in done}

    async def _committed(
        self, view: View, turn: Turn, item: Prepared, outcome: Outcome, next_opening: NextOpening
    ) -> tuple[View, Opening | None]:
        if outcome.failed is not None:
            return await self._failed(view, turn, item, outcome.failed), None
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

    async def _failed(self, view: View, turn: Turn, item: Prepared, failed: CallFailed) -> View:
        if may_repeat(item.function, failed):
            return await self._closed(view, turn, item, failed)
        return await self._recorded(view, self._tools.unknown(turn.number, item.call, item.function, ATTEMPT))

    async def _closed(self, view: View, turn: Turn, item: Prepared, failed: CallFailed) -> View:
        event = self._tools.closed(view, turn.number, item.call.index, ATTEMPT, failed, failed.retry_after)
        return await self._recorded(view, event)

    async def _recorded(self, view: View, event: NewEvent) -> View:
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

    async def _interrupted(self, view: View, turn: Turn, tasks: dict[asyncio.Task[Outcome], Prepared]) -> View:
        """Give back what may be repeated, to activities of its own. Only the end of its run ends a `write`."""
        repeatable = {task: item for task, item in tasks.items() if not _is_write(item)}
        await _abort(repeatable)
        for task, item in repeatable.items():
            del tasks[task]
            view = await self._closed(view, turn, item, HandedBack("The slice of the step ended."))
        stop: CallFailed | None = await why_stopped(lambda: self._load(view)) if tasks else None
        ended = {task: item for task, item in tasks.items() if stop or self._time_left(turn, item) <= 0}
        stop = stop or OutcomeUnknown("The tool did not end in its time.")
        outcomes = await asyncio.gather(*(aborted(task, stop) for task in ended))
        for (task, item), outcome in zip(ended.items(), outcomes, strict=True):
            del tasks[task]
            view, _ = await self._committed(view, turn, item, outcome, _nothing)
        return view

    def _time_left(self, turn: Turn, item: Prepared) -> float:
        """Seconds until a tool that ignores its time limit is left behind."""
        latest = self._opened_at[turn.number, item.call.index] + item.function.timeout_seconds + STOP_PATIENCE
        return latest - suspended_clock()

    async def _load(self, view: View) -> View:
        view = await self._bench.journal.load(view.run)
        self._watched.seen(view.state.control_seq)
        return view


def _is_write(item: Prepared) -> bool:
    return item.function.effect is Effect.WRITE


def _nothing(_: View, __: list[dict[str, object]], ___: int) -> None:
    """The run does not go on: no model call is next."""


async def _abort(tasks: Collection[asyncio.Task[Outcome]]) -> None:
    """End them; a tool that does not stop is left behind."""
    for task in tasks:
        task.cancel()
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=STOP_PATIENCE)
        await asyncio.gather(*done, return_exceptions=True)
