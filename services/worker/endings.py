"""How runs stop: the end, the pause, and the quiet before them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from libs.database.steps import Change, ClosedCall
from libs.domain import events
from libs.domain.budget import estimate
from libs.domain.errors import Failure
from libs.domain.events import NewEvent
from libs.domain.outputs import Unacceptable, parse_output
from libs.domain.run_log import Turn
from libs.domain.texts import LARGE, clean_value, dump
from services.worker import keys
from services.worker.bench import Workbench
from services.worker.conversation import conversation
from services.worker.journal import View

QUIET_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Verdict:
    """What an answer without calls means: events, and what the row becomes."""

    events: tuple[NewEvent, ...]
    status: str | None = None
    output: str | None = None
    output_object: dict[str, Any] | None = None
    error: Failure | None = None

    def added_to(self, change: Change) -> Change:
        """The change with this verdict. One that ends the run must not race with something that is asked of it."""
        return replace(
            change,
            events=change.events + self.events,
            status=self.status or change.status,
            output=self.output,
            output_object=self.output_object,
            error_code=self.error.code if self.error else None,
            error_message=self.error.message if self.error else None,
        )


class Endings:
    """Ends and parks runs."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    async def judge(self, view: View, turn: int, attempt: int, content: str, finish_reason: str) -> Verdict:
        """Complete the run with this answer, or give it back to the model."""
        if finish_reason == "content_filter":
            failure = Failure("model_error", "The provider's content filter stopped the answer.")
            return Verdict((_failed(failure),), "failed", error=failure)
        try:
            value = parse_output(content, view.version.spec.output_schema)
        except Unacceptable as problem:
            cut = " The answer was cut at the limit of tokens." if finish_reason == "length" else ""
            data = {"turn": turn, "problem": f"{problem}{cut}"}
            return Verdict((NewEvent(events.OUTPUT_REJECTED, data, events.output_judged(turn)),))
        return await self._completed(view, f"t{turn}/{attempt}/output", value)

    async def _completed(self, view: View, place: str, value: Any) -> Verdict:
        value, _ = clean_value(value)
        text = dump(value)
        ref = None
        if len(text) * 4 > LARGE and len(encoded := text.encode()) > LARGE:
            ref = await self._bench.journal.put_large(view.run, place, encoded, "application/json")
        data = {"output": None if ref else value}
        end = NewEvent(events.RUN_COMPLETED, data, events.END, {"/output": ref} if ref else None)
        return Verdict((end,), "completed", output=None if ref else text, output_object=ref)

    async def conclude(self, view: View, turn: Turn) -> View | None:
        """Judge an answer that was committed without a verdict."""
        verdict = await self.judge(view, turn.number, turn.attempt, turn.content, turn.finish_reason)
        change = Change((), require_control=view.state.control_seq, control_seen=view.state.control_seq)
        return await self._bench.journal.commit(view, verdict.added_to(change))

    async def end(self, view: View, status: str, failure: Failure | None = None) -> View | None:
        """End the run as cancelled or failed, with what is still open closed."""
        terminal = _failed(failure) if failure else NewEvent(events.RUN_CANCELLED, {}, events.END)
        closing, closed = self.closing(view, events.STOPPED)
        change = Change(
            (*closing, terminal),
            require_control=view.state.control_seq,
            control_seen=view.state.control_seq,
            status=status,
            error_code=failure.code if failure else None,
            error_message=failure.message if failure else None,
            closed=closed,
        )
        return await self._bench.journal.commit(view, change)

    async def pause(self, view: View) -> View | None:
        """Park the run; open calls of dead workers stay as they are, whoever resumes deals with them."""
        control_seq = view.state.control_seq
        change = Change((), require_control=control_seq, control_seen=control_seq)
        if view.state.status != "paused":
            parked = NewEvent(events.RUN_PAUSED, {}, events.paused(control_seq))
            change = replace(change, events=(parked,), status="paused")
        return await self._bench.journal.commit(view, change)

    async def quiet(self, view: View) -> View:
        """Wait until no call of the run is in flight on a living worker."""
        while not view.state.finished and await self.in_flight(view):
            await asyncio.sleep(QUIET_POLL_SECONDS)
            view = await self._bench.journal.load(view.run)
        return view

    async def in_flight(self, view: View) -> bool:
        """Whether an open call is in flight on a living worker."""
        coming = view.log.open_attempt
        if coming is not None:
            call = keys.model_call(view.run, view.state.turn + 1, coming.number)
            if await self._bench.liveness.is_alive(coming, call):
                return True
        for turn, index, attempt in view.log.open_tool_attempts:
            if await self._bench.liveness.is_alive(attempt, keys.tool_call(view.run, turn, index, attempt.number)):
                return True
        return False

    def closing(self, view: View, code: str) -> tuple[tuple[NewEvent, ...], ClosedCall | None]:
        """Events that close what dead workers left open, and the ledger's estimate."""
        closing = [
            _tool_closed(turn, index, attempt.number, events.OUTCOME_UNKNOWN)
            for turn, index, attempt in view.log.open_tool_attempts
        ]
        coming = view.log.open_attempt
        if coming is None:
            return tuple(closing), None
        event, closed = self.lost_model_call(view, coming.number, code)
        return (*closing, event), closed

    def lost_model_call(self, view: View, attempt: int, code: str) -> tuple[NewEvent, ClosedCall]:
        """A model call whose usage will never arrive."""
        turn = view.state.turn + 1
        usage = estimate(conversation(view), view.version.fixed_bytes, 0)
        data = {
            "turn": turn,
            "attempt": attempt,
            "code": code,
            "message": "The worker of this call is gone; its usage is estimated.",
            "sent": True,
            "usage": usage.as_data(),
        }
        price = self._bench.price_opened_at(view, attempt)
        cost = price.of(usage) if price else Decimal(0)
        event = NewEvent(events.MODEL_FAILED, data, events.model_closed(turn, attempt))
        return event, ClosedCall(turn, attempt, "estimated", usage, cost)


def _failed(failure: Failure) -> NewEvent:
    return NewEvent(events.RUN_FAILED, {"code": failure.code, "message": failure.message}, events.END)


def _tool_closed(turn: int, index: int, attempt: int, code: str) -> NewEvent:
    data = {"turn": turn, "index": index, "attempt": attempt, "code": code, "message": "Stopped.", "sent": True}
    return NewEvent(events.TOOL_FAILED, data, events.tool_closed(turn, index, attempt))
