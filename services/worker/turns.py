"""One `take_turn`: read what is asked and what comes next, do it, and go on by itself for a slice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from libs.clients.openai import ModelAnswer, ModelFailed
from libs.contracts.workflow import CallPlan, Step, Unfinished
from libs.database.steps import Change, EffectTaken
from libs.domain import events
from libs.domain.agent_loop import Action, CallModel, Cancel, Conclude, Done, Fail, Pause, RunCalls, next_action
from libs.domain.budget import BudgetExceeded
from libs.domain.errors import Failure
from libs.domain.events import NewEvent
from libs.domain.retries import backoff
from libs.domain.run_log import Call, Turn
from services.worker.bench import Slice, Workbench
from services.worker.control import Watched
from services.worker.conversation import conversation
from services.worker.endings import Endings
from services.worker.inline import InlineCalls
from services.worker.journal import View
from services.worker.keys import RunKey
from services.worker.model_steps import Answered, ModelSteps, Opening, Stopped
from services.worker.tool_steps import ToolSteps
from services.worker.trying import TryAgain
from services.worker.unfinished import UnfinishedCalls

TWIN_POLL_SECONDS = 0.25


class TakingTurn:
    """The steps of one activity."""

    def __init__(self, bench: Workbench, run: RunKey, watched: Watched, listed: Callable[[str], None]) -> None:
        self._bench = bench
        self._run = run
        self._watched = watched
        self._slice = Slice(bench.slice_seconds)
        self._endings = Endings(bench)
        self._models = ModelSteps(bench, self._endings, watched, listed)
        self._tools = ToolSteps(bench, watched.claim, listed)
        self._inline = InlineCalls(bench, self._tools, watched)
        self._unfinished = UnfinishedCalls(bench, self._tools)
        self._opening: Opening | None = None  # already committed
        self._answers = 0

    async def take(self, unfinished: Sequence[Unfinished]) -> Step:
        """Go on with the run until it ends, waits, needs calls of their own, or the slice is over."""
        if unfinished:
            view = await self._unfinished.record(await self._load(), unfinished)
        else:
            view = await self._begin()
        while True:
            if self._watched.asked:
                view = await self._load()
            view = await self._resumed(view)
            action = next_action(view.log, view.now, self._bench.model_attempts)
            going = self._may_go_on  # asked once: the slice may end between two looks
            view = await self._given_back(view, action, going)
            match action:
                case Done():
                    self._bench.journal.forget(self._run)
                    return Step(finished=True)
                case RunCalls(turn, calls):
                    if not going or not (fit := self._inline.fitting(view, turn, calls)):
                        return await self._handed_over(view, turn, calls)
                    view = await self._run_inline(view, turn, fit)
                case CallModel(turn):
                    if self._answers and not self._may_go_on and self._opening is None:
                        return Step()
                    try:
                        view = await self._call_model(view, turn)
                    except _HandBack:
                        return Step()
                case Pause():
                    view = await self._endings.quiet(view)
                    parked = await self._endings.pause(view)
                    if parked is not None and parked.state.desired == "paused":
                        return _waiting(parked)
                    view = await self._load()
                case _:
                    view = await self._ended(view, action)

    async def _begin(self) -> View:
        """Load, and where a model call is next, open it at once."""
        wanted: list[Opening] = []

        def decide(view: View) -> Change | None:
            action = next_action(view.log, view.now, self._bench.model_attempts)
            asked = view.state.status in ("pausing", "paused")
            if asked or view.log.open_attempt is not None or not isinstance(action, CallModel):
                return None
            try:
                wanted.append(self._models.opening(view, action.turn, conversation(view), view.log.last_seq))
            except (BudgetExceeded, ModelFailed):
                return None
            return self._models.change_to_open(view, wanted[0])

        try:
            view = await self._bench.journal.begin(self._run, decide)
        except EffectTaken:
            return await self._load()
        self._watched.seen(view.state.control_seq)
        mine = view.log.open_attempt
        if wanted and mine is not None and mine.claim == self._watched.claim:
            self._opening = wanted[0]
        return view

    @property
    def _may_go_on(self) -> bool:
        return self._slice.open and not self._watched.asked and not self._watched.leaving

    async def _load(self) -> View:
        view = await self._bench.journal.load(self._run)
        self._watched.seen(view.state.control_seq)
        return view

    async def _given_back(self, view: View, action: Action, going: bool) -> View:
        """Close what was opened here and is not sent after all, lest the run waits for it."""
        if not (going and isinstance(action, RunCalls)):
            view = await self._inline.give_back(view)
        mine = view.log.open_attempt
        if isinstance(action, CallModel) or mine is None or mine.claim != self._watched.claim:
            return view
        self._opening = None  # not known where the answer of the commit that opened it was lost
        await self._models.give_back(view, mine.number)
        return await self._load()

    async def _ended(self, view: View, action: Cancel | Fail | Conclude) -> View:
        if isinstance(action, Conclude):
            return await self._endings.conclude(view, action.turn) or await self._load()
        view = await self._endings.quiet(view)
        failure = action.failure if isinstance(action, Fail) else None
        ended = await self._endings.end(view, "failed" if failure else "cancelled", failure)
        return ended or await self._load()

    async def _resumed(self, view: View) -> View:
        """A run that was to pause and now is to go on: say that it runs."""
        while view.state.status in ("pausing", "paused") and view.state.desired == "run":
            change = Change(
                (NewEvent(events.RUN_RESUMED, {}, events.resumed(view.state.control_seq)),),
                require_control=view.state.control_seq,
                require_desired_run=True,
                control_seen=view.state.control_seq,
                status="running",
            )
            view = await self._bench.journal.commit(view, change) or await self._load()
        return view

    # Model calls

    async def _call_model(self, view: View, turn: int) -> View:
        opening, self._opening = self._opening, None
        if opening is None or opening.turn != turn:
            opened = await self._opened(view, turn)
            if opened is None:
                return await self._load()
            view, opening = opened
        answer = ModelAnswer()
        try:
            with self._slice.not_counted():
                answered = await self._models.ask(view, opening, answer)
        except (ModelFailed, Stopped) as failed:
            await self._models.close(view, opening, answer, failed)
            return await self._after_failure(failed)
        self._answers += 1
        return await self._commit_answer(view, opening, answered)

    async def _opened(self, view: View, turn: int) -> tuple[View, Opening] | None:
        """Open a call; None when somebody else is at it, when the budget ended the run, or the fence did not hold."""
        mine = view.log.open_attempt
        if mine is not None and mine.claim == self._watched.claim:  # opened by a commit whose answer was lost
            return view, self._models.opening(view, turn, conversation(view), view.log.last_seq, mine.number)
        if view.log.open_attempt is not None and await self._endings.in_flight(view):
            await asyncio.sleep(TWIN_POLL_SECONDS)
            return None
        try:
            opening = self._models.opening(view, turn, conversation(view), view.log.last_seq)
        except BudgetExceeded as exceeded:
            await self._endings.end(view, "failed", exceeded.failure)
            return None
        except ModelFailed as failed:
            await self._endings.end(view, "failed", Failure("model_error", failed.message))
            return None
        opened = await self._models.open(view, opening)
        return None if opened is None else (opened, opening)

    async def _after_failure(self, failed: ModelFailed | Stopped) -> View:
        view = await self._load()
        if isinstance(failed, Stopped):
            if failed.code == events.HANDED_BACK:
                raise _HandBack
            return view
        tries = view.log.failed_attempts
        if not failed.retryable or tries >= self._bench.model_attempts:
            return view
        if self._answers:
            raise _HandBack
        after = failed.retry_after if failed.retry_after is not None else backoff(tries)
        raise TryAgain(failed.code, failed.message, after)

    async def _commit_answer(self, view: View, opening: Opening, answered: Answered) -> View:
        """Commit a paid answer with what follows from it; without that, if something was asked meanwhile."""
        storing = await self._bench.journal.store_large(
            view.run, answered.change.events[0], "content", f"t{opening.turn}/{opening.attempt}/content"
        )
        refused = self._tools.refused(view, opening.turn, answered.calls)
        base = replace(answered.change, events=(storing, *refused), control_seen=view.state.control_seq)
        committed = await self._bench.journal.commit(view, await self._with_what_follows(view, opening, answered, base))
        if committed is None:
            view = await self._load()
            committed = await self._bench.journal.commit(view, replace(base, control_seen=None))
        if committed is not None:
            return committed
        view = await self._load()
        last = view.log.turns[opening.turn - 1] if len(view.log.turns) >= opening.turn else None
        if (last is None or last.attempt != opening.attempt) and base.closed is not None:
            await self._bench.journal.settle(view, base.closed)
        return view

    async def _with_what_follows(self, view: View, opening: Opening, answered: Answered, base: Change) -> Change:
        """The end of the run, or the openings of the turn's fast calls, if nothing else was asked of the run."""
        change = replace(base, require_control=view.state.control_seq)
        if not answered.calls:
            verdict = await self._endings.judge(
                view, opening.turn, opening.attempt, answered.content, answered.finish_reason
            )
            return verdict.added_to(change)
        if not self._may_go_on:
            return base
        started = self._inline.open_with_turn(view, opening.turn, answered.calls)
        if not started:
            return base
        return replace(change, events=change.events + started, require_desired_run=True)

    # Tool calls

    async def _run_inline(self, view: View, turn: Turn, calls: tuple[Call, ...]) -> View:
        view, self._opening = await self._inline.run(view, turn, calls, self._slice, self._next_opening)
        return view

    def _next_opening(self, view: View, messages: list[dict[str, object]], input_seq: int) -> Opening | None:
        """The next model call, to be opened by the commit of the last result; None when that needs a decision."""
        limit = view.state.limit_steps
        if not self._may_go_on or (limit is not None and view.state.turn >= limit):
            return None
        if view.log.rejections or view.log.fatal is not None:
            return None
        try:
            return self._models.opening(view, view.state.turn + 1, conversation(view, messages), input_seq)
        except (BudgetExceeded, ModelFailed):
            return None

    async def _handed_over(self, view: View, turn: Turn, calls: tuple[Call, ...]) -> Step:
        return Step(calls=[self._reference(view, turn, call) for call in calls])

    def _reference(self, view: View, turn: Turn, call: Call) -> CallPlan:
        known = view.version.functions.get(call.name)
        if known is None:  # a worker that has the tool wrote the turn; the activity says that this one has not
            return CallPlan(turn.number, call.index, call.name)
        return CallPlan(turn.number, call.index, call.name, known[1].timeout_seconds, known[1].queue)


class _HandBack(Exception):
    """Return to the workflow; the next activity goes on."""


def _waiting(view: View) -> Step:
    return Step(waiting=True, control_seq=view.state.control_seq)
