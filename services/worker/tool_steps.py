"""A tool call as a step: prepared, opened in the log, sent once it may be, and its result committed under its key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from libs.database.steps import Change
from libs.domain import events
from libs.domain.events import NewEvent
from libs.domain.ids import effect_id
from libs.domain.outputs import Unacceptable, parse_arguments
from libs.domain.redaction import Redactor
from libs.domain.run_log import Call
from libs.domain.texts import clean
from libs.domain.tools import (
    CallFailed,
    CallForbidden,
    CallNotSent,
    Effect,
    NewArtifact,
    OnUnknown,
    OutcomeUnknown,
    Tool,
    ToolCall,
    ToolContext,
    ToolFunction,
    ToolResult,
)
from libs.tools.http_answer import redacted
from services.worker import keys
from services.worker.bench import Workbench
from services.worker.journal import View
from services.worker.observing import Place
from services.worker.vault import SecretsAway

MOST_CALLS = 64  # of one turn
UNKNOWN_TO_MODEL = (
    "The outcome of this call is unknown: it was sent, and no answer came. It may or may not have taken effect. "
    "It was not repeated. Check before you call it again."
)
SUSPENDED = "The worker was suspended before it sent anything."
NO_ROOM = "The file was not kept: all artifacts together would have more bytes than the plan of the tenant allows."


@dataclass(frozen=True)
class Prepared:
    """A call that can be made."""

    call: Call
    tool: Tool
    function: ToolFunction
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: with a result, or failed."""

    result: ToolResult | None = None
    failed: CallFailed | None = None
    code: str | None = None
    duration_ms: int = 0

    @property
    def kind(self) -> str:
        """`ok`, `error` as the tool told it, or the code of what kept it from telling."""
        if self.failed is not None:
            return self.failed.code
        return self.code or ("error" if self.result is None or self.result.is_error else "ok")


