"""One `run_tool`: make one call of the log's last turn, if it still may be made, and commit its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from libs.contracts.workflow import CallRef, ToolOutcome
from libs.database.steps import Change, EffectTaken
from libs.domain import events
from libs.domain.events import NewEvent
from libs.domain.outputs import Unacceptable
from libs.domain.retries import backoff
from libs.domain.run_log import Attempt, Turn
from libs.domain.tools import CallFailed, Effect, OutcomeUnknown
from services.worker import keys
from services.worker.bench import Workbench
from services.worker.control import Watched
from services.worker.inline import HandedBack
from services.worker.journal import View
from services.worker.keys import RunKey
from services.worker.liveness import suspended_clock
from services.worker.stopping import RunStopped, aborted, until_deadline, why_stopped
from services.worker.tool_steps import Outcome, Prepared, ToolSteps, may_repeat
from services.worker.trying import TryAgain
from services.worker.turns import TWIN_POLL_SECONDS

ATTEMPTS = 5


class RunningTool:
    """The attempt of one activity at one call."""

    def __init__(self, bench: Workbench, run: RunKey, watched: Watched, listed: Callable[[str], None]) -> None:
        self._bench = bench
        self._run = run
        self._watched = watched
        self._tools = ToolSteps(bench, watched.claim, listed)

    async def make(self, ref: CallRef) -> ToolOutcome:
        """Make the call unless its result is there or the run is not to go on."""
        began = suspended_clock()
        view = await self._begin(ref)
        while True:
            if not _may_run(view, ref):
                return ToolOutcome()
            turn = view.log.turns[ref.turn - 1]
            left_open = turn.last_attempt(ref.index)
            if left_open is None or not left_open.open:
                _await_retry(view, left_open)
                return await self._attempt(view, turn, ref, None)
            if left_open.claim == self._watched.claim:  # just now, or by a commit whose answer was lost
                prepared = self._tools.prepare(view, turn.calls[ref.index])
                return await self._send(view, turn, prepared, left_open.number, began)
            if await self._is_alive(turn, ref, left_open):
                await asyncio.sleep(TWIN_POLL_SECONDS)
                view = await self._load()
                continue
            return await self._attempt(view, turn, ref, left_open)

    async def _begin(self, ref: CallRef) -> View:
        """Load, and open the call at once if nobody has tried it yet."""

        def decide(view: View) -> Change | None:
            if not _may_run(view, ref):
                return None
            turn = view.log.turns[ref.turn - 1]
            if turn.last_attempt(ref.index) is not None:
                return None
            try:
                prepared = self._tools.prepare(view, turn.calls[ref.index])
            except Unacceptable:
                return None
            return self._change_to_open(view, turn, prepared, 1, None)

        try:
            view = await self._bench.journal.begin(self._run, decide)
        except EffectTaken:
            return await self._load()
        self._watched.seen(view.state.control_seq)
        return view

    async def _load(self) -> View:
        view = await self._bench.journal.load(self._run)
        self._watched.seen(view.state.control_seq)
        return view

    async def _is_alive(self, turn: Turn, ref: CallRef, attempt: Attempt) -> bool:
        call = keys.tool_call(self._run, turn.number, ref.index, attempt.number)
        return await self._bench.liveness.is_alive(attempt, call)

    async def _attempt(self, view: View, turn: Turn, ref: CallRef, dead: Attempt | None) -> ToolOutcome:
        call = turn.calls[ref.index]
        try:
            prepared = self._tools.prepare(view, call)
        except Unacceptable as problem:  # a tool that this worker does not have
            await self._commit(view, self._tools.given_up(turn.number, call, 0, str(problem)))
            return ToolOutcome()
        if dead is not None and prepared.function.effect is Effect.WRITE:
            await self._commit(view, self._tools.unknown(turn.number, call, prepared.function, dead.number))
            return ToolOutcome()
        number = len(turn.attempts.get(ref.index, [])) + 1
        opened_at = suspended_clock()
        opened = await self._bench.journal.commit(view, self._change_to_open(view, turn, prepared, number, dead))
        if opened is None:
            return await self.make(ref)
        if ref.index in turn.results:  # somebody else's result came just before: nothing is sent
            return ToolOutcome()
        return await self._send(opened, turn, prepared, number, opened_at)

    def _change_to_open(self, view: View, turn: Turn, prepared: Prepared, number: int, dead: Attempt | None) -> Change:
        found = [self._tools.started(view, turn.number, prepared, number)]
        if dead is not None:
            lost = OutcomeUnknown("The worker of this attempt is gone.")
            lost.code = events.WORKER_LOST
            found.insert(0, self._tools.closed(view, turn.number, prepared.call.index, dead.number, lost))
        return Change(tuple(found), require_turn=turn.number, require_desired_run=True)

    async def _send(self, view: View, turn: Turn, prepared: Prepared, number: int, opened_at: float) -> ToolOutcome:
        outcome = await self._performed(view, turn, prepared, number, opened_at)
        if outcome.result is not None:
            _, change = await self._tools.completed(view, turn.number, prepared, number, outcome)
            await self._bench.journal.commit(view, change)
            return ToolOutcome()
        failed = outcome.failed or OutcomeUnknown("The call ended without a result.")
        return await self._after_failure(view, turn, prepared, number, failed)

    async def _performed(self, view: View, turn: Turn, prepared: Prepared, number: int, opened_at: float) -> Outcome:
        task = asyncio.create_task(self._tools.perform(view, turn.number, prepared, number, opened_at))
        try:
            while True:
                changed = asyncio.create_task(self._watched.changed.wait())
                timeout = 0 if self._hands_back(prepared) else until_deadline(view)
                await asyncio.wait((task, changed), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if task.done():
                    return task.result()
                if (stop := await self._must_stop(prepared)) is not None:
                    return await aborted(task, stop)
        finally:
            task.cancel()

    async def _must_stop(self, prepared: Prepared) -> CallFailed | None:
        """Why the call in progress is to be aborted; None when it goes on."""
        if self._hands_back(prepared):
            return HandedBack("The worker stops; another one goes on.")
        return await why_stopped(self._load)

    def _hands_back(self, prepared: Prepared) -> bool:
        return self._watched.leaving and prepared.function.effect is not Effect.WRITE

    async def _after_failure(
        self, view: View, turn: Turn, prepared: Prepared, number: int, failed: CallFailed
    ) -> ToolOutcome:
        if isinstance(failed, OutcomeUnknown) and not may_repeat(prepared.function, failed):
            await self._commit(view, self._tools.unknown(turn.number, prepared.call, prepared.function, number))
            return ToolOutcome()
        if isinstance(failed, HandedBack | RunStopped):  # whoever goes on need not wait
            await self._commit(view, self._tools.closed(view, turn.number, prepared.call.index, number, failed))
            return ToolOutcome(again=isinstance(failed, HandedBack))
        tries = turn.failures(prepared.call.index) + 1
        after = failed.retry_after if failed.retry_after is not None else backoff(tries)
        closed = self._tools.closed(view, turn.number, prepared.call.index, number, failed, after)
        if tries >= ATTEMPTS:
            await self._commit(view, closed, self._tools.given_up(turn.number, prepared.call, number, failed.message))
            return ToolOutcome()
        await self._commit(view, closed)
        raise TryAgain(failed.code, failed.message, after)

    async def _commit(self, view: View, *found: NewEvent) -> None:
        """Commit; when somebody else recorded the effect first, theirs stands."""
        await self._bench.journal.commit(view, Change(found))


def _await_retry(view: View, last: Attempt | None) -> None:
    """Raises TryAgain before the moment that the last attempt was told to wait for."""
    if last is not None and last.retry_at is not None and (rest := (last.retry_at - view.now.now).total_seconds()) > 0:
        raise TryAgain(last.code or "", "The tool asked for some time.", rest)


def _may_run(view: View, ref: CallRef) -> bool:
    """Whether the call is wanted still; `take_turn` decides what else is to happen."""
    if view.state.finished or view.state.desired != "run" or view.state.overdue:
        return False
    if ref.turn != len(view.log.turns):
        return False
    return ref.index not in view.log.turns[ref.turn - 1].results
