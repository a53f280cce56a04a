"""A model call as a step: opened in the log, sent, and committed with what follows from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from libs.clients.openai import ModelAnswer, ModelFailed, ModelRequest
from libs.contracts.live import Delta
from libs.database.engine import is_unavailable
from libs.database.steps import Change, ClosedCall, OpenedCall
from libs.domain import events
from libs.domain.agents import AgentSpec
from libs.domain.budget import Reservation, estimate, input_bound, reserve
from libs.domain.events import NewEvent
from libs.domain.run_log import Call
from libs.domain.runs import Usage
from libs.domain.secrets import Revealed, SecretMissing
from libs.domain.texts import clean
from services.worker import keys
from services.worker.bench import Workbench
from services.worker.control import Watched
from services.worker.endings import Endings
from services.worker.journal import View
from services.worker.observing import Place
from services.worker.pieces import Pieces
from services.worker.vault import SecretsAway

ABORT_AFTER_LEAVING = 5.0  # seconds that a stopping worker lets a model go on


class Stopped(Exception):
    """The call was ended by us: the run was cancelled or is overdue, or the worker leaves."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Opening:
    """A model call that may be opened."""

    turn: int
    attempt: int
    messages: list[dict[str, Any]]
    reservation: Reservation
    event: NewEvent
    opened: OpenedCall


@dataclass(frozen=True)
class Answered:
    """A complete answer, ready to be committed."""

    change: Change  # the turn and its ledger row; its fence is the turn alone
    content: str
    calls: tuple[Call, ...]
    finish_reason: str