class ToolSteps:
    """Makes tool calls of one run, within one activity."""

    def __init__(self, bench: Workbench, claim: str, listed: Callable[[str], None]) -> None:
        self._bench = bench
        self.claim = claim
        self._listed = listed
        self._arguments: dict[Call, dict[str, Any]] = {}  # that fit; a call is looked at several times

    def prepare(self, view: View, call: Call) -> Prepared:
        """The call with its arguments, which nobody changes. Raises `Unacceptable` with what the model should know."""
        if call.index >= MOST_CALLS:
            raise Unacceptable(f"Too many calls in one answer: at most {MOST_CALLS} are made.")
        known = view.version.functions.get(call.name)
        if known is None:
            raise Unacceptable(f"There is no tool named {call.name[:100]!r}.")
        tool, function = known
        if call not in self._arguments:
            self._arguments[call] = parse_arguments(call.arguments, function.parameters)
        return Prepared(call, tool, function, self._arguments[call])

    def refused(self, view: View, turn: int, calls: Sequence[Call]) -> list[NewEvent]:
        """Results of the calls that cannot be made: they go back to the model with the turn itself."""
        found = []
        for call in calls:
            try:
                self.prepare(view, call)
            except Unacceptable as problem:
                data = self._result_data(turn, call, 0, str(problem), True, events.INVALID_ARGUMENTS, 0)
                found.append(NewEvent(events.TOOL_COMPLETED, data, events.tool_result(turn, call.index)))
        return found

    def started(self, view: View, turn: int, prepared: Prepared, attempt: int) -> NewEvent:
        """The opening of a call; it is listed as in flight from here on."""
        index = prepared.call.index
        self._listed(keys.tool_call(view.run, turn, index, attempt))
        data = {
            "turn": turn,
            "index": index,
            "attempt": attempt,
            "worker": self._bench.liveness.label,
            "claim": self.claim,
            "name": prepared.call.name,
            "effect": prepared.function.effect.value,
            "effect_id": effect_id(view.run.run_id, turn, index),
        }
        return NewEvent(events.TOOL_STARTED, data, events.tool_opened(turn, index, attempt))

    async def perform(self, view: View, turn: int, prepared: Prepared, attempt: int, opened_at: float) -> Outcome:
        """Make the call, opened then by `suspended_clock`. Raises only for a bug; cancelling it aborts the call."""
        call, function = prepared.call, prepared.function
        began = time.monotonic()
        try:
            secrets = await self._bench.vault.reveal(view.run.tenant_id, view.version.secrets)
        except SecretsAway as problem:
            return Outcome(failed=CallNotSent(str(problem)))
        if function.effect is Effect.WRITE and not self._bench.liveness.may_send(opened_at):
            return Outcome(failed=CallNotSent(SUSPENDED))
        run, index = view.run, call.index
        wanted = ToolCall(call.name, prepared.arguments, effect_id(run.run_id, turn, index))
        place = Place(run.run_id, self.claim, turn, attempt, index)
        with self._bench.observer.tool_call(place, call.name, prepared.tool, function.effect.value) as observed:
            objects, files = self._bench.objects, self._artifacts(view)
            context = ToolContext(
                run.tenant_id, run.run_id, turn, index, attempt, objects, files, observed.headers, secrets
            )
            outcome = await _attempt(prepared.tool, wanted, context, function)
            observed.result = outcome.kind
        outcome = await _redacted(outcome, secrets.redactor)
        return replace(outcome, duration_ms=int((time.monotonic() - began) * 1000))

    def _artifacts(self, view: View) -> Callable[[], Any]:
        async def files() -> list[NewArtifact]:
            return [
                NewArtifact(a["name"], a["media_type"], a["size"], a["sha256"], a["object_key"])
                for a in view.log.artifacts
            ]

        return files

    async def completed(
        self, view: View, turn: int, prepared: Prepared, attempt: int, outcome: Outcome
    ) -> tuple[list[NewEvent], Change]:
        """Events of a result, and the change that commits them."""
        result = outcome.result
        if result is None:
            raise ValueError("an attempt without a result cannot be completed")
        code = outcome.code
        size = sum(file.size for file in result.artifacts)
        if size and not await self._bench.journal.has_room(view.run, size):
            result, code = ToolResult(NO_ROOM, is_error=True), "quota_exceeded"
        content, _ = clean(result.content)
        data = self._result_data(turn, prepared.call, attempt, content, result.is_error, code, outcome.duration_ms)
        event = NewEvent(events.TOOL_COMPLETED, data, events.tool_result(turn, prepared.call.index))
        place = f"t{turn}.{prepared.call.index}/{attempt}/content"
        event = await self._bench.journal.store_large(view.run, event, "content", place)
        ids = await self._bench.journal.new_ids(view.run, len(result.artifacts)) if result.artifacts else []
        files = tuple(zip(ids, result.artifacts, strict=True))
        created = [_artifact_created(str(id_), turn, prepared.call.index, file) for id_, file in files]
        found = [event, *created]
        return found, Change(tuple(found), artifacts=files)

    def unknown(self, turn: int, call: Call, function: ToolFunction, attempt: int) -> NewEvent:
        """The result of a `write` that was sent and whose outcome nobody knows."""
        data = self._result_data(turn, call, attempt, UNKNOWN_TO_MODEL, True, events.OUTCOME_UNKNOWN, 0)
        if function.on_unknown is OnUnknown.FAIL:
            data |= {"fatal": True, "message": f"The outcome of the call of {call.name} is unknown (on_unknown: fail)."}
        return NewEvent(events.TOOL_COMPLETED, data, events.tool_result(turn, call.index))

    def given_up(self, turn: int, call: Call, attempt: int, why: str) -> NewEvent:
        """The result of a call whose attempts are used up."""
        data = self._result_data(turn, call, attempt, f"The call failed: {why}", True, events.TOOL_ERROR, 0)
        return NewEvent(events.TOOL_COMPLETED, data, events.tool_result(turn, call.index))

    def closed(
        self, view: View, turn: int, index: int, attempt: int, failed: CallFailed, retry_in: float | None = None
    ) -> NewEvent:
        """The end of an attempt without a result."""
        data = {
            "turn": turn,
            "index": index,
            "attempt": attempt,
            "code": failed.code,
            "message": failed.message,
            "sent": failed.sent,
        }
        if retry_in is not None:
            data["retry_at"] = (view.now.now + timedelta(seconds=retry_in)).isoformat()
        return NewEvent(events.TOOL_FAILED, data, events.tool_closed(turn, index, attempt))

    def _result_data(
        self, turn: int, call: Call, attempt: int, content: str, is_error: bool, code: str | None, duration_ms: int
    ) -> dict[str, Any]:
        data: dict[str, Any] = {
            "turn": turn,
            "index": call.index,
            "attempt": attempt,
            "worker": self._bench.liveness.label,
            "name": call.name,
            "content": content,
            "is_error": is_error,
            "duration_ms": duration_ms,
        }
        return data | ({"code": code} if code else {})


async def _attempt(tool: Tool, call: ToolCall, context: ToolContext, function: ToolFunction) -> Outcome:
    try:
        async with asyncio.timeout(function.timeout_seconds):
            return Outcome(result=await tool.call(call, context))
    except CallFailed as failed:
        return Outcome(failed=failed)
    except CallForbidden as refused:
        return Outcome(result=ToolResult(str(refused), is_error=True), code="forbidden")
    except TimeoutError:
        return Outcome(failed=OutcomeUnknown(f"No answer within {function.timeout_seconds:g} s."))


async def _redacted(outcome: Outcome, redactor: Redactor) -> Outcome:
    """Whatever the tool was told, and whatever went wrong: without the values of the run's secrets."""
    if not redactor:
        return outcome
    if outcome.failed is not None:
        outcome.failed.message = redactor.redact(outcome.failed.message)
    if outcome.result is None:
        return outcome
    files = tuple(
        replace(file, name=redactor.redact(file.name), media_type=redactor.redact(file.media_type))
        for file in outcome.result.artifacts
    )
    content = await redacted(redactor, outcome.result.content)
    return replace(outcome, result=replace(outcome.result, content=content, artifacts=files))


def may_repeat(function: ToolFunction, failed: CallFailed) -> bool:
    """Whether an attempt that failed so may be followed by another: a `write` only if it surely did nothing."""
    return function.effect is not Effect.WRITE or not isinstance(failed, OutcomeUnknown)


def _artifact_created(id_: str, turn: int, index: int, file: NewArtifact) -> NewEvent:
    data = {
        "id": id_,
        "turn": turn,
        "index": index,
        "name": file.name,
        "media_type": file.media_type,
        "size": file.size,
        "sha256": file.sha256,
        "object_key": file.object_key,
    }
    return NewEvent(events.ARTIFACT_CREATED, data)
