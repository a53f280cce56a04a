"""The calls of one turn, made inside a slice or by activities of their own, where something goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from libs.contracts.workflow import CallRef
from libs.database.steps import Change
from libs.domain import events
from libs.domain.events import Event, NewEvent
from libs.domain.run_log import RunLog, Turn
from libs.domain.runs import RunState
from libs.domain.secrets import NOTHING_REVEALED
from libs.domain.tools import Effect, ToolCall, ToolContext, ToolFunction, ToolResult
from services.worker import inline, stopping, turns
from services.worker.bench import Slice, Workbench
from services.worker.calls import RunningTool
from services.worker.control import Watched
from services.worker.inline import InlineCalls
from services.worker.journal import View
from services.worker.keys import RunKey
from services.worker.liveness import suspended_clock
from services.worker.metering import Meter
from services.worker.observing import Observer
from services.worker.specs import Version
from services.worker.tool_steps import ToolSteps
from services.worker.trying import TryAgain
from services.worker.turns import TakingTurn

RUN = RunKey(UUID(int=1), UUID(int=2))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Work = Callable[[], Awaitable[str]]
LIMIT, PATIENCE = 1.0, 0.3  # seconds: of a tool, and with one that does not end


class Scripted:
    """A tool whose functions do what the test says."""

    def __init__(self, work: dict[str, tuple[Effect, Work]]) -> None:
        self._work = work
        self.made: list[str] = []
        self.functions = [ToolFunction(name, name, {}, effect, LIMIT) for name, (effect, _) in work.items()]

    async def call(self, call: ToolCall, context: ToolContext) -> ToolResult:
        self.made.append(call.name)
        return ToolResult(await self._work[call.name][1]())


class Rig:
    """A run in memory whose only turn asks for one call of each function."""

    def __init__(self, deadline: float | None = None, **work: tuple[Effect, Work]) -> None:
        self.tool = Scripted(work)
        self.log = RunLog()
        self.desired = "run"
        self.secrets_take_long = False
        self._keys: set[str | None] = set()
        self._deadline = None if deadline is None else suspended_clock() + deadline
        self._version = cast(
            Version,
            SimpleNamespace(functions={f.name: (self.tool, f) for f in self.tool.functions}, secrets=frozenset()),
        )
        calls = [{"index": i, "id": "", "name": name, "arguments": "{}"} for i, name in enumerate(work)]
        usage = {"input_tokens": 1, "output_tokens": 1}
        answer = {"turn": 1, "attempt": 1, "content": "", "tool_calls": calls, "finish_reason": "", "usage": usage}
        self.write(NewEvent(events.MODEL_COMPLETED, answer))
        self.watched = Watched(RUN)
        self.suspended = False
        liveness = SimpleNamespace(label="w", may_send=lambda opened_at: not self.suspended)
        others = {"objects": None, "models": None, "slice_seconds": 60, "model_attempts": 1}
        self.bench = cast(
            Workbench,
            SimpleNamespace(journal=self, liveness=liveness, vault=self, observer=Observer(Meter([])), **others),
        )
        self.steps = ToolSteps(self.bench, self.watched.claim, lambda _: None)
        self.calls = InlineCalls(self.bench, self.steps, self.watched)

    def write(self, *found: NewEvent) -> None:
        for event in found:
            self._keys.add(event.key or object())  # type: ignore[arg-type]  # no key is like no other
            self.log.apply(Event(self.log.last_seq + 1, event.type, event.whole, NOW))

    async def load(self, run: RunKey) -> View:
        deadline = None if self._deadline is None else NOW + timedelta(seconds=self._deadline - suspended_clock())
        state = RunState(
            "running", self.desired, 0, self.log.last_seq, 1, 1, True, NOW, deadline, None, None, None, 0, cast(Any, 0)
        )
        return View(RUN, self.log, state, self._version, "", None, suspended_clock())

    async def begin(self, run: RunKey, decide: Callable[[View], Change | None]) -> View:
        view = await self.load(run)
        change = decide(view)
        return view if change is None else await self.commit(view, change) or view

    async def commit(self, view: View, change: Change) -> View | None:
        await asyncio.sleep(0)
        if self._keys & {event.key for event in change.events if event.key}:
            return None
        self.write(*change.events)
        return await self.load(RUN)

    def forget(self, run: RunKey) -> None:
        """It has ended."""

    async def store_large(self, run: RunKey, event: NewEvent, *_: str) -> NewEvent:
        return event

    async def reveal(self, *_: object) -> object:
        self.suspended = self.secrets_take_long
        return NOTHING_REVEALED

    @property
    def turn(self) -> Turn:
        return self.log.turns[0]

    async def run(self, seconds: float = 60) -> None:
        view = await self.load(RUN)
        await self.calls.run(view, self.turn, self.turn.calls, Slice(seconds), lambda *_: None)

    def activity(self) -> RunningTool:
        return RunningTool(self.bench, RUN, self.watched, lambda _: None)

    @property
    def results(self) -> dict[str, str]:
        return {
            self.turn.calls[index].name: result.code or result.content for index, result in self.turn.results.items()
        }


def after(seconds: float) -> Work:
    async def work() -> str:
        await asyncio.sleep(seconds)
        return "done"

    return work


async def broken() -> str:
    raise KeyError("a fault of the tool's own code")


class Deaf:
    """Does not end when it is cancelled, but at the end of a test."""

    def __init__(self) -> None:
        self._over = False

    def __enter__(self) -> Work:
        return self._work

    def __exit__(self, *_: object) -> None:
        self._over = True

    async def _work(self) -> str:
        while not self._over:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.02)
        return "late"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (inline, stopping):
        monkeypatch.setattr(module, "STOP_PATIENCE", PATIENCE)


async def test_a_fault_of_one_call_aborts_no_write() -> None:
    """Rule 10: a `write` that was sent would be unknown."""
    rig = Rig(look=(Effect.READ, broken), order=(Effect.WRITE, after(0.05)))
    with pytest.raises(KeyError):
        await rig.run()
    assert rig.results == {"order": "done"}


async def test_nothing_is_sent_for_a_call_that_was_answered_before_its_opening() -> None:
    """Rule 4: a result needs no attempt, so the opening does not meet its key."""
    rig = Rig(order=(Effect.WRITE, after(0)))
    commit = rig.commit

    async def committing(view: View, change: Change) -> View | None:
        if change.events[0].type == events.TOOL_STARTED:
            rig.write(rig.steps.given_up(1, rig.turn.calls[0], 0, "that worker does not have the tool"))
        return await commit(view, change)

    rig.commit = committing  # type: ignore[method-assign]  # somebody else is faster
    await rig.run()
    assert rig.tool.made == []
    assert rig.results == {"order": "tool_error"}


@pytest.mark.parametrize("by", ["slice", "activity"])
async def test_nothing_is_sent_by_who_was_suspended_while_secrets_were_read(by: str) -> None:
    """Rule 10: the check is the last thing before the tool."""
    rig = Rig(order=(Effect.WRITE, after(0)))
    rig.secrets_take_long = True
    if by == "slice":
        await rig.run()
    else:
        with pytest.raises(TryAgain):
            await rig.activity().make(CallRef(1, 0))
    assert rig.tool.made == []
    assert [attempt.code for attempt in rig.turn.attempts[0]] == ["not_sent"]


async def test_a_write_that_ignores_its_time_limit_is_unknown() -> None:
    """Rule 13: after a limit; a read beside it that ignores its end holds nobody up either."""
    with Deaf() as deaf:
        rig = Rig(order=(Effect.WRITE, deaf), look=(Effect.READ, deaf))
        async with asyncio.timeout(10):
            await rig.run()
    assert rig.results == {"order": "outcome_unknown"}
    assert not rig.log.open_tool_attempts


async def test_writes_are_aborted_side_by_side() -> None:
    """Rule 13: a cancel does not wait for one tool after the other."""
    with Deaf() as deaf:
        rig = Rig(a=(Effect.WRITE, deaf), b=(Effect.WRITE, deaf), c=(Effect.WRITE, deaf), d=(Effect.WRITE, deaf))
        rig.desired = "cancelled"
        rig.watched.hint()
        async with asyncio.timeout(3 * PATIENCE):
            await rig.run()
    assert [attempts[0].code for attempts in rig.turn.attempts.values()] == ["stopped"] * 4


@pytest.mark.parametrize("by", ["slice", "activity"])
async def test_a_write_knows_the_deadline(by: str) -> None:
    """Rule 13: Temporal tells a step once that it is to look, and a pause may have been that."""
    rig = Rig(0.05, order=(Effect.WRITE, after(0.9)))
    if by == "slice":
        await rig.run()
    else:
        await rig.activity().make(CallRef(1, 0))
    assert rig.results == {}
    assert [attempt.code for attempt in rig.turn.attempts[0]] == ["stopped"]


async def test_a_call_that_was_handed_back_is_not_waited_for() -> None:
    """Rule 15: another worker goes on at once."""
    rig = Rig(look=(Effect.READ, after(0.1)))
    asyncio.get_running_loop().call_later(0.02, rig.watched.leave)
    assert (await rig.activity().make(CallRef(1, 0))).again
    assert [(attempt.code, attempt.retry_at) for attempt in rig.turn.attempts[0]] == [("handed_back", None)]


@pytest.mark.parametrize("by", ["slice", "activity"])
async def test_a_worker_that_stops_while_a_step_reads_is_heard(by: str) -> None:
    """Rule 15: it is told once, and reading clears what was told."""
    rig = Rig(look=(Effect.READ, after(0.5)))
    rig.watched.leave()
    rig.watched.seen(0)
    if by == "slice":
        await rig.run()
    else:
        assert (await rig.activity().make(CallRef(1, 0))).again
    assert [attempt.code for attempt in rig.turn.attempts[0]] == ["handed_back"]


async def test_a_write_is_not_made_where_another_call_would_wait_for_it() -> None:
    """What has a queue of its own is an activity of its own, which begins when the step is over."""
    rig = Rig(order=(Effect.WRITE, after(0)), look=(Effect.READ, after(0)), own=(Effect.READ, after(0)))
    view = await rig.load(RUN)
    tool, function = view.version.functions["own"]
    cast(Any, view.version.functions)["own"] = (tool, replace(function, queue="own"))
    fitting = rig.calls.fitting(view, rig.turn, rig.turn.calls)
    assert [call.name for call in fitting] == ["look"]
    assert [event.data["name"] for event in rig.calls.open_with_turn(view, 1, rig.turn.calls)] == ["look"]


async def test_a_slice_that_ends_between_two_looks_leaves_no_call_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 4: a `write` that is left open and is never sent would be unknown."""

    class Ending(Slice):
        looks = 0

        @property
        def open(self) -> bool:
            self.looks += 1
            return self.looks == 1

    async def work() -> str:
        rig.log.end = "completed"
        return "done"

    monkeypatch.setattr(turns, "Slice", Ending)
    rig = Rig(order=(Effect.WRITE, work))
    turn = TakingTurn(rig.bench, RUN, rig.watched, lambda _: None)
    rig.write(*turn._inline.open_with_turn(await rig.load(RUN), 1, rig.turn.calls))
    await turn.take([])
    assert not rig.log.open_tool_attempts