class ModelSteps:
    """Opens, makes and commits the model calls of one run, within one activity."""

    def __init__(self, bench: Workbench, endings: Endings, watched: Watched, listed: Callable[[str], None]) -> None:
        self._bench = bench
        self._endings = endings
        self._watched = watched
        self._listed = listed

    def opening(
        self, view: View, turn: int, messages: list[dict[str, Any]], input_seq: int, attempt: int | None = None
    ) -> Opening:
        """The next call, within the run's budget; with `attempt` one that is open already.

        Raises:
            BudgetExceeded: it could break a limit.
            ModelFailed: its provider or model is not configured.
        """
        spec = view.version.spec
        self._bench.models.provider(spec.provider, spec.model_name)
        price = self._bench.price_of(view) if attempt is None else self._bench.price_opened_at(view, attempt)
        bound = input_bound(view.log, messages, view.version.fixed_bytes)
        reservation = reserve(view.state, price, bound, spec.parameters.max_tokens)
        if attempt is None:
            attempt = len(view.log.attempts) + 1 if turn == view.state.turn + 1 else 1
        data = {
            "turn": turn,
            "attempt": attempt,
            "worker": self._bench.liveness.label,
            "claim": self._watched.claim,
            "provider": spec.provider,
            "model": spec.model_name,
            "input_seq": input_seq,
            "reserved_tokens": reservation.tokens,
            "price": price.as_data() if price else None,
        }
        event = NewEvent(events.MODEL_STARTED, data, events.model_opened(turn, attempt))
        opened = OpenedCall(turn, attempt, spec.provider, spec.model_name, reservation.tokens, price)
        self._listed(keys.model_call(view.run, turn, attempt))
        return Opening(turn, attempt, messages, reservation, event, opened)

    async def open(self, view: View, opening: Opening) -> View | None:
        """Commit the opening; None when its fence did not hold."""
        return await self._bench.journal.commit(view, self.change_to_open(view, opening))

    def change_to_open(self, view: View, opening: Opening) -> Change:
        """The opening, with the start of the run and the end of an attempt whose worker died."""
        before: list[NewEvent] = [] if view.state.started else [NewEvent(events.RUN_STARTED, {})]
        closed = None
        dead = view.log.open_attempt
        if dead is not None:
            event, closed = self._endings.lost_model_call(view, dead.number, events.WORKER_LOST)
            before.append(event)
        input_seq = view.log.last_seq + len(before)
        event = replace(opening.event, data=opening.event.data | {"input_seq": input_seq})
        return Change(
            (*before, event),
            require_turn=opening.turn - 1,
            require_control=view.state.control_seq,
            require_desired_run=True,
            control_seen=view.state.control_seq,
            status="running" if view.state.status == "queued" else None,
            started=not view.state.started,
            opened=opening.opened,
            closed=closed,
        )

    async def ask(self, view: View, opening: Opening, answer: ModelAnswer) -> Answered:
        """Send the call and wait for its whole answer.

        Raises:
            ModelFailed: the provider failed.
            Stopped: we ended it.
        """
        spec = view.version.spec
        secrets = await self._revealed(view)
        answer.protect(secrets.redactor)
        parameters = view.version.parameters
        if opening.reservation.max_tokens is not None:
            parameters["max_tokens"] = opening.reservation.max_tokens
        request = ModelRequest(
            spec.provider,
            spec.model_name,
            opening.messages,
            view.version.definitions,
            parameters,
            view.version.response_format,
            _own_key(spec, secrets),
        )
        began = time.monotonic()
        try:
            place = Place(view.run.run_id, self._watched.claim, opening.turn, opening.attempt)
            with self._bench.observer.model_call(place, spec.provider, spec.model_name, answer):
                await self._stream(view, opening, request, answer)
        except ModelFailed as failed:
            if failed.code == "http_401" and spec.provider_key:
                failed.message = f"The provider does not accept the key in the secret {spec.provider_key.secret}."
            raise
        return self._answered(view, opening, answer, int((time.monotonic() - began) * 1000))

    async def _revealed(self, view: View) -> Revealed:
        """Every secret that the version names: whichever a provider echoes is taken out of its answer."""
        try:
            return await self._bench.vault.reveal(view.run.tenant_id, view.version.secrets)
        except SecretsAway as problem:
            raise ModelFailed("secrets_unavailable", str(problem), retryable=True, sent=False) from problem

    async def _stream(self, view: View, opening: Opening, request: ModelRequest, answer: ModelAnswer) -> None:
        base_seq = view.log.last_seq

        def publish(index: int, text: str) -> None:
            delta = Delta(opening.turn, opening.attempt, base_seq, index, text)
            self._bench.deltas.delta(view.run.tenant_id, view.run.run_id, delta)

        pieces = Pieces(publish)
        call = asyncio.create_task(self._bench.models.answer(request, answer, pieces.add))
        try:
            await self._until_done(view, call)
        finally:
            pieces.stop()
            if not call.done():
                call.cancel()
                with suppress(asyncio.CancelledError, ModelFailed):
                    await call

    async def _until_done(self, view: View, call: asyncio.Task[None]) -> None:
        leave_at: float | None = None
        while True:
            if self._watched.leaving and leave_at is None:
                leave_at = time.monotonic() + ABORT_AFTER_LEAVING
            changed = asyncio.create_task(self._watched.changed.wait())
            timeout = _until(view, leave_at)
            await asyncio.wait((call, changed), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if call.done():
                return await call
            view = await self._reread(view)
            if leave_at is not None and time.monotonic() >= leave_at:
                raise Stopped(events.HANDED_BACK, "The worker stops; another one goes on.")

    async def _reread(self, view: View) -> View:
        """Read what is asked of the run. With the database away, the call goes on."""
        try:
            view = await self._bench.journal.load(view.run)
        except Exception as error:
            if not is_unavailable(error):
                raise
            await asyncio.sleep(0.5)
            return view
        self._watched.seen(view.state.control_seq)
        if view.state.finished or view.state.desired == "cancelled":
            raise Stopped(events.STOPPED, "The run was cancelled.")
        if view.state.overdue:
            raise Stopped(events.STOPPED, "The run is past its deadline.")
        return view

    def _answered(self, view: View, opening: Opening, answer: ModelAnswer, duration_ms: int) -> Answered:
        content, replaced = clean(answer.text)
        calls = tuple(
            Call(index, clean(call["id"])[0], clean(call["name"])[0], clean(call["arguments"])[0])
            for index, (_, call) in enumerate(sorted(answer.calls.items()))
        )
        usage, cost = self._usage(view, opening, answer)
        data = {
            "turn": opening.turn,
            "attempt": opening.attempt,
            "worker": self._bench.liveness.label,
            "content": content,
            "tool_calls": [{"index": c.index, "id": c.id, "name": c.name, "arguments": c.arguments} for c in calls],
            "finish_reason": answer.finish_reason,
            "usage": usage.as_data(),
            "cost_usd": str(cost),
            "duration_ms": duration_ms,
        }
        if replaced:
            data["replaced"] = replaced
        if usage.estimated:
            data["estimated"] = True
        completed = NewEvent(events.MODEL_COMPLETED, data, events.turn_committed(opening.turn))
        closed = ClosedCall(opening.turn, opening.attempt, "estimated" if usage.estimated else "settled", usage, cost)
        change = Change((completed,), require_turn=opening.turn - 1, turn=opening.turn, closed=closed)
        return Answered(change, content, calls, str(answer.finish_reason))

    def _usage(self, view: View, opening: Opening, answer: ModelAnswer) -> tuple[Usage, Decimal]:
        usage = answer.usage or estimate(opening.messages, view.version.fixed_bytes, answer.received)
        if answer.finish_reason is None:  # some providers count on the way; only the count at the end is the whole
            usage = replace(usage, estimated=True)
        price = opening.opened.price
        return usage, price.of(usage) if price else Decimal(0)

    async def close(self, view: View, opening: Opening, answer: ModelAnswer, failed: ModelFailed | Stopped) -> None:
        """Close an attempt without an answer: why, until when, and what it cost."""
        sent = not isinstance(failed, ModelFailed) or failed.sent
        usage, cost = self._usage(view, opening, answer) if sent else (Usage(), Decimal(0))
        if isinstance(failed, ModelFailed) and failed.refused:  # nothing was processed; no count says so
            usage, cost = Usage(estimated=True), Decimal(0)
        state = ("estimated" if usage.estimated else "settled") if sent else "not_sent"
        await self._close(view, failed, ClosedCall(opening.turn, opening.attempt, state, usage, cost))

    async def give_back(self, view: View, attempt: int) -> None:
        """Close an attempt that was opened and is not sent after all."""
        unsent = ModelFailed(events.HANDED_BACK, "The step ended before the call was made.", retryable=True, sent=False)
        await self._close(view, unsent, ClosedCall(view.state.turn + 1, attempt, "not_sent", Usage(), Decimal(0)))

    async def _close(self, view: View, failed: ModelFailed | Stopped, closed: ClosedCall) -> None:
        data: dict[str, Any] = {
            "turn": closed.turn,
            "attempt": closed.attempt,
            "code": failed.code,
            "message": failed.message,
            "sent": closed.state != "not_sent",
            "usage": closed.usage.as_data(),
        }
        if isinstance(failed, ModelFailed):
            data["fatal"] = not failed.retryable
            if failed.retry_after is not None:
                data["retry_at"] = (view.now.now + timedelta(seconds=failed.retry_after)).isoformat()
        event = NewEvent(events.MODEL_FAILED, data, events.model_closed(closed.turn, closed.attempt))
        change = Change((event,), require_turn=closed.turn - 1, closed=closed)
        if await self._bench.journal.commit(view, change) is None:
            await self._bench.journal.settle(view, closed)


def _own_key(spec: AgentSpec, secrets: Revealed) -> str | None:
    """The tenant's own key at the provider; None where the platform's is used."""
    if spec.provider_key is None:
        return None
    try:
        return secrets.value(spec.provider_key.secret)
    except SecretMissing as problem:
        raise ModelFailed("secret_missing", str(problem), retryable=False, sent=False) from None


def _until(view: View, leave_at: float | None) -> float | None:
    """Seconds until the deadline or the moment to leave; None for neither."""
    left = view.now.time_left
    waits = [] if left is None else [left]
    if leave_at is not None:
        waits.append(leave_at - time.monotonic())
    return max(0.01, min(waits)) if waits else None
